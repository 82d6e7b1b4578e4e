package plan

import (
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/site"
)

// Rewriter maps references, as charts write them, to the site's. It answers for
// upstream references of the plan, of its models too, and for references it has made
// itself. Where the site does not rewrite, each stays as it is written.
func (p *Plan) Rewriter() func(ref string) (site string, ok bool) {
	rewrites := p.Site.Rewrites()
	upstream, there := map[imageref.Ref]string{}, map[string]bool{}
	for _, i := range p.Images {
		there[string(i.Site)] = true
		upstream[i.Ref] = string(i.Site)
		for _, a := range i.Aliases {
			upstream[a] = string(i.Site)
		}
	}
	for _, m := range p.Models {
		there[m.Site] = true
		upstream[m.Ref] = m.Site
	}
	return func(ref string) (string, bool) {
		if there[ref] {
			return ref, true
		}
		whole, err := imageref.Parse(ref)
		if err != nil {
			return "", false
		}
		site, ok := upstream[whole]
		if ok && !rewrites {
			return ref, true
		}
		return site, ok
	}
}

// Check is one manifest whose presence in the site registry matters.
type Check struct {
	Repository string // path below the registry's base
	Digest     digest.Digest
}

// Check is what to ask the site registry for.
func (i Image) Check(r site.Registry) Check {
	return Check{Repository: strings.TrimPrefix(i.Site.Repository(), r.Base()+"/"), Digest: i.Digest}
}
