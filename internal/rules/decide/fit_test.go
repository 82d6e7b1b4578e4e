package decide

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
)

func TestPlanFitsTheBundleItWasMadeFrom(t *testing.T) {
	child := "ghcr.io/acme/web@" + dg("ghcr.io/acme/web:1/amd64").String()
	p, found := decide(t, func(_ *lock.Lock, _ *plan.Site, r map[Key]Rendered, f *Facts) {
		web := r[Key{"web", "web"}]
		web.Images = append(web.Images, document.Site{What: document.Image, Ref: child, Certainty: document.Certain})
		r[Key{"web", "web"}] = web
		f.Registry.Has["ghcr.io/acme/web@"+dg("ghcr.io/acme/web:1/amd64").String()] = true
		delete(f.Registry.Has, "ghcr.io/acme/tool@"+dg("ghcr.io/acme/tool:1").String())
		f.Registry.Has["ghcr.io/acme/tool@"+dg("ghcr.io/acme/tool:1/amd64").String()] = true
	})
	if p == nil {
		t.Fatalf("%+v", found)
	}
	if err := Fit(p, sample(), dg("lock")); err != nil {
		t.Fatal(err)
	}
	evil := dg("evil")
	// image finds one by its reference, which the plan has.
	image := func(p *plan.Plan, ref imageref.Ref) *plan.Image {
		for i := range p.Images {
			if p.Images[i].Ref == ref {
				return &p.Images[i]
			}
		}
		t.Fatalf("the plan has no image %s", ref)
		return nil
	}
	const nginx, tool = "docker.io/library/nginx:1", "ghcr.io/acme/tool:1"
	for name, spoil := range map[string]func(*plan.Plan){
		"another lock":    func(p *plan.Plan) { p.Lock = evil },
		"another stack":   func(p *plan.Plan) { p.Name = "other" },
		"another version": func(p *plan.Plan) { p.Version = "9" },
		"a site elsewhere": func(p *plan.Plan) {
			image(p, nginx).Site = imageref.Ref("docker.io/library/nginx@" + evil.String())
		},
		"a site below another prefix": func(p *plan.Plan) {
			i := image(p, nginx)
			i.Site = imageref.Ref(strings.Replace(string(i.Site), "/mirror/", "/other/", 1))
		},
		"another digest at the site": func(p *plan.Plan) {
			i := image(p, nginx)
			i.Site = p.Site.Registry.Place(nginx, evil)
		},
		"another digest": func(p *plan.Plan) {
			i := image(p, nginx)
			i.Digest, i.Site = evil, p.Site.Registry.Place(nginx, evil)
		},
		"the digest of another image": func(p *plan.Plan) {
			i := image(p, nginx)
			i.Digest, i.Site = dg(tool), p.Site.Registry.Place(nginx, dg(tool))
		},
		"the place of another image": func(p *plan.Plan) {
			i := image(p, nginx)
			i.Site = p.Site.Registry.Place(tool, dg(tool))
		},
		"another manifest than its reference": func(p *plan.Plan) {
			i := image(p, imageref.Ref(child))
			i.Digest, i.Site = dg("ghcr.io/acme/web:1"), p.Site.Registry.Place(imageref.Ref(child), dg("ghcr.io/acme/web:1"))
		},
		"an image that the bundle lacks": func(p *plan.Plan) {
			p.Images = append(p.Images, plan.Image{Ref: "docker.io/evil/x:1", Digest: evil, Site: p.Site.Registry.Place("docker.io/evil/x:1", evil)})
		},
		"an alias of another image": func(p *plan.Plan) { image(p, nginx).Aliases = []imageref.Ref{"ghcr.io/acme/web:1"} },
		"an alias of nothing there": func(p *plan.Plan) { image(p, nginx).Aliases = []imageref.Ref{"docker.io/evil/x:1"} },
	} {
		t.Run(name, func(t *testing.T) {
			data, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			spoilt, err := plan.Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			spoil(spoilt)
			if err := Fit(spoilt, sample(), dg("lock")); !errors.Is(err, plan.ErrUnfit) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestTagOfSeveralImages(t *testing.T) {
	one, two := "quay.io/acme/two:3@"+dg("1").String(), "quay.io/acme/two:3@"+dg("2").String()
	with := func(more ...lock.Item) (*plan.Plan, []event.Finding) {
		return decide(t, func(l *lock.Lock, _ *plan.Site, r map[Key]Rendered, f *Facts) {
			l.Items = append(l.Items, more...)
			web := r[Key{"web", "web"}]
			web.Images = append(web.Images, document.Site{What: document.Image, Ref: "quay.io/acme/two:3", Certainty: document.Certain})
			r[Key{"web", "web"}] = web
			*f = facts(l)
		})
	}
	p, found := with(image(one, "web"), image(two, "web"))
	if p != nil || len(found) != 1 || found[0].Code != "image-ambiguous" || !strings.Contains(found[0].What, one) || !strings.Contains(found[0].What, two) {
		t.Errorf("%+v", found)
	}
	bare := image("quay.io/acme/two:3", "web")
	p, found = with(image(one, "web"), image(two, "web"), bare)
	if p == nil {
		t.Fatalf("%+v", found)
	}
	if site, _ := p.Rewriter()("quay.io/acme/two:3"); digest.Digest(site[strings.IndexByte(site, '@')+1:]) != bare.Digest {
		t.Errorf("the bare tag became %s", site)
	}
}
