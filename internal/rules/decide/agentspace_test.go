package decide

import (
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
)

func TestNamespaceOfTheAgent(t *testing.T) {
	for _, c := range []struct {
		level, strategy string
		found           bool
	}{
		{"baseline", plan.Mirror, true}, {"restricted", plan.Mirror, true}, {"privileged", plan.Mirror, false}, {"", plan.Mirror, false}, {"restricted", plan.Rewrite, false},
	} {
		_, found := decide(t, func(_ *lock.Lock, s *plan.Site, _ map[Key]Rendered, f *Facts) {
			s.References = []string{c.strategy}
			f.Cluster.Spaces = map[string]SpaceFact{"caisson-system": {Name: "caisson-system", Enforce: c.level}}
		})
		at := slices.IndexFunc(found, func(f event.Finding) bool { return f.Code == "agent-pod-security" })
		if (at >= 0) != c.found {
			t.Errorf("%+v: found at %d", c, at)
		}
		if at >= 0 && !strings.Contains(found[at].Hint, "kubectl label namespace caisson-system pod-security.kubernetes.io/enforce=privileged --overwrite") {
			t.Errorf("%+v", found[at])
		}
	}
}
