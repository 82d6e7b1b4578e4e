package preflight_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/command/install"
	"github.com/caisson/caisson/internal/command/preflight"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/clustertest"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

const widgets = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.acme.dev}
spec:
  group: acme.dev
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, description: %s}}}
`

const front = `apiVersion: apps/v1
kind: Deployment
metadata: {name: front}
spec:
  replicas: 2
  selector: {matchLabels: {app: front}}
  template:
    metadata: {labels: {app: front}}
    spec:
      containers:
      - {name: c, image: "ghcr.io/acme/web:1", resources: {requests: {cpu: 750m, memory: 64Mi}}, securityContext: {privileged: %t}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: front}
rules: [{apiGroups: [""], resources: [secrets], verbs: [deletecollection]}]
---
apiVersion: v1
kind: Service
metadata: {name: front}
spec: {selector: {app: front}, ports: [{port: 80}]}
`

const claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteOnce], %sresources: {requests: {storage: 1Gi}}}\n"

// preflight returns the findings as CODE: WHAT lines, and the error.
func findings(t *testing.T, s *stacktest.Site, dir, kubeconfig string) ([]string, error) {
	t.Helper()
	var found []string
	_, err := preflight.Preflight(t.Context(), preflight.Options{Paths: []string{dir}, Keys: []string{s.KeyFile}, Site: s.File(t, ""), Kubeconfig: kubeconfig}, event.Func(func(e event.Event) {
		if f := e.Finding; f != nil {
			found = append(found, f.Code+": "+f.What)
			if f.Why == "" || f.Hint == "" {
				t.Errorf("finding %s says not why or not what to do: %+v", f.Code, f)
			}
		}
	}))
	return found, err
}

func good() stacktest.Stack {
	return stacktest.Stack{Components: []stacktest.Component{
		{Name: "kinds", Namespace: "good", Charts: []stacktest.Chart{{Release: "kinds", Files: map[string]string{"crds/w.yaml": fmt.Sprintf(widgets, "ours")}}}},
		{Name: "web", Namespace: "good", Needs: []string{"kinds"}, Images: []string{"ghcr.io/acme/web:1"},
			Charts:    []stacktest.Chart{{Release: "web", Files: map[string]string{"templates/front.yaml": fmt.Sprintf(front, false)}}},
			Manifests: map[string]string{"w.yaml": "apiVersion: acme.dev/v1\nkind: Widget\nmetadata: {name: one}\n", "c.yaml": fmt.Sprintf(claim, "")}},
	}}
}

func TestPreflightOfAGoodSite(t *testing.T) {
	c := clustertest.Start(t)
	s := stacktest.NewSite(t, true)
	dir := s.Pack(t, good())
	s.Load(t, dir)
	none := func(t *testing.T) {
		t.Helper()
		if found, err := findings(t, s, dir, c.Kubeconfig); err != nil || len(found) != 0 {
			t.Errorf("%q, %v", found, err)
		}
	}
	none(t)

	file := filepath.Join(t.TempDir(), "plan.json")
	_, err := preflight.Run(t.Context(), preflight.Options{Paths: []string{dir}, Keys: []string{s.KeyFile}, Site: s.File(t, ""), Output: file, Kubeconfig: c.Kubeconfig}, event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	_, err = install.Run(t.Context(), install.Options{Plan: file, Target: install.Target{Kubeconfig: c.Kubeconfig, StateDir: t.TempDir()}}, event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("with the stack in it", none)
}

// bad is a stack that meets every fault of spoil.
func bad() stacktest.Stack {
	return stacktest.Stack{Components: []stacktest.Component{
		{Name: "kinds", Namespace: "bad-kinds", Charts: []stacktest.Chart{{Release: "kinds", Files: map[string]string{
			"crds/w.yaml": fmt.Sprintf(widgets, "ours"),
			"crds/g.yaml": strings.NewReplacer("widget", "gadget", "Widget", "Gadget").Replace(fmt.Sprintf(widgets, "ours")),
		}}}},
		{Name: "web", Namespace: "bad-web", Images: []string{"ghcr.io/acme/web:1"},
			Charts: []stacktest.Chart{{Release: "web", Files: map[string]string{"templates/front.yaml": fmt.Sprintf(front, true)}}},
			Manifests: map[string]string{
				"w.yaml":   "apiVersion: acme.dev/v1\nkind: Gizmo\nmetadata: {name: one}\nspec: {model: {resources: {limits: {nvidia.com/mig-1g.5gb: 1}}}}\n",
				"gpu.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: nine}\nspec: {containers: [{name: c, image: \"ghcr.io/acme/web:1\", resources: {limits: {nvidia.com/gpu: 9}}}]}\n",
				"two.yaml": "apiVersion: batch/v1\nkind: Job\nmetadata: {name: two}\nspec: {parallelism: 5, template: {spec: {restartPolicy: Never, containers: [{name: c, image: \"ghcr.io/acme/web:1\", resources: {limits: {nvidia.com/gpu: 5}}}]}}}\n",
				"old.yaml": "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: front}\nspec: {maxUnavailable: 1}\n",
				"c.yaml":   fmt.Sprintf(claim, "storageClassName: gold, "),
				"m.yaml":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs}\ndata: {a: ours}\n",
			}},
		{Name: "gone", Namespace: "bad-gone", Manifests: map[string]string{"m.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n"}},
		{Name: "hooked", Namespace: "bad-hooked", Manifests: map[string]string{"m.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n", "x.yaml": fmt.Sprintf(claim, "")}},
		{Name: "modern", Namespace: "bad-modern", Charts: []stacktest.Chart{{Release: "modern", Files: map[string]string{"Chart.yaml": "apiVersion: v2\nname: modern\nversion: 1.0.0\nkubeVersion: \">=1.99.0\"\n"}}}},
	}}
}

const spoiled = `apiVersion: v1
kind: Namespace
metadata: {name: bad-web, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Namespace
metadata: {name: bad-gone}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: holds, namespace: bad-gone, finalizers: [acme.dev/holds]}
---
apiVersion: v1
kind: Namespace
metadata: {name: bad-hooked}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: small, namespace: bad-web}
spec: {hard: {requests.cpu: "1", limits.memory: 1Gi, persistentvolumeclaims: "0"}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: low, namespace: bad-web}
spec: {limits: [{type: Container, min: {memory: 1Gi}}]}
---
apiVersion: v1
kind: Service
metadata: {name: front, namespace: bad-web, annotations: {meta.helm.sh/release-name: theirs, meta.helm.sh/release-namespace: else}}
spec: {ports: [{port: 81}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: theirs, namespace: bad-web}
data: {a: theirs}
---
apiVersion: v1
kind: Secret
metadata: {name: sh.helm.release.v1.web.v1, namespace: bad-web, labels: {owner: helm, name: web, status: deployed, version: "1"}}
type: helm.sh/release.v1
---
apiVersion: v1
kind: Service
metadata: {name: silent, namespace: bad-hooked}
spec: {selector: {app: nobody}, ports: [{port: 443}]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.acme.dev}
spec:
  group: acme.dev
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget, listKind: GadgetList}
  versions:
  - {name: v1alpha1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
---
apiVersion: v1
kind: Node
metadata: {name: tiny, labels: {kubernetes.io/os: linux, kubernetes.io/arch: arm64}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: away}
webhooks:
- name: away.acme.dev
  clientConfig: {service: {namespace: nowhere, name: away}}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: bad-hooked}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  sideEffects: None
  admissionReviewVersions: [v1]
