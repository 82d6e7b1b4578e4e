package decide

import (
	"slices"
	"testing"

	"github.com/caisson/caisson/internal/api/plan"
)

func TestStrategiesByTheCluster(t *testing.T) {
	both := []string{"a.acme.dev", "imagedigestmirrorsets.config.openshift.io", "imagetagmirrorsets.config.openshift.io"}
	for name, c := range map[string]struct {
		definitions, lacking, want []string
	}{
		"plain":             {nil, nil, []string{plan.Rewrite}},
		"OpenShift":         {both, nil, []string{plan.IDMS, plan.Rewrite}},
		"without rights":    {both, []string{"create imagedigestmirrorsets"}, []string{plan.Rewrite}},
		"half of OpenShift": {both[:2], nil, []string{plan.Rewrite}},
	} {
		if got, why := Strategies(c.definitions, c.lacking); !slices.Equal(got, c.want) || why == "" {
			t.Errorf("%s: %q, %q", name, got, why)
		}
	}
}

// TestDefaultOfOpenShiftMakesAPlan holds that what is chosen can be carried out.
func TestDefaultOfOpenShiftMakesAPlan(t *testing.T) {
	l, s, r := sample(), lab(), renders()
	s.References = nil
	f := facts(l)
	f.CRDs = slices.Clone(mirrorSets)
	selection, _ := Select(l, s)
	selection.SetReferences(Strategies(f.CRDs, nil))
	p, found := Make(ofBundle(), selection, r, f)
	if p == nil || p.Nodes == nil || p.Nodes.Strategy != plan.IDMS || p.Site.ReferencesWhy == "" || !p.Site.Rewrites() {
		t.Fatalf("%+v", found)
	}
	if err := Fit(p, l, dg("lock")); err != nil {
		t.Error(err)
	}
}
