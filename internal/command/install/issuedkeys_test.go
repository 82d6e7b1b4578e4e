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
spec: {secretName: keys, isCA: true}
`

// cert-manager leaves the Secret of a Certificate that is deleted. What a component of the
// stack had issued goes with it, and is said. What others have in its namespace stays, and
// so does a copy that somebody keeps.
func TestIssuedKeysGoWithTheirCertificate(t *testing.T) {
	l := newLab(t)
	l.install(l.plan(stacktest.Stack{Version: "1.0.0", Sequence: 1, Components: []stacktest.Component{{
		Name: "issued", Namespace: "issued",
		Charts: []stacktest.Chart{{Release: "issued", Files: map[string]string{"crds/c.yaml": certificates, "templates/c.yaml": certificate}}},
	}}}, ""))
	for name, of := range map[string]string{"keys": "serving", "backup": "serving", "others": "mine"} {
		l.cluster.Kubectl(t, "create", "secret", "generic", name, "-n", "issued")
		l.cluster.Kubectl(t, "annotate", "secret", name, "-n", "issued", "cert-manager.io/certificate-name="+of)
	}
	const keys = "Secret issued/keys, made for Certificate issued/serving, a certificate authority"
	opt := UninstallOptions{Target: l.target()}
	preview, err := PreviewUninstall(t.Context(), opt, event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if k := preview.Components[0].Keys; len(k) != 1 || k[0].String() != keys {
		t.Errorf("the preview shows keys %q", k)
	}
	var said []string
	if _, err := Uninstall(t.Context(), opt, event.Func(func(e event.Event) {
		if e.Kind == event.Info {
			said = append(said, e.Message)
		}
	})); err != nil {
		t.Fatal(err)
	}
	if want := []string{"removed " + keys}; !slices.Equal(said, want) {
		t.Errorf("it said %q, want %q", said, want)
	}
	got := l.inventory("issued")
	for name, stays := range map[string]bool{"keys": false, "backup": true, "others": true} {
		if slices.Contains(got, "issued/secret/"+name) != stays {
			t.Errorf("after the removal there is %q", got)
		}
	}
}
