package smoke

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// guarded is a webhook before everything named web, and the pod that would answer it.
const guarded = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: guard}
webhooks:
- name: guard.test.caisson.dev
  clientConfig: {service: {name: operator, namespace: default}}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
  objectSelector: {matchLabels: {guarded: "yes"}}
  sideEffects: None
  admissionReviewVersions: [v1]
---
apiVersion: v1
kind: Service
metadata: {name: operator}
spec: {selector: {app: operator}, ports: [{port: 443, targetPort: 9443}]}
`

const operator = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: operator}
spec:
  selector: {matchLabels: {app: operator}}
  template:
    metadata: {labels: {app: operator}}
    spec: {containers: [{name: operator, image: registry.example/operator:1}]}
`

const guardedMap = `
apiVersion: v1
kind: ConfigMap
metadata: {name: guarded, labels: {guarded: "yes"}}
`

const aggregated = `
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.view.test.caisson.dev}
spec:
  group: view.test.caisson.dev
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 100
  service: {name: operator, namespace: default}
`

// twoVersions is a definition that the operator converts, as cert-manager's is called.
const twoVersions = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.cert-manager.io}
spec:
  group: cert-manager.io
  names: {kind: Certificate, plural: certificates}
  scope: Namespaced
  conversion:
    strategy: Webhook
    webhook:
      conversionReviewVersions: [v1]
      clientConfig: {service: {name: operator, namespace: default}}
  versions:
  - &version
    name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status:
            type: object
            required: [phase, replicas]
            properties:
              conditions: {type: array, items: {type: object, x-kubernetes-preserve-unknown-fields: true}}
              observedGeneration: {type: integer}
              phase: {type: string, enum: [Good, Bad]}
              replicas: {type: integer}
  - <<: *version
    name: v1beta1
    storage: false
`

const certificate = `
apiVersion: cert-manager.io/v1beta1
kind: Certificate
metadata: {name: web}
spec: {secretName: web-keys, dnsNames: [web.default.svc]}
`

func TestPretendOperators(t *testing.T) {
	t.Parallel()
	c := start(t, "-pretend-operators")
	c.kubectl(guarded, "apply", "--server-side", "-f", "-")
	c.wait("jsonpath={.webhooks[0].clientConfig.caBundle}", "validatingwebhookconfiguration/guard")
	if refused := c.refusal(guardedMap, "create", "-f", "-"); !strings.Contains(refused, "connection refused") {
		t.Errorf("a webhook without a pod behind it says %q", refused)
	}
	c.kubectl(operator+"---"+aggregated+"---"+twoVersions, "apply", "--server-side", "-f", "-")
	c.wait("condition=Available", "deployment/operator", "apiservice/v1.view.test.caisson.dev")
	c.wait("jsonpath={.spec.conversion.webhook.clientConfig.caBundle}", "crd/certificates.cert-manager.io")
	c.wait("condition=Established", "crd/certificates.cert-manager.io")
	c.kubectl(guardedMap, "create", "-f", "-")
	c.kubectl("", "get", "--raw", "/apis/view.test.caisson.dev/v1")

	c.kubectl(certificate, "create", "-f", "-")
	c.wait("condition=Ready", "certificates.v1beta1.cert-manager.io/web")
	status := c.kubectl("", "get", "certificates.v1.cert-manager.io/web", "-o",
		"jsonpath={.status.phase} {.status.replicas} {.status.observedGeneration}")
	if status != "Good 0 1" {
		t.Errorf("status of a finished object: %q", status)
	}
	keys := c.kubectl("", "get", "secret/web-keys", "-o", "jsonpath={.data}")
	if !strings.Contains(keys, "tls.key") {
		t.Errorf("keys of a certificate: %q", keys)
	}

	c.kubectl("", "scale", "--replicas=0", "deployment/operator")
	c.wait("condition=Available=False", "apiservice/v1.view.test.caisson.dev")
	refused := c.refusal(guardedMap, "create", "--dry-run=server", "-f", "-")
	if !strings.Contains(refused, "connection refused") {
		t.Errorf("a webhook that lost its pod says %q", refused)
	}
}

// refusal runs kubectl with the input and returns the error that it ends with.
func (c *cluster) refusal(stdin string, args ...string) string {
	c.t.Helper()
	cmd := exec.Command(c.bin, append([]string{"kubectl", "--kubeconfig", filepath.Join(c.state, "kubeconfig")}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err == nil {
		c.t.Fatalf("kubectl %s was let through: %s", strings.Join(args, " "), out)
	}
	return string(out)
}
