package document

import (
	"reflect"
	"testing"
)

func TestDefinitionsAreListed(t *testing.T) {
	const text = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: queues.example.com}
spec:
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {properties: {image: {default: "ghcr.io/acme/web:1"}}}}}
    - {name: v1beta1, served: true, storage: false}
    - {name: v1alpha1, served: false, storage: false}
    - nonsense
---
apiVersion: v1
kind: ConfigMap
data:
  crd.yaml: |
    apiVersion: apiextensions.k8s.io/v1
    kind: CustomResourceDefinition
    metadata: {name: within.example.com}
    spec: {versions: [{name: v1, served: true, storage: true}]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: [of, no, use]
spec: none
`
	docs, err := Split("crds.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	sites, err := Read(docs)
	if err != nil {
		t.Fatal(err)
	}
	var got []Site
	for _, s := range sites {
		if s.What == Definition {
			got = append(got, Site{What: s.What, Name: s.Name, Served: s.Served, Stored: s.Stored, Line: s.Line})
		}
	}
	want := []Site{{What: Definition, Name: "queues.example.com", Served: []string{"v1", "v1beta1"}, Stored: "v1", Line: 1}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("listed %+v, want %+v", got, want)
	}
}
