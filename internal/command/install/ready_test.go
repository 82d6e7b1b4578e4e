package install

import (
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/lock"
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
	if r := l.install(p); r.Components["first"] != journal.Done || r.Components["second"] != journal.Done {
		t.Fatalf("%+v", r)
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
}
