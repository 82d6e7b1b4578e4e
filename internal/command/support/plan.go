package support

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/plan"
)

// readPlan reads a plan and learns the credentials among its values.
func (g *gatherer) readPlan(ctx context.Context, d string) *plan.Plan {
	data, err := g.store.Plan(ctx, digest.Digest(d))
	if err != nil {
		g.blind = true
		g.addMissing("plan "+d+", and with it logs and messages", err)
		return nil
	}
	p, err := plan.Parse(data)
	if err != nil {
		g.blind = true
		g.addMissing("plan "+d+", and with it logs and messages", err)
		return nil
	}
	for _, c := range p.Components {
		for _, r := range c.Releases {
			learnCredentials(g.clean, "", r.Values)
		}
	}
	for _, c := range p.Site.Components {
		for _, values := range c.Values {
			learnCredentials(g.clean, "", values)
		}
	}
	return p
}

// addPlan adds a plan without its values.
func (g *gatherer) addPlan(dir string, p *plan.Plan) {
	d, err := p.Digest()
	if err != nil {
		g.addMissing("a plan", err)
		return
	}
	for i := range p.Components {
		for k := range p.Components[i].Releases {
			r := &p.Components[i].Releases[k]
			r.Values, _ = withoutValues(r.Values).(map[string]any)
		}
	}
	for name, c := range p.Site.Components {
		for release, values := range c.Values {
			c.Values[release], _ = withoutValues(values).(map[string]any)
		}
		p.Site.Components[name] = c
	}
	g.addJSON(dir+"plans/"+d.Encoded()[:12]+".json", p)
}
