package support

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/plan"
)

// read reads a plan and learns the credentials among its values.
func (g *gatherer) read(ctx context.Context, d string) *plan.Plan {
	data, err := g.store.Plan(ctx, digest.Digest(d))
	if err != nil {
		g.blind = true
		g.miss("plan "+d+", and with it logs and messages", err)
		return nil
	}
	p, err := plan.Parse(data)
	if err != nil {
		g.blind = true
		g.miss("plan "+d+", and with it logs and messages", err)
		return nil
	}
	for _, c := range p.Components {
		for _, r := range c.Releases {
			g.clean.credentials("", r.Values)
		}
	}
	for _, c := range p.Site.Components {
		for _, values := range c.Values {
			g.clean.credentials("", values)
		}
	}
	return p
}

// plan adds a plan without its values.
func (g *gatherer) plan(dir string, p *plan.Plan) {
	d, err := p.Digest()
	if err != nil {
		g.miss("a plan", err)
		return
	}
	for i := range p.Components {
		for k := range p.Components[i].Releases {
			r := &p.Components[i].Releases[k]
			r.Values, _ = hollow(r.Values).(map[string]any)
		}
	}
	for name, c := range p.Site.Components {
		for release, values := range c.Values {
			c.Values[release], _ = hollow(values).(map[string]any)
		}
		p.Site.Components[name] = c
	}
	g.json(dir+"plans/"+d.Encoded()[:12]+".json", p)
}
