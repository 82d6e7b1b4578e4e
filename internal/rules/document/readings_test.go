package document

import (
	"slices"
	"testing"

	sigyaml "sigs.k8s.io/yaml"
)

// TestReadsWhatTheClusterReads: what a chart hides from one parser and shows the
// other is found. Each of these runs evil/x:1 in the cluster.
func TestReadsWhatTheClusterReads(t *testing.T) {
	const job = "spec: {template: {spec: {containers: [{name: a, image: \"evil/x:1\"}]}}}\n"
	for name, source := range map[string]string{
		"a kind that is repeated": "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\napiVersion: batch/v1\nkind: Job\n" + job,
		"a repeated field":        "kind: Pod\nspec: {containers: []}\nspec: {containers: [{image: \"evil/x:1\"}]}\n",
		"a repeated image":        "kind: Pod\nspec: {containers: [{image: \"good/x:1\", image: \"evil/x:1\"}]}\n",
		"a merge":                 "kind: Pod\nx: &x {image: \"evil/x:1\"}\nspec: {containers: [{name: a, <<: *x}]}\n",
		"a merge of a kind": "x: &x {apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition}\n" +
			"<<: *x\napiVersion: batch/v1\nkind: Job\n" + job,
		"a binary key":     "kind: Pod\nspec: {containers: [{!!binary aW1hZ2U=: \"evil/x:1\"}]}\n",
		"a binary value":   "kind: Pod\nspec: {containers: [{image: !!binary ZXZpbC94OjE=}]}\n",
		"an alias as key":  "kind: Pod\nx: &k image\nspec: {containers: [{*k : \"evil/x:1\"}]}\n",
		"a key with a tag": "kind: Pod\nspec: {containers: [{!!str image: \"evil/x:1\"}]}\n",
	} {
		var object map[string]any
		if err := sigyaml.Unmarshal([]byte(source), &object); err != nil {
			t.Errorf("%s: Kubernetes does not read it: %v", name, err)
			continue
		}
		sites, err := Read([]Document{{Template: "t.yaml", Line: 1, Source: source}})
		if err != nil || !slices.ContainsFunc(sites, func(s Site) bool { return s.Ref == "evil/x:1" && s.Required }) {
			t.Errorf("%s: found %v, %v", name, sites, err)
		}
		if slices.ContainsFunc(sites, func(s Site) bool { return s.Ref == "good/x:1" }) {
			t.Errorf("%s: finds what the cluster does not read", name)
		}
	}
}
