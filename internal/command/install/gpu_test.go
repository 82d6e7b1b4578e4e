package install

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/clustertest"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

// gpuNodes are two machines that nothing but their GPUs tells apart, and one with
// GPUs that can be cut.
const gpuNodes = `apiVersion: v1
kind: Node
metadata:
  name: h100
  labels: {kubernetes.io/arch: amd64, kubernetes.io/os: linux, nvidia.com/gpu.present: "true", feature.node.kubernetes.io/system-os_release.ID: ubuntu, feature.node.kubernetes.io/system-os_release.VERSION_ID: "22.04", feature.node.kubernetes.io/pci-0302_10de_2330.present: "true"}
status: {nodeInfo: {architecture: amd64, kernelVersion: 5.15.0-105-generic, operatingSystem: linux, bootID: "", containerRuntimeVersion: "containerd://2.1.4", kubeProxyVersion: "", kubeletVersion: v1.34.0, machineID: "", osImage: Ubuntu 22.04.5 LTS, systemUUID: ""}}
---
apiVersion: v1
kind: Node
metadata:
  name: v100
  labels: {kubernetes.io/arch: amd64, kubernetes.io/os: linux, nvidia.com/gpu.present: "true", feature.node.kubernetes.io/system-os_release.ID: ubuntu, feature.node.kubernetes.io/system-os_release.VERSION_ID: "22.04", feature.node.kubernetes.io/pci-0302_10de_1db5.present: "true"}
status: {nodeInfo: {architecture: amd64, kernelVersion: 5.15.0-105-generic, operatingSystem: linux, bootID: "", containerRuntimeVersion: "containerd://2.1.4", kubeProxyVersion: "", kubeletVersion: v1.34.0, machineID: "", osImage: Ubuntu 22.04.5 LTS, systemUUID: ""}}
`

// operatorChart is as little of NVIDIA's chart as shows what the plan gives it.
func operatorChart() map[string]string {
	return map[string]string{
		"values.yaml": "driver: {repository: nvcr.io/nvidia, image: driver, version: \"1\"}\nmig: {strategy: single}\nmigManager: {config: {create: false, name: \"\", data: {}}}\n",
		"templates/values.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: said}
data: {strategy: {{ .Values.mig.strategy }}, crd: {{ (.Values.driver.nvidiaDriverCRD | default dict).enabled | default false | quote }}}
---
{{- if .Values.migManager.config.create }}
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Values.migManager.config.name }}}
data: {{ toYaml .Values.migManager.config.data | nindent 2 }}
{{- end }}
`,
		"crds/driver.yaml": `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: nvidiadrivers.nvidia.com}
spec:
  group: nvidia.com
  scope: Cluster
  names: {plural: nvidiadrivers, singular: nvidiadriver, kind: NVIDIADriver, listKind: NVIDIADriverList}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status: {type: object, default: {state: ready}, properties: {state: {type: string}}}
`,
	}
}

// newGPULab has a cluster of its own, since its nodes would be seen by others.
func newGPULab(t *testing.T) *lab {
	t.Helper()
	c := clustertest.Fresh(t)
	client, err := kube.Connect(t.Context(), kube.Options{Kubeconfig: c.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, site: stacktest.NewSite(t, true), cluster: c, client: client, state: t.TempDir(), name: "gpus"}
	l.cluster.Kubectl(t, "label", "nodes", "--all", "nvidia.com/gpu.present-", "nvidia.com/gpu.product-", "nvidia.com/gpu.count-")
	path := t.TempDir() + "/nodes.yaml"
	if err := os.WriteFile(path, []byte(gpuNodes), 0o600); err != nil {
		t.Fatal(err)
	}
	l.cluster.Kubectl(t, "create", "-f", path)
	return l
}

func gpuStack(sequence int64) stacktest.Stack {
	return stacktest.Stack{Version: "1.0.0", Sequence: sequence, Components: []stacktest.Component{{
		Name: "gpu", Namespace: "gpu",
		Charts: []stacktest.Chart{{Release: "gpu-operator", Version: "v26.7.0", Files: operatorChart()}},
		Images: []string{"nvcr.io/nvidia/driver:595-5.15.0-105-generic-ubuntu22.04", "nvcr.io/nvidia/driver:580-5.15.0-105-generic-ubuntu22.04"},
	}}}
}

const gpuPolicy = `gpu:
  policy:
    mig: {strategy: mixed, layouts: [{product: H100 SXM5 80GB, profiles: {1g.10gb: 3, 3g.40gb: 1}}]}
    timeSlicing: [{nodes: [v100], replicas: 4}]
