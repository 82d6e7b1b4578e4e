package install

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

// bound is the least of a plan for a bundle that it packs.
func bound(t *testing.T, site *stacktest.Site) *plan.Plan {
	t.Helper()
	dir := site.Pack(t, stacktest.Stack{Name: "demo", Version: "1.0.0", Components: []stacktest.Component{{Name: "a", Images: []string{"ghcr.io/acme/a:1"}}}})
	keys := []string{site.KeyFile}
	b, err := cargo.Open(t.Context(), []string{dir}, keys, cargo.Options{}, event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var trust []digest.Digest
	for _, s := range b.Signers() {
		trust = append(trust, s.Digest)
	}
	p := &plan.Plan{
		Name: "demo", Version: "1.0.0", Index: b.IndexDigest(), Lock: b.LockDigest(),
		Bundles: []string{dir}, Keys: keys, Trust: trust,
	}
	p.Site.Registry.Address = "reg.site:5000"
	return p
}

func TestOpenBundleSaysWhomThePlanTrusts(t *testing.T) {
	p := bound(t, stacktest.NewSite(t, true))
	for name, c := range map[string]struct {
		keys []string
		want bool
	}{"the plan's keys": {nil, true}, "a given key": {p.Keys, false}} {
		t.Run(name, func(t *testing.T) {
			var heard event.Recorder
			b, err := openBundle(t.Context(), Options{Keys: c.keys}, p, &heard)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			said := slices.ContainsFunc(heard.Events(), func(e event.Event) bool {
				return e.Kind == event.Info && strings.Contains(e.Message, p.Trust[0].Encoded())
			})
			if said != c.want || len(p.Trust) != 1 || !strings.HasPrefix(p.Trust[0].Encoded(), b.KeyIDs()[0]) {
				t.Errorf("trust %v, signers %v, events %+v", p.Trust, b.KeyIDs(), heard.Events())
			}
		})
	}
}

func TestOpenBundleBelievesNoPlanOverTheBundle(t *testing.T) {
	site := stacktest.NewSite(t, true)
	evil := digest.FromString("evil")
	for name, c := range map[string]struct {
		spoil func(*plan.Plan)
		want  error
	}{
		"another key":    {func(p *plan.Plan) { p.Trust = []digest.Digest{evil} }, ErrOtherKey},
		"no key":         {func(p *plan.Plan) { p.Trust = nil }, ErrOtherKey},
		"another bundle": {func(p *plan.Plan) { p.Index = evil }, ErrBundleMismatch},
		"another lock":   {func(p *plan.Plan) { p.Lock = evil }, plan.ErrUnfit},
		"another stack":  {func(p *plan.Plan) { p.Name = "other" }, plan.ErrUnfit},
		"an image elsewhere": {func(p *plan.Plan) {
			p.Images = []plan.Image{{Ref: "ghcr.io/acme/a:1", Site: imageref.Ref("docker.io/library/nginx@" + evil.String()), Digest: evil}}
		}, plan.ErrUnfit},
	} {
		t.Run(name, func(t *testing.T) {
			p := bound(t, site)
			c.spoil(p)
			b, err := openBundle(t.Context(), Options{}, p, event.Discard)
			if err == nil {
				b.Close()
			}
			if !errors.Is(err, c.want) {
				t.Errorf("error is %v", err)
			}
		})
	}
}
