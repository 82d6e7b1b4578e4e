package rendering

import (
	"testing"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
)

// TestChanceDecidesContentAlone: passwords, certificates and checksums may be
// another at install. Rights, pods and what Helm reads may not.
func TestChanceDecidesContentAlone(t *testing.T) {
	for _, test := range []struct {
		apiVersion, kind, field string
		free                    bool
	}{
		{"v1", "Secret", "/data/password", true},
		{"v1", "Secret", "/stringData/tls.key", true},
		{"v1", "ConfigMap", "/data/seed", true},
		{"v1", "Secret", "/type", false},
		{"acme.dev/v1", "Secret", "/data/password", false},
		{"v1", "Secret", "/database", false},
		{"admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "/webhooks/0/clientConfig/caBundle", true},
		{"admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "/webhooks", false},
		{"apps/v1", "Deployment", "/spec/template/metadata/annotations/checksum~1secret", true},
		{"apps/v1", "Deployment", "/spec/template/metadata/annotations/rollme", true},
		{"apps/v1", "Deployment", "/spec/template/metadata/annotations/checksum.acme.dev~1config-hash", true},
		{"apps/v1", "Deployment", "/spec/template/metadata/annotations/sidecar.istio.io~1inject", false},
		{"batch/v1", "Job", "/metadata/annotations/helm.sh~1hook", false},
		{"batch/v1", "Job", "/metadata/annotations/helm.sh~1restart-hash", false},
		{"batch/v1", "Job", "/metadata/annotations", false},
		{"v1", "Namespace", "/metadata/labels/x", false},
		{"apps/v1", "Deployment", "/spec/template/spec/containers/0/image", false},
		{"apps/v1", "Deployment", "/spec/template/spec/containers/0/env/0/value", false},
		{"rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "/roleRef/name", false},
		{"rbac.authorization.k8s.io/v1", "Role", "/rules", false},
	} {
		o := plan.RenderedObject{Ref: object.Ref{APIVersion: test.apiVersion, Kind: test.kind, Name: "x"}, Chance: []string{test.field}}
		found := Chance("chart", []plan.RenderedObject{o})
		if (len(found) == 0) != test.free || (!test.free && (found[0].Code != event.CodeChance || found[0].Text != test.kind+" x "+test.field)) {
			t.Errorf("%s %s: %+v", test.kind, test.field, found)
		}
	}
}
