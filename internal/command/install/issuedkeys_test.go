package install

import (
	"slices"
	"testing"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

const certificates = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.cert-manager.io}
spec:
  group: cert-manager.io
  scope: Namespaced
  names: {plural: certificates, singular: certificate, kind: Certificate}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

const certificate = `apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: serving}
spec: {secretName: keys}
`

// cert-manager leaves the Secret of a Certificate that is deleted. What a component of the
// stack had issued goes with it, and what others have in its namespace stays.
func TestIssuedKeysGoWithTheirCertificate(t *testing.T) {
	l := newLab(t)
	l.install(l.plan(stacktest.Stack{Version: "1.0.0", Sequence: 1, Components: []stacktest.Component{{
		Name: "issued", Namespace: "issued",
		Charts: []stacktest.Chart{{Release: "issued", Files: map[string]string{"crds/c.yaml": certificates, "templates/c.yaml": certificate}}},
	}}}, ""))
	for name, of := range map[string]string{"keys": "serving", "others": "mine"} {
		l.cluster.Kubectl(t, "create", "secret", "generic", name, "-n", "issued")
		l.cluster.Kubectl(t, "annotate", "secret", name, "-n", "issued", "cert-manager.io/certificate-name="+of)
	}
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	got := l.inventory("issued")
	if slices.Contains(got, "issued/secret/keys") || !slices.Contains(got, "issued/secret/others") {
		t.Errorf("after the removal there is %q", got)
	}
}
