package decide

import (
	"slices"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
)

// boundPlan makes a plan that depends on every fact that plans depend on, and
// says how the cluster looked to it.
func boundPlan(t *testing.T) (*plan.Plan, Sight) {
	t.Helper()
	fast := "fast"
	p, found := decide(t, func(_ *lock.Lock, _ *plan.Site, r map[Key]Rendered, f *Facts) {
		f.CRDs, f.Namespaces, f.DefaultClass = []string{"monitors.acme.dev"}, []string{"front", "kube-system"}, "slow"
		f.StorageClasses = []string{"fast", "slow"}
		f.Cluster.Nodes = []NodeFact{{Name: "a", Platform: "linux/amd64", Runtime: "containerd://2.1.4", Ready: true}}
		web := r[Key{"web", "web"}]
		web.Parts = []Part{
			{Ref: object.Ref{APIVersion: "acme.dev/v1", Kind: "Monitor", Namespace: "front", Name: "m"}, Resource: "monitors.acme.dev"},
			{Ref: object.Ref{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: "front", Name: "c"}, Claims: []Claim{{Name: "c", Class: &fast, Count: 1}, {Name: "d", Count: 1}}},
		}
		r[Key{"web", "web"}] = web
	})
	if p == nil {
		t.Fatalf("%+v", found)
	}
	return p, Sight{
		Version: "v1.34.2", Platforms: []string{"linux/amd64", "linux/amd64"}, Runtimes: []string{"containerd", "containerd"},
		Namespaces: []string{"front", "kube-system", "other"}, StorageClasses: []string{"fast", "slow"}, DefaultClass: "slow", Definitions: []string{"else.acme.dev", "monitors.acme.dev"},
	}
}

func TestWhatDidNotDecideMayMove(t *testing.T) {
	p, now := boundPlan(t)
	if moved := Moved(p, now); len(moved) != 0 {
		t.Errorf("%q", moved)
	}
	if moved := Moved(p, Sight{Version: now.Version}); len(moved) != 0 {
		t.Errorf("of what cannot be looked at: %q", moved)
	}
	p.Cluster.Bound = nil
	if moved := Moved(p, Sight{Version: now.Version, Namespaces: []string{}, StorageClasses: []string{}}); len(moved) != 0 {
		t.Errorf("of a plan that is not bound: %q", moved)
	}
}

func TestMovedNamesEveryFactAtOnce(t *testing.T) {
	p, _ := boundPlan(t)
	got := Moved(p, Sight{
		Version: "v1.35.0", Platforms: []string{"linux/amd64", "linux/arm64"}, Runtimes: []string{"cri-o"},
		Namespaces: []string{"certs"}, StorageClasses: []string{"slow"}, DefaultClass: "", Definitions: []string{"a.acme.dev"},
	})
	want := []string{
		"Kubernetes was v1.34.2, is v1.35.0",
		"definition a.acme.dev was not there, is now",
		"definition monitors.acme.dev was there, is gone",
		"the platforms of the nodes were linux/amd64, are linux/amd64, linux/arm64",
		"the container runtimes of the nodes were containerd, are cri-o",
		"namespace certs was not there, is now",
		"namespace front was there, is gone",
		"the default storage class was slow, is none",
		"storage class fast was there, is gone",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestBoundSurvivesThePlanFile(t *testing.T) {
	p, _ := boundPlan(t)
	data, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := plan.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"monitors.acme.dev"}; !slices.Equal(back.Cluster.Bound.Definitions, want) || back.Cluster.Bound.DefaultClass != "slow" {
		t.Errorf("%+v", back.Cluster.Bound)
	}
}
