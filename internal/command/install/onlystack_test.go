package install

import (
	"errors"
	"testing"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/clustertest"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

// TestStacksThatAreGoneAreNotMeant: what was uninstalled keeps its journal, and is not
// installed.
func TestStacksThatAreGoneAreNotMeant(t *testing.T) {
	c := clustertest.Fresh(t)
	client, err := kube.Connect(t.Context(), kube.Options{Kubeconfig: c.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, site: stacktest.NewSite(t, true), cluster: c, client: client, state: t.TempDir()}
	unnamed := Target{Kubeconfig: c.Kubeconfig, StateDir: l.state}
	for _, name := range []string{"one", "two"} {
		l.name = name
		l.install(l.plan(stacktest.Stack{Components: []stacktest.Component{{Name: "a", Namespace: name, Manifests: map[string]string{
			"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
		}}}}, ""))
	}
	if _, err := Status(t.Context(), unnamed, event.Discard); !errors.Is(err, ErrManyStacks) {
		t.Errorf("two stacks are there, and status says %v", err)
	}
	remove := func(target Target) {
		t.Helper()
		if _, err := Uninstall(t.Context(), UninstallOptions{Target: target}, event.Discard); err != nil {
			t.Fatal(err)
		}
	}
	l.name = "one"
	remove(l.target())
	if s, err := Status(t.Context(), unnamed, event.Discard); err != nil || s.Stack != "two" {
		t.Errorf("one stack is left, and status says %+v, %v", s, err)
	}
	remove(unnamed)
	if _, err := Status(t.Context(), unnamed, event.Discard); !errors.Is(err, journal.ErrNone) {
		t.Errorf("nothing is left, and status says %v", err)
	}
	if _, err := History(t.Context(), unnamed, event.Discard); !errors.Is(err, ErrManyStacks) {
		t.Errorf("two journals are kept, and history says %v", err)
	}
}
