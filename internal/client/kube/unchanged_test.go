package kube

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/caisson/caisson/internal/api/object"
)

const comparedDefinition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.compared.caisson.dev}
spec:
  group: compared.caisson.dev
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
`

// A definition that is as it was applied is not sent to the server again, and what anybody
// changed in it is found as before.
func TestDefinitionsAreComparedHere(t *testing.T) {
	c := connect(t)
	opt := ApplyOptions{Owner: "demo/web"}
	definition := func(text string) *unstructured.Unstructured { return parse(t, text)[0] }
	done, err := c.Apply(t.Context(), []*unstructured.Unstructured{definition(comparedDefinition)}, opt)
	if err != nil {
		t.Fatal(err)
	}
	ref := done[0].Object
	t.Cleanup(func() { _ = c.Delete(t.Context(), []object.Ref{ref}) })
	settled := func(text string) bool {
		t.Helper()
		live, err := c.Get(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		u := definition(text)
		prepareForApply(u, ownerOver(live, opt.Owner))
		markMade(u)
		return isAsApplied(live, u)
	}
	if !settled(comparedDefinition) {
		t.Error("the server is asked about a definition that is as it was applied")
	}
	if settled(strings.Replace(comparedDefinition, "singular: thing, ", "", 1)) {
		t.Error("a field that goes is taken for unchanged")
	}
	for name, patch := range map[string]string{
		"a field of ours": `[{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size/type","value":"string"}]`,
		"a field more":    `[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/more","value":{"type":"string"}}]`,
		"a version more":  `[{"op":"add","path":"/spec/versions/1","value":{"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object"}}}}]`,
		"a label of ours": `[{"op":"replace","path":"/metadata/labels/app.kubernetes.io~1managed-by","value":"hand"}]`,
	} {
		patchAs(t, c, ref, "hand", types.JSONPatchType, patch)
		if found, _ := compared(t, c, definition(comparedDefinition), opt); found == "" {
			t.Errorf("%s: nothing is found", name)
		}
		if _, err := c.Apply(t.Context(), []*unstructured.Unstructured{definition(comparedDefinition)}, opt); err != nil {
			t.Fatal(err)
		}
	}
}
