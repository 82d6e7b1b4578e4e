package resolve

import (
	"reflect"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/rules/document"
)

// TestDefinitionsOfRenderingsInAnyOrder: what is noted of a definition does not depend on
// which rendering came last.
func TestDefinitionsOfRenderingsInAnyOrder(t *testing.T) {
	rendering := func(stored string, served ...string) []document.Site {
		return []document.Site{{What: document.Definition, Name: "queues.acme.dev", Served: served, Stored: stored}}
	}
	old, unsaid, now := rendering("v1beta1", "v1alpha1", "v1beta1"), rendering("", "v1beta1"), rendering("v1", "v1", "v1beta1")
	want := lock.CRD{Name: "queues.acme.dev", Served: []string{"v1", "v1alpha1", "v1beta1"}, Stored: "v1"}
	for i, order := range [][][]document.Site{{old, unsaid, now}, {now, unsaid, old}, {unsaid, now, old}, {now, old, unsaid}} {
		var c collection
		for _, sites := range order {
			c.addDefinitions("web", sites)
		}
		if got := c.crds["web"]["queues.acme.dev"]; !reflect.DeepEqual(got, want) {
			t.Errorf("order %d: %+v, want %+v", i, got, want)
		}
	}
}
