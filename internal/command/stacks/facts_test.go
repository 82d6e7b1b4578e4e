package stacks

import (
	"slices"
	"testing"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
)

// TestWhatOtherChartsBringIsTold compares a lock of an older Kueue with the stack that comes
// with the program.
func TestWhatOtherChartsBringIsTold(t *testing.T) {
	shipped, err := readKnown()
	if err != nil {
		t.Fatal(err)
	}
	s, err := stack.ReadShipped("sovereign-ai")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(s.Components, func(c stack.Component) bool { return c.Name == "kueue" })
	kueue := &s.Components[i]
	facts, ok := shipped.of(kueue, []string{"kueue " + kueue.Charts[0].Version})
	if !ok || len(facts.Images) != 1 || len(facts.CRDs) == 0 {
		t.Fatalf("of kueue is known %+v", facts)
	}
	image := func(ref imageref.Ref, by string) lock.Item {
		return lock.Item{Ref: ref, Kind: lock.Image, Components: []string{"kueue"}, FoundBy: []string{by}}
	}
	old := imageref.Ref(facts.Images[0].Repository() + ":v0.1.0")
	l := &lock.Lock{Items: []lock.Item{image(old, "chart kueue"), image("ghcr.io/acme/gone:1", "chart kueue"), image("ghcr.io/acme/driver:1", "nodes")}}
	former := &lock.Component{
		Name: "kueue", Releases: []lock.Release{{Name: "kueue", Chart: "registry.k8s.io/kueue/charts/kueue:0.1.0"}},
		CRDs: append(slices.Clone(facts.CRDs[1:]), lock.CRD{Name: "old.kueue.x-k8s.io", Served: []string{"v1"}, Stored: "v1"}),
	}
	l.Components = []lock.Component{*former}
	got, found, err := shipped.compareKnown(kueue, l, former)
	want := []string{
		"image registry.k8s.io/kueue/kueue: v0.1.0 > " + facts.Images[0].Tag(),
		"image ghcr.io/acme/gone:1 is gone",
		"definition " + facts.CRDs[0].Name + " is new: " + facts.CRDs[0].Served[0] + ", " + facts.CRDs[0].Served[1],
		"definition old.kueue.x-k8s.io is gone, and with it every object of it",
	}
	if err != nil || !found || !slices.Equal(got, want) {
		t.Errorf("told %q (%v), want %q", got, err, want)
	}
	l.Components[0].CRDs = nil
	if got, _, err := shipped.compareKnown(kueue, l, former); err != nil || !slices.Equal(got, want[:2]) {
		t.Errorf("of a lock that knows no definitions it tells %q (%v)", got, err)
	}
	former.Releases[0].Chart = imageref.Ref("registry.k8s.io/kueue/charts/kueue:" + kueue.Charts[0].Version)
	if got, found, _ := shipped.compareKnown(kueue, l, former); found {
		t.Errorf("of the same chart it tells %q", got)
	}
	kueue.Charts[0].Version = "99.0.0"
	if got, found, _ := shipped.compareKnown(kueue, l, former); found {
		t.Errorf("of a chart that nobody looked at it tells %q", got)
	}
}

func TestVersionsOfDefinitionsAreCompared(t *testing.T) {
	crd := func(stored string, served ...string) []lock.CRD {
		return []lock.CRD{{Name: "queues.example.com", Served: served, Stored: stored}}
	}
	for name, c := range map[string]struct {
		before, now []lock.CRD
		want        []string
	}{
		"the same":  {crd("v1", "v1"), crd("v1", "v1"), nil},
		"a new one": {nil, crd("v1", "v1beta1", "v1"), []string{"definition queues.example.com is new: v1beta1, v1"}},
		"a version more, which keeps": {crd("v1beta1", "v1beta1"), crd("v1", "v1", "v1beta1"), []string{
			"definition queues.example.com has v1 now", "definition queues.example.com keeps objects as v1, before as v1beta1"}},
		"a version less": {crd("v1", "v1", "v1beta1"), crd("v1", "v1"), []string{
			"definition queues.example.com has no v1beta1 any more: what uses it must change first"}},
	} {
		if got := compareCRDs(c.before, c.now); !slices.Equal(got, c.want) {
			t.Errorf("%s: told %q, want %q", name, got, c.want)
		}
	}
}
