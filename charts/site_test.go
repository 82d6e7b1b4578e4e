package charts_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kyaml "sigs.k8s.io/yaml"

	"github.com/caisson/caisson/charts"
	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/command/preflight"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/testkit/clustertest"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

// siteDefinitions are what the objects of a plan for such a site are held against: the
// projects' own, which refuse fields that they do not know.
var siteDefinitions = append([]definition{{
	"", "github.com/NVIDIA/gpu-operator@v0.0.0-20250917190837-d73a0086a6ba", []string{"config/crd/bases/nvidia.com_nvidiadrivers.yaml"},
}}, definitions...)

// gpuSite is a cluster that gets other nodes for each plan.
type gpuSite struct {
	cluster *clustertest.Cluster
	stack   *stacktest.Site
}

// TestPlanForGPUs plans for pretended nodes and holds the objects that the plan would
// install, as the API server takes them, against the table.
func TestPlanForGPUs(t *testing.T) {
	s := &gpuSite{cluster: clustertest.Fresh(t), stack: stacktest.NewSite(t, true)}
	applyDefinitions(t, s.cluster, siteDefinitions)
	for _, namespace := range []string{"radiology", "genomics", "genomics-batch", "serving"} {
		s.cluster.Kubectl(t, "create", "namespace", namespace)
	}
	for _, want := range siteTable {
		bundle := s.stack.Pack(t, gpuStack(t, want.models))
		s.stack.Load(t, bundle)
		t.Run(want.name, func(t *testing.T) {
			s.changeNodes(t, want)
			p, found := s.plan(t, bundle, want)
			if len(want.teams) == 0 { // the release makes it
				s.cluster.Kubectl(t, "create", "namespace", "default-team")
			}
			s.compare(t, want, p, found)
		})
	}
}

// gpuStack is the operator, the queues, the servers and models for them, and training.
func gpuStack(t *testing.T, repositories []string) stacktest.Stack {
	t.Helper()
	var models []stacktest.Model
	for _, repository := range repositories {
		m := siteModels[repository]
		models = append(models, stacktest.Model{Repository: repository, Weights: lock.ModelWeights{
			WeightsBytes: int64(m["weightsBytes"].(int)), Parameters: int64(m["parameters"].(int)), DType: "BF16",
			MaxContext: int64(m["maxContext"].(int)), KVBytesPerToken: int64(m["kvBytesPerToken"].(int)),
		}})
	}
	drivers := []string{}
	for _, d := range twoDrivers {
		drivers = append(drivers, "nvcr.io/nvidia/driver:"+d.tag)
	}
	operator := map[string]string{"values.yaml": "driver: {repository: nvcr.io/nvidia, image: driver, version: \"1\"}\n"}
	return stacktest.Stack{Name: "gpus", Components: []stacktest.Component{
		{Name: "gpu-operator", Charts: []stacktest.Chart{{Release: "gpu-operator", Version: "v26.7.0", Files: operator}}, Images: drivers},
		{Name: "serving", Needs: []string{"gpu-operator"}, Charts: []stacktest.Chart{ourChart(t, "model-serving")}, Models: models, Images: servingImages(t)},
		{Name: "queues", Charts: []stacktest.Chart{ourChart(t, "gpu-queues")}},
		{Name: "training", Needs: []string{"queues"}, Charts: []stacktest.Chart{ourChart(t, "training-runtimes")}, Images: trainingImages(t)},
	}}
}

