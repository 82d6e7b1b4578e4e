package install

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

// fleet is a chart that brings a kind called Fleet in a group of its own, and one of it.
func fleet(group, scope string) map[string]string {
	return map[string]string{
		"crds/fleet.yaml": strings.NewReplacer("GROUP", group, "SCOPE", scope).Replace(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: fleets.GROUP}
spec:
  group: GROUP
  scope: SCOPE
  names: {plural: fleets, singular: fleet, kind: Fleet}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`),
		"templates/fleet.yaml": "apiVersion: " + group + "/v1\nkind: Fleet\nmetadata: {name: main}\n",
	}
}

// A condition may leave out the API version and knows no scope: both come with the
// component itself, and another's kind of the same name is not meant.
func TestConditionsNameKindsThatTheComponentBrings(t *testing.T) {
	l := newLab(t)
	condition := []lock.Condition{{Kind: "Fleet", Name: "main"}}
	p := l.plan(stacktest.Stack{Version: "1.0.0", Sequence: 1, Components: []stacktest.Component{
		{Name: "first", Charts: []stacktest.Chart{{Release: "first", Files: fleet("a.fleet.test", "Cluster")}}, Ready: condition},
		{
			Name: "second", Needs: []string{"first"}, Ready: condition,
			Charts: []stacktest.Chart{{Release: "second", Files: fleet("b.fleet.test", "Namespaced")}},
		},
	}}, "")
	heard := &waits{}
	if r, err := Run(t.Context(), l.options(p), heard); err != nil || r.Components["second"] != journal.Done {
		t.Fatalf("%+v, %v", r, err)
	}
	want := map[string]string{
		"first":  "a.fleet.test/v1 Fleet main",
		"second": "b.fleet.test/v1 Fleet second/main",
	}
	for name, ref := range want {
		o := l.journal().Component(name).Ready[0].Object
		if got := strings.TrimSpace(o.APIVersion + " " + o.String()); got != ref {
			t.Errorf("%s waited for %q, want %q", name, got, ref)
		}
	}
	if _, err := Status(t.Context(), l.target(), heard); err != nil {
		t.Error(err)
	}
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, heard); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		"install: the charts", "install: first custom resource definitions",
		"status: the cluster", "uninstall: first release first", "uninstall: the cluster",
	} {
		if !slices.Contains(heard.all, want) || slices.Contains(heard.left, want) {
			t.Errorf("heard that it waits for %q, and of %q no end; want %q", heard.all, heard.left, want)
		}
	}
}

// waits hears what verbs themselves wait for.
type waits struct {
	mu   sync.Mutex
	all  []string
	left []string // have not ended
}

// Emit implements event.Sink.
func (w *waits) Emit(e event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Wait == nil {
		return
	}
	name := e.Verb + ": " + strings.TrimSpace(e.Item+" "+e.Wait.For)
	w.left = slices.DeleteFunc(w.left, func(other string) bool { return other == name })
	if e.Wait.Why != "" {
		w.all, w.left = append(w.all, name), append(w.left, name)
	}
}

// While a component waits, and after a run that was cut off meanwhile, what it waits for is
// there: status does not say that it does not exist.
func TestConditionsOfAnUnfinishedComponentAreFound(t *testing.T) {
	never := lock.Condition{Kind: "Fleet", Name: "main", Condition: "Ready"}
	for name, c := range map[string]struct {
		files map[string]string
		ready lock.Condition
	}{
		"deployment": {deployment("ghcr.io/acme/cut:1"), lock.Condition{Kind: "Deployment", Name: "cut", Condition: "Available"}},
		"namespaced": {fleet("c.fleet.test", "Namespaced"), never},
		"cluster":    {fleet("d.fleet.test", "Cluster"), never},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			p := l.plan(stacktest.Stack{Version: "1.0.0", Sequence: 1, Components: []stacktest.Component{{
				Name: "cut", Namespace: "cut-" + name, Images: []string{"ghcr.io/acme/cut:1"}, Ready: []lock.Condition{c.ready},
				Charts: []stacktest.Chart{{Release: "cut", Files: c.files, Values: map[string]any{"nodeName": "nowhere"}}},
			}}}, "")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, err := Run(ctx, l.options(p), event.Func(func(e event.Event) {
				if e.Wait != nil && e.Wait.Why != "" && strings.Contains(e.Wait.For, c.ready.Name) {
					cancel()
				}
			}))
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("interrupted: %v", err)
			}
			s, err := Status(t.Context(), l.target(), event.Discard)
			if !errors.Is(err, ErrNotReady) || len(s.Components) != 1 {
				t.Fatalf("%+v, %v", s, err)
			}
			if why := strings.Join(s.Components[0].Why, "\n"); strings.Contains(why, "does not exist") {
				t.Errorf("status says\n%s", why)
			}
		})
	}
}
