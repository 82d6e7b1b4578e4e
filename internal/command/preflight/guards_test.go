package preflight

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/rules/document"
)

// piecesFrom are the objects of a manifest as pieces of a component. resources are
// those of their kinds.
func piecesFrom(t *testing.T, component, manifest string, resources map[string]schema.GroupVersionResource) (out []*piece) {
	t.Helper()
	objects, err := kube.Parse([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range objects {
		p := newPiece(document.Document{Template: "t.yaml"}, u)
		p.component, p.namespace, p.resource = component, component, resources[u.GetKind()]
		out = append(out, p)
	}
	return out
}

// TestGuards: what webhooks of the plan are asked about is known before they are there,
// with the labels that the plan gives to namespaces.
func TestGuards(t *testing.T) {
	resources := map[string]schema.GroupVersionResource{
		"Job":        {Group: "batch", Version: "v1", Resource: "jobs"},
		"ConfigMap":  {Version: "v1", Resource: "configmaps"},
		"Deployment": {Group: "apps", Version: "v1", Resource: "deployments"},
	}
	pieces := piecesFrom(t, "queue", `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: queue}
webhooks:
- name: mjob.acme.dev
  clientConfig: {service: {name: queue, namespace: queue}}
  rules: [{apiGroups: [batch], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [jobs]}]
  namespaceSelector: {matchExpressions: [{key: acme.dev/queue, operator: NotIn, values: ["off"]}]}
- name: open.acme.dev
  failurePolicy: Ignore
  clientConfig: {service: {name: queue, namespace: queue}}
  rules: [{apiGroups: ["*"], apiVersions: ["*"], operations: ["*"], resources: ["*"]}]
- name: updates.acme.dev
  clientConfig: {service: {name: queue, namespace: queue}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [configmaps]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: own, namespace: queue}
`, resources)
	pieces = append(pieces, piecesFrom(t, "web", `
apiVersion: batch/v1
kind: Job
metadata: {name: init, namespace: web, annotations: {helm.sh/hook: pre-install}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: web}
`, resources)...)
	pieces = append(pieces, piecesFrom(t, "free", `
apiVersion: v1
kind: Namespace
metadata: {name: free, labels: {acme.dev/queue: "off"}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: init, namespace: free}
`, resources)...)
	sr := &stateReader{pieces: pieces, selection: &decide.Selection{}, facts: &decide.Facts{}, planned: plannedLabels(pieces)}
	if err := sr.findGuards(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := sr.facts.Cluster.Guards
	if len(got) != 1 || got[0].Component != "queue" || got[0].Webhook != "mjob.acme.dev" || len(got[0].Guards) != 1 || len(got[0].Guards["web"]) != 1 {
		t.Errorf("%+v", got)
	}
}

// TestTwinsAreMarked: manifests of one component that have one object, by all of it.
func TestTwinsAreMarked(t *testing.T) {
	manifest := func(namespace, value string) []*piece {
		list := piecesFrom(t, "web", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m"+namespace+"}\ndata: {k: "+value+"}\n", nil)
		list[0].part.Namespace = "web"
		return list
	}
	pieces := slices.Concat(manifest("", "a"), manifest(", namespace: web", "a"), manifest("", "b"))
	markTwins(pieces)
	marks := []string{pieces[0].part.Content, pieces[1].part.Content, pieces[2].part.Content}
	if marks[0] == "" || marks[0] != marks[1] || marks[0] == marks[2] {
		t.Errorf("marks %q", marks)
	}
}

// TestDefinersAreCompared: by what definitions say, not by their words for people.
func TestDefinersAreCompared(t *testing.T) {
	definition := func(description, kind string) []*piece {
		return piecesFrom(t, "web", `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.acme.dev, labels: {x: `+description+`}}
spec:
  group: acme.dev
  names: {kind: Widget, plural: widgets}
  versions: [{name: v1, served: true, schema: {openAPIV3Schema: {type: `+kind+`, description: `+description+`}}}, {name: v0, served: false}]
`, nil)
	}
	pieces := append(append(definition("one", "object"), definition("two", "object")...), definition("one", "string")...)
	markDefiners(pieces)
	marks := []string{pieces[0].part.Defines.Content, pieces[1].part.Defines.Content, pieces[2].part.Defines.Content}
	if marks[0] == "" || marks[0] != marks[1] || marks[0] == marks[2] {
		t.Errorf("marks %q", marks)
	}
	if d := pieces[0].part.Defines; len(d.Versions) != 2 || len(d.Served) != 1 {
		t.Errorf("%+v", d)
	}
}