// ourChart is a chart of ours as a stack carries it.
func ourChart(t *testing.T, name string) stacktest.Chart {
	t.Helper()
	folder, _ := charts.FS(name)
	files := map[string]string{}
	err := fs.WalkDir(folder, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(folder, path)
		files[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	meta := openChart(t, name).Metadata
	facts := strings.Fields(meta.Annotations[lock.AnnotationSiteFacts])
	slices.Sort(facts)
	return stacktest.Chart{Release: name, Version: meta.Version, Files: files, Facts: facts}
}

// servingImages are those that model-serving names.
func servingImages(t *testing.T) (out []string) {
	t.Helper()
	for _, p := range podsOf(t, mustRender(t, "model-serving", nil)) {
		for _, c := range p.Spec.Containers {
			out = append(out, c.Image)
		}
	}
	folder, _ := charts.FS("model-serving")
	data, err := fs.ReadFile(folder, "values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		Runtimes map[string]struct{ Image string }
	}
	if err := kyaml.Unmarshal(data, &values); err != nil {
		t.Fatal(err)
	}
	for _, r := range values.Runtimes {
		if r.Image != "" {
			out = append(out, r.Image)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// trainingImages are those that training-runtimes names.
func trainingImages(t *testing.T) (out []string) {
	t.Helper()
	for _, p := range podsOf(t, mustRender(t, "training-runtimes", nil)) {
		for _, c := range p.Spec.Containers {
			out = append(out, c.Image)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// changeNodes gives the cluster other nodes.
func (s *gpuSite) changeNodes(t *testing.T, want expectedSite) {
	t.Helper()
	s.cluster.Kubectl(t, "delete", "nodes", "--all")
	var objects []any
	for _, n := range want.nodes {
		objects = append(objects, n.object(!want.inventory))
	}
	s.cluster.Kubectl(t, "create", "-f", writeJSON(t, map[string]any{"apiVersion": "v1", "kind": "List", "items": objects}))
}

func writeJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "objects.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// discovered are the labels of node feature discovery that every node has.
func (n siteNode) discovered() map[string]string {
	const prefix = "feature.node.kubernetes.io/"
	return map[string]string{
		prefix + "system-os_release.ID": "ubuntu", prefix + "system-os_release.VERSION_ID": n.os,
		prefix + "kernel-version.full": n.kernel, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
		"kubernetes.io/hostname": n.name, "nvidia.com/gpu.present": fmt.Sprint(n.vendor == "10de"),
	}
}

// object is the node as the API server knows it; discovery has been there or not.
func (n siteNode) object(labelled bool) map[string]any {
	labels := map[string]string{"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "kubernetes.io/hostname": n.name}
	amounts := map[string]string{"cpu": "96", "memory": "1Ti", "pods": "110", "ephemeral-storage": "2Ti"}
	if labelled {
		labels = but(n.discovered(), n.labels)
		amounts = but(amounts, n.offers)
	}
	return map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": n.name, "labels": labels, "annotations": map[string]any{"kwok.x-k8s.io/node": "fake"}},
		"status": map[string]any{
			"capacity": amounts, "allocatable": amounts,
			"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "KubeletReady"}},
			"nodeInfo": map[string]any{
				"architecture": "amd64", "operatingSystem": "linux", "kernelVersion": n.kernel, "osImage": "Ubuntu " + n.os + ".1 LTS",
				"containerRuntimeVersion": "containerd://2.1.4", "kubeletVersion": "v1.36.0",
				"bootID": "", "machineID": "", "systemUUID": "", "kubeProxyVersion": "",
			},
		},
	}
}

// plan plans, with an inventory file where nodes say nothing themselves.
func (s *gpuSite) plan(t *testing.T, bundle string, want expectedSite) (*plan.Plan, []event.Finding) {
	t.Helper()
	values, err := json.Marshal(map[string]any{"teams": orEmpty(want.teams), "cpu": map[string]any{"cpus": 10, "memoryGiB": 41}})
	if err != nil {
		t.Fatal(err)
	}
	site := "components:\n  queues: {values: {gpu-queues: " + string(values) + "}}\n"
	if want.inventory || want.policy != "" {
		site += "gpu:\n"
	}
	if want.inventory {
		site += "  nodes: " + writeInventory(t, want.nodes) + "\n"
	}
	if want.policy != "" {
		site += "  policy:\n    " + want.policy
	}
	var found []event.Finding
	p, err := preflight.Run(t.Context(), preflight.Options{
		Paths: []string{bundle}, Keys: []string{s.stack.KeyFile}, Site: s.stack.File(t, site), Kubeconfig: s.cluster.Kubeconfig,
	}, event.Func(func(e event.Event) {
		if e.Finding != nil {
			found = append(found, *e.Finding)
		}
	}))
	if err != nil {
		t.Fatalf("%v: %+v", err, found)
	}
	return p, found
}

// writeInventory writes what caisson nodes --probe finds on the machines.
func writeInventory(t *testing.T, nodes []siteNode) string {
	t.Helper()
	var list []inventory.Node
	for _, n := range nodes {
		driver := inventory.Driver{State: inventory.DriverNone}
		class := "0302"
		if n.vendor != "10de" {
			driver, class = inventory.Driver{State: inventory.DriverInTree, Names: []string{"amdgpu"}}, "1200"
		}
		list = append(list, inventory.Node{
			Name: n.name, Sources: []string{inventory.FromProbe}, Arch: "amd64", Kernel: n.kernel, Driver: driver,
			OS:   inventory.OS{ID: "ubuntu", Version: n.os},
			GPUs: []inventory.GPU{{Vendor: n.vendor, Device: n.device, Class: class, Count: n.gpus}},
		})
	}
	text, err := inventory.New(list, false, "salt").Marshal()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "nodes.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (s *gpuSite) compare(t *testing.T, want expectedSite, p *plan.Plan, found []event.Finding) {
	t.Helper()
	made := readQueues(t, s.asServed(t, p, "queues", "gpu-queues"))
	compareQueues(t, expectedQueues{flavors: want.flavors, queues: want.queues, pool: want.pool, groups: want.groups}, made)
	if !maps.Equal(made.local, want.local) {
		t.Errorf("local queues: %v", made.local)
	}
	placed := 0
	for _, u := range s.asServed(t, p, "serving", "model-serving") {
		if u.GetKind() == "InferenceService" {
			placed++
			comparePlace(t, want.places[u.GetName()], nested(u.Object, "spec", "predictor").(map[string]any))
		}
	}
	if placed != len(want.places) {
		t.Errorf("%d models are served, not %d", placed, len(want.places))
	}
	kept := []string{}
	for _, u := range s.asServed(t, p, "training", "training-runtimes") {
		if u.GetKind() == "NetworkPolicy" {
			kept = append(kept, u.GetNamespace())
		}
	}
	slices.Sort(kept)
	if !slices.Equal(kept, slices.Sorted(maps.Keys(want.local))) {
		t.Errorf("jobs are kept inside the site in %q", kept)
	}
	s.compareDrivers(t, want, p)
	i := slices.IndexFunc(found, func(f event.Finding) bool { return f.Code == event.CodeGPUsHeld })
	if i < 0 || !strings.Contains(found[i].What, want.held) {
		t.Errorf("the plan does not say that %s are held: %+v", want.held, found)
	}
	for _, f := range found {
		if f.Severity != event.Notice && f.Code != event.CodeRegistryDisk {
			t.Errorf("%+v", f)
		}
	}
}

// asServed are the objects of a release as the API server would keep them.
func (s *gpuSite) asServed(t *testing.T, p *plan.Plan, component, release string) []*unstructured.Unstructured {
	t.Helper()
	c, _ := p.Component(component)
	i := slices.IndexFunc(c.Releases, func(r plan.Release) bool { return r.Name == release })
	chart, err := helm.OpenOurs(release)
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := helm.Render(t.Context(), chart, helm.RenderOptions{Release: release, Namespace: component, Values: c.Releases[i].Values})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, d := range rendered.Documents {
		text = append(text, d.Source)
	}
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(strings.Join(text, "\n---\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if release != "model-serving" {
		return s.judge(t, file) // in the namespaces of the teams
	}
	return s.judge(t, file, "-n", component)
}

// judge has the API server take objects strictly, and gives back what it makes of them.
func (s *gpuSite) judge(t *testing.T, file string, more ...string) []*unstructured.Unstructured {
	t.Helper()
	args := append([]string{"apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"}, more...)
	objects, err := kube.Parse([]byte(s.cluster.Kubectl(t, append(args, "-o", "json", "-f", file)...)))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// compareDrivers holds NVIDIADriver objects against the table: which image, and that each
// chooses its nodes and no other, once discovery and the plan have labelled them.
func (s *gpuSite) compareDrivers(t *testing.T, want expectedSite, p *plan.Plan) {
	t.Helper()
	made, err := decide.DriverObjects(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(made) != len(want.drivers) {
		t.Fatalf("%d NVIDIADrivers, not %d", len(made), len(want.drivers))
	}
	for _, o := range made {
		u := s.judge(t, writeJSON(t, o))[0]
		i := slices.IndexFunc(want.drivers, func(d expectedDriver) bool {
			return slices.Equal(d.nodes, s.chosenNodes(want, p, nested(u.Object, "spec", "nodeSelector")))
		})
		if i < 0 {
			t.Errorf("%s is for nodes %q", u.GetName(), s.chosenNodes(want, p, nested(u.Object, "spec", "nodeSelector")))
			continue
		}
		compareDriver(t, want.drivers[i], p, u)
	}
}

func (s *gpuSite) chosenNodes(want expectedSite, p *plan.Plan, selector any) (out []string) {
	wanted, _ := selector.(map[string]any)
	for _, n := range want.nodes {
		labels := but(n.discovered(), p.Labels("gpu-operator")[n.name])
		fits := true
		for k, v := range wanted {
			fits = fits && labels[k] == v
		}
		if fits {
			out = append(out, n.name)
		}
	}
	return out
}

func compareDriver(t *testing.T, want expectedDriver, p *plan.Plan, u *unstructured.Unstructured) {
	t.Helper()
	version := want.version
	if !want.precompiled {
		i := slices.IndexFunc(p.Images, func(im plan.Image) bool { return strings.HasSuffix(string(im.Ref), ":"+want.tag) })
		version = p.Images[i].Digest.String()
	}
	repository := path.Dir(p.Site.Registry.Base() + "/nvcr.io/nvidia/driver")
	for field, value := range map[string]any{
		"driverType": "gpu", "image": "driver", "repository": repository, "version": version,
		"usePrecompiled": want.precompiled, "kernelModuleType": "open",
	} {
		if got := nested(u.Object, "spec", field); got != value {
			t.Errorf("%s: %s is %v, not %v", u.GetName(), field, got, value)
		}
	}
}
