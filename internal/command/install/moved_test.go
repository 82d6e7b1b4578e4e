package install

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/event"
)

// TestPlanIsRefusedWhenItsReleasesMoved makes two plans of the same site, and
// wants the second refused once the first is carried out; the first itself may
// be carried out again.
func TestPlanIsRefusedWhenItsReleasesMoved(t *testing.T) {
	l := newLab(t)
	first := l.plan(three("moved", "1.0.0", 1), "")
	second := l.plan(three("moved", "2.0.0", 2), "")
	l.install(first)
	_, err := Run(t.Context(), l.options(second), event.Discard)
	if !errors.Is(err, ErrPlanStale) || !strings.Contains(err.Error(), "is at revision 1, the plan saw no revision") {
		t.Errorf("error is %v", err)
	}
	l.install(first)
	l.install(l.plan(three("moved", "2.0.0", 2), ""))
}

// TestPlanIsRefusedWhenTheClusterMoved changes what a plan is bound to, and wants
// every change named at once; and a change that decides nothing let through.
func TestPlanIsRefusedWhenTheClusterMoved(t *testing.T) {
	l := newLab(t)
	stack := three("sight", "1.0.0", 1)
	stack.Components[0].Manifests = map[string]string{"c.yaml": "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: c}\nspec: {accessModes: [ReadWriteOnce], storageClassName: sight-class, resources: {requests: {storage: 1Mi}}}\n"}
	l.apply("apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: sight-class}\nprovisioner: acme.dev/none\nvolumeBindingMode: WaitForFirstConsumer\n")
	path := l.plan(stack, "")

	l.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: sight-elsewhere}\n")
	l.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: sight-db}\n---\n" + stack.Components[2].Charts[0].Files["crds/widget.yaml"])
	l.cluster.Kubectl(t, "delete", "storageclass", "sight-class")
	_, err := Run(t.Context(), l.options(path), event.Discard)
	if !errors.Is(err, ErrPlanStale) {
		t.Fatalf("error is %v", err)
	}
	for _, want := range []string{"definition widgets.sight.caisson.dev was not there, is now", "namespace sight-db was not there, is now", "storage class sight-class was there, is gone"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "elsewhere") || strings.Contains(err.Error(), "node") {
		t.Errorf("a fact that decides nothing is named: %v", err)
	}
	l.install(l.plan(three("sight", "1.0.0", 1), ""))
}

// TestPlanMayBeCarriedOutAgain installs twice what brings its own namespaces and
// definitions.
func TestPlanMayBeCarriedOutAgain(t *testing.T) {
	l := newLab(t)
	path := l.plan(three("again", "1.0.0", 1), "")
	l.install(path)
	l.install(path)
}

// apply applies objects to the lab's cluster.
func (l *lab) apply(text string) {
	l.t.Helper()
	file := filepath.Join(l.t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.cluster.Kubectl(l.t, "apply", "-f", file)
}
