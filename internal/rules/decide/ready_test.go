package decide

import (
	"slices"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
)

func TestConditionsOfObjectsElsewhere(t *testing.T) {
	part := func(namespace string) Part {
		return Part{Ref: object.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: namespace, Name: "manager"}}
	}
	for name, test := range map[string]struct {
		made      []Part
		condition lock.Condition
		want      []string
	}{
		"in the component's namespace": {[]Part{part("web")}, lock.Condition{Kind: "Deployment", Name: "manager"}, nil},
		"somewhere else": {[]Part{part("other")}, lock.Condition{Kind: "Deployment", Name: "manager"},
			[]string{"component web is ready when Deployment manager is, in namespace web; the plan makes it in other"}},
		"with the namespace said":    {[]Part{part("other")}, lock.Condition{Kind: "Deployment", Name: "manager", Namespace: "other"}, nil},
		"in both":                    {[]Part{part("other"), part("web")}, lock.Condition{Kind: "Deployment", Name: "manager"}, nil},
		"of nobody's making":         {nil, lock.Condition{Kind: "Deployment", Name: "manager"}, nil},
		"another kind of that name":  {[]Part{part("other")}, lock.Condition{Kind: "DaemonSet", Name: "manager"}, nil},
		"another group of that name": {[]Part{part("other")}, lock.Condition{APIVersion: "acme.example/v1", Kind: "Deployment", Name: "manager"}, nil},
	} {
		_, found := decide(t, func(l *lock.Lock, _ *plan.Site, r map[Key]Rendered, _ *Facts) {
			web := slices.IndexFunc(l.Components, func(c lock.Component) bool { return c.Name == "web" })
			l.Components[web].Ready, l.Components[web].Namespace = []lock.Condition{test.condition}, "web"
			give(r, webKey, test.made...)
		})
		var got []string
		for _, f := range foundOf(found, event.CodeReadyElsewhere) {
			got = append(got, f.What)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: found %q, want %q", name, got, test.want)
		}
	}
}