`

// labelsOf are those labels of a node that a plan may set.
func (l *lab) labelsOf(node string) map[string]string {
	l.t.Helper()
	u, err := l.client.Get(l.t.Context(), object.Ref{APIVersion: "v1", Kind: "Node", Name: node})
	if err != nil {
		l.t.Fatal(err)
	}
	out := map[string]string{}
	for _, key := range plan.NodeLabels {
		if v, ok := u.GetLabels()[key]; ok {
			out[key] = v
		}
	}
	return out
}

func (l *lab) drivers() []string {
	l.t.Helper()
	return strings.Fields(l.cluster.Kubectl(l.t, "get", "nvidiadrivers", "-o", "name"))
}

func TestGPUNodes(t *testing.T) {
	l := newGPULab(t)
	sink := &findings{}
	first, err := l.planOf(l.packed(gpuStack(1)), gpuPolicy, sink)
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(sink.texts, "\n"))
	}
	l.install(first)

	if got := l.labelsOf("h100"); got[site.LabelMIG] != "1g.10gb.3-3g.40gb.1" || !strings.HasPrefix(got[inventory.LabelDriver], "r595-open-ubuntu22.04") {
		t.Errorf("labels of h100: %v", got)
	}
	if got := l.labelsOf("v100"); got[site.LabelPlugin] != "gpu-4" || !strings.HasPrefix(got[inventory.LabelDriver], "r580-proprietary-ubuntu22.04") {
		t.Errorf("labels of v100: %v", got)
	}
	if got := l.drivers(); len(got) != 2 {
		t.Errorf("drivers %v", got)
	}
	text := l.cluster.Kubectl(t, "get", "nvidiadrivers,configmaps", "-n", "gpu", "-o", "yaml")
	for _, want := range []string{"strategy: mixed", `crd: "true"`, "1g.10gb.3-3g.40gb.1:", "repository: " + l.site.Registry.Host + "/mirror/nvcr.io/nvidia", `version: "580"`, "usePrecompiled: true", "kernelModuleType: proprietary"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if _, err := Status(t.Context(), l.target(), event.Discard); err != nil {
		t.Error(err)
	}

	t.Run("again", func(t *testing.T) {
		if r := l.install(first); r.Components["gpu"] != journal.Skipped {
			t.Errorf("%+v", r)
		}
	})

	t.Run("a label of somebody else", func(t *testing.T) {
		l.cluster.Kubectl(t, "label", "--overwrite", "node", "v100", "nvidia.com/device-plugin.config=mine", "--field-manager=somebody")
		sink := &findings{}
		if _, err := l.planOf(l.packed(gpuStack(2)), gpuPolicy, sink); !errors.Is(err, plan.ErrPreflight) || !slices.Contains(sink.codes, "node-label-taken") {
			t.Errorf("%v %v", sink.codes, err)
		}
		if _, err := Run(t.Context(), l.options(first), event.Discard); !errors.Is(err, kube.ErrForeign) {
			t.Errorf("installing over it: %v", err)
		}
		l.cluster.Kubectl(t, "label", "node", "v100", "nvidia.com/device-plugin.config-")
		l.install(first) // ends the change that was refused
		l.cluster.Kubectl(t, "label", "node", "v100", "nvidia.com/device-plugin.config-")
		if s, err := Status(t.Context(), l.target(), event.Discard); !errors.Is(err, ErrDrift) || !strings.Contains(strings.Join(s.Components[0].Why, " "), "node v100: label "+site.LabelPlugin) {
			t.Errorf("%+v, %v", s, err)
		}
		l.install(first)
	})

	t.Run("without the policy", func(t *testing.T) {
		l.install(l.plan(gpuStack(3), ""))
		if got := l.labelsOf("h100"); len(got) != 1 || got[inventory.LabelDriver] == "" {
			t.Errorf("labels of h100: %v", got)
		}
		if text := l.cluster.Kubectl(t, "get", "configmaps", "-n", "gpu", "-o", "name"); strings.Contains(text, "caisson-mig-layouts") {
			t.Errorf("the layouts stay: %s", text)
		}
	})

	t.Run("rollback", func(t *testing.T) {
		if _, err := Rollback(t.Context(), RollbackOptions{Target: l.target(), Component: "gpu"}, event.Discard); err != nil {
			t.Fatal(err)
		}
		if got := l.labelsOf("h100"); got[site.LabelMIG] != "1g.10gb.3-3g.40gb.1" {
			t.Errorf("labels of h100: %v", got)
		}
	})

	t.Run("uninstall", func(t *testing.T) {
		if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
			t.Fatal(err)
		}
		for _, node := range []string{"h100", "v100"} {
			if got := l.labelsOf(node); len(got) > 0 {
				t.Errorf("%s keeps %v", node, got)
			}
		}
		if text := l.cluster.Kubectl(t, "get", "customresourcedefinitions", "-o", "name"); strings.Contains(text, "nvidiadrivers") {
			t.Errorf("definitions stay: %s", text)
		}
	})

	t.Run("another kernel", func(t *testing.T) {
		stale := l.plan(gpuStack(4), "")
		l.cluster.Kubectl(t, "patch", "node", "h100", "--subresource=status", "--type=merge", "-p", `{"status":{"nodeInfo":{"kernelVersion":"5.15.0-106-generic"}}}`)
		if _, err := Run(t.Context(), l.options(stale), event.Discard); !errors.Is(err, ErrPlanStale) || !strings.Contains(err.Error(), "5.15.0-106-generic") {
			t.Errorf("%v", err)
		}
	})
}

// packed packs and loads a stack.
func (l *lab) packed(s stacktest.Stack) string {
	l.t.Helper()
	s.Name = l.name
	dir := l.site.Pack(l.t, s)
	l.site.Load(l.t, dir)
	return dir
}

// findings keeps the codes of findings.
type findings struct{ codes, texts []string }

func (f *findings) Emit(e event.Event) {
	if e.Finding != nil {
		f.codes, f.texts = append(f.codes, e.Finding.Code), append(f.texts, string(e.Finding.Severity)+": "+e.Finding.What)
	}
}
