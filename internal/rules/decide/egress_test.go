package decide

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
	"github.com/caisson/caisson/internal/rules/lint"
)

// calling adds to the sample what would call out: a hook that downloads, three
// names of images and a pull policy.
func calling(r map[Key]Rendered) {
	web := r[Key{"web", "web"}]
	web.Egress = []lint.Finding{
		{Code: event.CodeEgressDownload, Template: "web/templates/hook.yaml", Line: 7, Text: "apk add kubectl", What: "downloads"},
		{Code: event.CodeEgressPullAlways, Warning: true, Template: "web/templates/d.yaml", Line: 10, Text: "ghcr.io/acme/web:1", What: "is pulled at every start"},
	}
	web.Images = append(web.Images,
		document.Site{What: document.Image, Ref: "quay.io/acme/side:1", Template: "web/templates/d.yaml", Line: 20, Path: "env"},
		document.Site{What: document.Image, Ref: "ghcr.io/acme/tool:1", Template: "web/templates/d.yaml", Line: 21, Path: "env"},
		document.Site{What: document.Image, Ref: "ghcr.io/acme/driver:1", Template: "web/templates/p.yaml", Line: 22, Path: "spec.driver", Certainty: document.Joined},
		document.Site{What: document.Image, Ref: "thanos", Template: "web/templates/p.yaml", Line: 23, Path: "spec.image"})
	r[Key{"web", "web"}] = web
	extra := r[Key{"web", "files.caisson.dev/web/extra.yaml:0123"}]
	extra.Egress = []lint.Finding{{Code: event.CodeEgressRemote, Template: "files.caisson.dev/web/extra.yaml:0123", Line: 3, Text: "https://github.com/x/y", What: "is remote"}}
	r[Key{"web", "files.caisson.dev/web/extra.yaml:0123"}] = extra
}

func told(found []event.Finding) string {
	var out []string
	for _, f := range found {
		out = append(out, fmt.Sprintf("%s %s %s", f.Severity, f.Code, strings.TrimPrefix(f.What, "release web of component web: ")))
		byList := f.Code == event.CodeEgressImage && f.Hint == "" // which says it once
		if f.Why == "" && f.Paste == "" && !byList || f.Item != "web" {
			out = append(out, "incomplete")
		}
	}
	return strings.Join(out, "\n")
}

func TestEgressForbidsThePlan(t *testing.T) {
	p, found := decide(t, func(_ *lock.Lock, s *plan.Site, r map[Key]Rendered, _ *Facts) { calling(r) })
	want := `error egress/image web/templates/d.yaml:20: env names image quay.io/acme/side:1, which is not in the bundle
error egress/download web/templates/hook.yaml:7: downloads
error egress/image web/templates/p.yaml:22: spec.driver names image ghcr.io/acme/driver:1, which is not in the bundle
error egress/remote manifest files.caisson.dev/web/extra.yaml:0123 of component web: files.caisson.dev/web/extra.yaml:0123:3: is remote
warn egress/image web/templates/p.yaml:23: spec.image may name an image thanos, which is not in the bundle
notice egress/image component web: these lines bring the images that it names and the bundle lacks: 1`
	if got := told(found); p != nil || strings.ReplaceAll(got, string(event.Warn)+" ", "warn ") != want {
		t.Errorf("found\n%s\nwant\n%s", got, want)
	}
}

func TestEgressIsAllowedByTheLock(t *testing.T) {
	p, found := decide(t, func(l *lock.Lock, s *plan.Site, r map[Key]Rendered, f *Facts) {
		calling(r)
		l.Components[0].Allow = []lock.Allow{{Code: event.CodeEgressDownload, Match: "apk *", Reason: "a mirror answers"}, {Code: event.CodeEgressImage, Match: "quay.io/acme/side:*", Reason: "off"}, {Code: event.CodeEgressRemote, Match: "extra/m.yaml:3", Reason: "off"}}
		driver := image("ghcr.io/acme/driver:1-ubuntu24.04", "web")
		l.Items = append(l.Items, driver, lock.Item{Ref: "files.caisson.dev/web/extra.yaml:0123", Kind: lock.Manifest, Content: &lock.RawFile{Name: "m.yaml", Path: "extra/m.yaml"}})
		f.Registry.Has[driver.Ref.SitePath()+"@"+driver.Digest.String()] = true
	})
	if p == nil || HasErrors(found) {
		t.Fatalf("%+v", found)
	}
	allowed := 0
	for _, f := range p.Findings {
		if f.Severity == event.Notice && strings.HasPrefix(f.Why, "the stack allows it: ") {
			allowed++
		}
	}
	if allowed != 3 {
		t.Errorf("%+v", p.Findings)
	}
}
