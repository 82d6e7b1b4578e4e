package install

import (
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

// TestRollbackTakesItsNamespaceBack: the namespace that an installation made goes with
// the component that did not exist before; one that is shared, was there before or holds
// what others made stays.
func TestRollbackTakesItsNamespaceBack(t *testing.T) {
	l := newLab(t)
	object := func(name string) map[string]string {
		return map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\n"}
	}
	l.cluster.Kubectl(t, "create", "namespace", "takeback-theirs")
	stack := stacktest.Stack{Components: []stacktest.Component{
		{Name: "one", Namespace: "takeback-shared", Manifests: object("one")},
		{Name: "two", Namespace: "takeback-shared", Manifests: object("two")},
		{Name: "three", Namespace: "takeback-used", Manifests: object("three")},
		{Name: "four", Namespace: "takeback-theirs", Manifests: object("four")},
	}}
	l.install(l.plan(stack, ""))
	l.cluster.Kubectl(t, "create", "configmap", "foreign", "-n", "takeback-used")
	there := func(name string) bool { return slices.Contains(l.inventory(), "namespace/takeback-"+name) }
	l.rollback("one")
	if !there("shared") {
		t.Error("a namespace went that another component uses")
	}
	l.rollback("two")
	if there("shared") {
		t.Error("the namespace stays although nothing is in it")
	}
	var warned []string
	sink := event.Func(func(e event.Event) {
		if e.Kind == event.Warning {
			warned = append(warned, e.Message)
		}
	})
	for _, name := range []string{"three", "four"} {
		if _, err := Rollback(t.Context(), RollbackOptions{Target: l.target(), Component: name}, sink); err != nil {
			t.Fatal(err)
		}
	}
	if !there("used") || !there("theirs") {
		t.Error("a namespace went that holds what others made, or was there before")
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "namespace takeback-used stays: it holds ConfigMap takeback-used/foreign") {
		t.Errorf("warned of %q", warned)
	}
}