- name: other.acme.dev
  clientConfig: {service: {namespace: nowhere, name: away}}
  rules: [{apiGroups: [apps.acme.dev], apiVersions: [v1], operations: ["*"], resources: ["*"]}]
  sideEffects: None
  admissionReviewVersions: [v1]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: silent}
webhooks:
- name: silent.acme.dev
  clientConfig: {service: {namespace: bad-hooked, name: silent}}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: bad-modern}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: ["*"], resources: [secrets]}]
  sideEffects: None
  admissionReviewVersions: [v1]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: half}
rules:
- {apiGroups: ["*"], resources: ["*"], verbs: [get, list]}
- {apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [create, patch]}
- {apiGroups: [""], resources: [configmaps, secrets, services, namespaces, persistentvolumeclaims], verbs: [create, patch, update, delete]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: half}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: half}
subjects: [{kind: ServiceAccount, name: default, namespace: default}]
`

// spoil plants the faults and returns the kubeconfig of an operator with half
// the rights.
func spoil(t *testing.T, c *clustertest.Cluster) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "spoiled.yaml")
	if err := os.WriteFile(file, []byte(spoiled), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "annotate", "storageclass", "--all", "--overwrite", "storageclass.kubernetes.io/is-default-class=false")
	c.Kubectl(t, "apply", "-f", file)
	c.Kubectl(t, "delete", "namespace", "bad-gone", "--wait=false")
	c.Kubectl(t, "wait", "crd/gadgets.acme.dev", "--for=condition=Established")
	c.Kubectl(t, "wait", "resourcequota/small", "-n", "bad-web", "--for=jsonpath={.status.hard.persistentvolumeclaims}=0")
	c.Kubectl(t, "patch", "node", "tiny", "--subresource=status", "--type=merge", "-p",
		`{"status":{"allocatable":{"ephemeral-storage":"100","nvidia.com/gpu":"8"},"capacity":{"ephemeral-storage":"100","nvidia.com/gpu":"8"},"conditions":[{"type":"Ready","status":"True"},{"type":"DiskPressure","status":"True","message":"the disk is full"}]}}`)
	return halfKubeconfig(t, c)
}

func halfKubeconfig(t *testing.T, c *clustertest.Cluster) string {
	t.Helper()
	raw, err := os.ReadFile(c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(half, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	token := c.Kubectl(t, "create", "token", "default", "-n", "default")
	c.Kubectl(t, "--kubeconfig", half, "config", "set-credentials", "half", "--token="+token)
	c.Kubectl(t, "--kubeconfig", half, "config", "set-context", "--current", "--user=half")
	return half
}

// TestPreflightFindsEveryFaultAtOnce plants faults of every kind in a cluster
// and wants each named in one run, and nothing else.
func TestPreflightFindsEveryFaultAtOnce(t *testing.T) {
	c := clustertest.Fresh(t)
	s := stacktest.NewSite(t, true)
	dir := s.Pack(t, bad())
	found, err := findings(t, s, dir, spoil(t, c))
	if !errors.Is(err, plan.ErrPreflight) {
		t.Errorf("error is %v", err)
	}
	planted := []string{
		"image-not-in-registry: the site registry does not have",
		"chart-kubernetes: release modern of component modern wants Kubernetes >=1.99.0",
		"api-removed: PodDisruptionBudget bad-web/front",
		"kind-unknown: Gizmo bad-web/one",
		"no-storage-class: PersistentVolumeClaim bad-web/data",
		"no-default-storage-class: PersistentVolumeClaim bad-hooked/data",
		"pod-security: Deployment bad-web/front",
		"quota: quota small of namespace bad-web leaves 1 of requests.cpu, and the plan takes 1500m",
		"quota: quota small of namespace bad-web leaves 0 of persistentvolumeclaims",
		"quota-unstated: container c of Deployment bad-web/front",
		"limit-range: container c of Deployment bad-web/front",
		"foreign-release: release web of component web",
		"object-exists: Service bad-web/front",
		"object-exists: ConfigMap bad-web/theirs",
		"crd-foreign: definition gadgets.acme.dev",
		"crd-version-lost: objects of gadgets.acme.dev lie in the cluster as version v1alpha1",
		"namespace-terminating: namespace bad-gone",
		"webhook-unanswered: webhook away.acme.dev of ValidatingWebhookConfiguration away must answer before ConfigMap bad-hooked/m",
		"webhook-unanswered: webhook silent.acme.dev of MutatingWebhookConfiguration silent must answer before the records in namespace bad-modern",
		"node-condition: node tiny",
		"node-disk: node tiny",
		"node-platform: node tiny is linux/arm64",
		"gpu-request: a pod of Pod bad-web/nine (files.caisson.dev/web/gpu.yaml",
		"gpu-request: a pod of Gizmo bad-web/one (files.caisson.dev/web/w.yaml",
		"gpu-capacity: the pods of the plan ask for 25 nvidia.com/gpu together; the nodes offer 24",
		"registry-disk: the site registry lacks",
		"not-allowed: the operator may not create, patch, delete deployments.apps in namespace bad-web",
		"not-allowed: the operator may not create, update, delete leases.coordination.k8s.io in namespace caisson-system",
		"rbac-escalation: Role bad-web/front gives rights that the operator",
	}
	for _, want := range planted {
		if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, want) }) {
			t.Errorf("not found: %s", want)
		}
	}
	for _, f := range found {
		code, _, _ := strings.Cut(f, ":")
		if !slices.ContainsFunc(planted, func(want string) bool { return strings.HasPrefix(want, code+":") }) {
			t.Errorf("nobody planted: %s", f)
		}
	}
	if t.Failed() {
		t.Logf("found:\n%s", strings.Join(found, "\n"))
	}
}

// TestPreflightWritesNothing holds that the cluster is the same afterwards.
func TestPreflightWritesNothing(t *testing.T) {
	c := clustertest.Start(t)
	s := stacktest.NewSite(t, true)
	dir := s.Pack(t, stack())
	look := func() string {
		return c.Kubectl(t, "get", "namespaces,configmaps,secrets,leases,crds", "-A", "-o", "name", "--ignore-not-found")
	}
	before := look()
	if _, err := findings(t, s, dir, c.Kubeconfig); !errors.Is(err, plan.ErrPreflight) {
		t.Error(err)
	}
	if after := look(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}
