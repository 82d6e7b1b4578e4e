package decide

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/gpu"
)

const operatorRef = "helm.ngc.nvidia.com/nvidia/gpu-operator:v26.7.0"

// operated is a stack with NVIDIA's operator and driver images of these tags.
func operated(tags ...string) *lock.Lock {
	c := lock.Component{Name: "gpu", Namespace: "gpu", Releases: []lock.Release{{Name: "gpu-operator", Chart: operatorRef, Values: map[string]any{"driver": map[string]any{"version": "1"}}}}}
	l := &lock.Lock{Metadata: lock.Metadata{Name: "demo", Version: "1.0.0"}, Kubernetes: lock.Kubernetes{Versions: []string{"1.34"}}}
	for _, tag := range tags {
		ref := "nvcr.io/nvidia/driver:" + tag
		c.Items = append(c.Items, imageref.Ref(ref))
		l.Items = append(l.Items, image(ref, "gpu"))
	}
	l.Components = []lock.Component{c}
	return l
}

// gpuNode is a node of n GPUs of a device.
func gpuNode(t *testing.T, name, os, version, kernel, device string, n int) inventory.Node {
	t.Helper()
	c, err := gpu.Read()
	if err != nil {
		t.Fatal(err)
	}
	d, ok := c.Device(gpu.NVIDIA, device)
	if !ok {
		t.Fatalf("no device %s", device)
	}
	return inventory.Node{Name: name, Sources: []string{inventory.FromProbe}, Arch: "amd64", OS: inventory.OS{ID: os, Version: version}, Kernel: kernel, Driver: inventory.Driver{State: inventory.DriverNone},
		GPUs: []inventory.GPU{{Vendor: gpu.NVIDIA, Device: device, Class: "0302", Product: d.Product, Architecture: d.Architecture, MIG: d.MIG != "", Count: n}}}
}

// nine is a mixed cluster of which every GPU can be driven.
func nine(t *testing.T) []inventory.Node {
	own := gpuNode(t, "own-driver", "sles", "15.6", "6.4.0-150600.21-default", "26b9", 4)
	own.Driver = inventory.Driver{State: inventory.DriverInstalled, Names: []string{"nvidia"}, Version: "580.95.05", Modules: inventory.OpenModules}
	return []inventory.Node{
		gpuNode(t, "h100", "ubuntu", "22.04", "5.15.0-105-generic", "2330", 8),
		gpuNode(t, "v100", "ubuntu", "22.04", "5.15.0-105-generic", "1db5", 4),
		gpuNode(t, "b200", "ubuntu", "24.04", "6.11.0-26-generic", "2901", 8),
		gpuNode(t, "a100", "rhel", "9.4", "5.14.0-427.13.1.el9_4.x86_64", "20b1", 4),
		own,
		{Name: "mi300x", Arch: "amd64", OS: inventory.OS{ID: "ubuntu", Version: "24.04"}, Kernel: "6.8.0-60-generic", Driver: inventory.Driver{State: inventory.DriverInTree, Names: []string{"amdgpu"}},
			GPUs: []inventory.GPU{{Vendor: gpu.AMD, Device: "74a1", Class: "1200", Product: "Instinct MI300X", Architecture: "cdna3", Count: 8}}},
		{Name: "plain", OS: inventory.OS{ID: "ubuntu", Version: "24.04"}},
		{Name: "plain-2"}, {Name: "plain-3"},
	}
}

var nineTags = []string{"580-5.15.0-105-generic-ubuntu22.04", "595-5.15.0-105-generic-ubuntu22.04", "595.91.07-rhel9", "595.91.07-ubuntu24.04"}

// gpuPlan plans a stack with the operator for nodes.
func gpuPlan(t *testing.T, l *lock.Lock, s plan.Site, f GPUFacts) (*plan.Plan, []event.Finding) {
	t.Helper()
	selection, found := Select(l, s)
	if HasErrors(found) {
		t.Fatalf("%+v", found)
	}
	f.Month = "2026-11"
	if err := selection.Configure(f); err != nil {
		t.Fatal(err)
	}
	all := facts(l)
	all.GPU = f
	return Make(ofBundle(), selection, map[Key]Rendered{{"gpu", "gpu-operator"}: {ChartDigest: dg("chart"), ChartVersion: "v26.7.0", Objects: 1}}, all)
}

func TestSeveralDrivers(t *testing.T) {
	l := operated(nineTags...)
	p, found := gpuPlan(t, l, lab(), GPUFacts{Nodes: nine(t)})
	if p == nil {
		t.Fatalf("%+v", found)
	}
	objects, err := DriverObjects(p)
	if err != nil || len(objects) != 4 || len(p.GPU.Nodes) != 6 {
		t.Fatalf("%d objects, %d nodes, %v", len(objects), len(p.GPU.Nodes), err)
	}
	versions := map[string]any{}
	for _, o := range objects {
		spec := o["spec"].(map[string]any)
		if spec["repository"] != "reg.site:5000/mirror/nvcr.io/nvidia" || spec["image"] != "driver" || spec["nodeSelector"] == nil {
			t.Errorf("%v", spec)
		}
		versions[o["metadata"].(map[string]any)["name"].(string)] = spec["version"]
		if precompiled := spec["usePrecompiled"] == true; precompiled == strings.HasPrefix(spec["version"].(string), "sha256:") {
			t.Errorf("an image for one kernel goes by its tag, others by digest: %v", spec)
		}
	}
	if versions["r595-open-rhel9.4"] != dg("nvcr.io/nvidia/driver:595.91.07-rhel9").String() || versions["r580-proprietary-ubuntu22.04-5.15.0-105-generic"] != "580" {
		t.Errorf("%v", versions)
	}
	crd := p.Components[0].Releases[0].Values["driver"].(map[string]any)["nvidiaDriverCRD"].(map[string]any)
	if crd["enabled"] != true || crd["deployDefaultCR"] != false {
		t.Errorf("%v", crd)
	}
	labels := p.Labels("gpu")
	if len(labels) != 2 || labels["v100"][inventory.LabelDriver] != "r580-proprietary-ubuntu22.04-5.15.0-105-generic" || len(p.Labels("other")) != 0 {
		t.Errorf("%v", labels)
	}
	if err := Fit(p, l, dg("lock")); err != nil {
		t.Error(err)
	}
}

func TestOneDriver(t *testing.T) {
	l := operated("595.91.07-ubuntu24.04")
	nodes := []inventory.Node{gpuNode(t, "a", "ubuntu", "24.04", "6.11.0-26-generic", "2901", 8), gpuNode(t, "b", "ubuntu", "24.04", "6.11.0-30-generic", "2330", 8)}
	p, found := gpuPlan(t, l, lab(), GPUFacts{Nodes: nodes})
	if p == nil {
		t.Fatalf("%+v", found)
	}
	driver := p.Components[0].Releases[0].Values["driver"].(map[string]any)
	if driver["repository"] != "nvcr.io/nvidia" || driver["image"] != "driver" || driver["version"] != dg("nvcr.io/nvidia/driver:595.91.07-ubuntu24.04").String() ||
		driver["usePrecompiled"] != false || driver["nvidiaDriverCRD"] != nil {
		t.Errorf("%v", driver)
	}
	if objects, err := DriverObjects(p); len(objects) != 0 || err != nil || len(p.Labels("gpu")) != 0 {
		t.Errorf("%v %v", objects, err)
	}
}

func TestHostsHaveDrivers(t *testing.T) {
	n := gpuNode(t, "a", "sles", "15.6", "6.4.0-default", "26b9", 4)
	n.Driver = inventory.Driver{State: inventory.DriverInstalled, Names: []string{"nvidia"}, Version: "580.95.05", Modules: inventory.OpenModules}
	p, found := gpuPlan(t, operated(), lab(), GPUFacts{Nodes: []inventory.Node{n}})
	if p == nil {
		t.Fatalf("%+v", found)
	}
	if driver := p.Components[0].Releases[0].Values["driver"].(map[string]any); driver["enabled"] != false {
		t.Errorf("%v", driver)
	}
}

func policed() plan.Site {
	s := lab()
	s.GPU = &site.Policy{
		MIG:         site.MIGPolicy{Strategy: site.MIGMixed, Layouts: []site.Layout{{Product: "A100 PCIe 40GB", Profiles: map[string]int{"1g.5gb": 2, "2g.10gb": 1}}}},
		TimeSlicing: []site.Slicing{{Nodes: []string{"v100"}, Replicas: 4}},
	}
	return s
}

func TestPolicyBecomesValues(t *testing.T) {
	s := policed()
	s.Components = map[string]plan.Choice{"gpu": {Values: map[string]map[string]any{"gpu-operator": {"mig": map[string]any{"strategy": "single"}}}}}
	l := operated(nineTags...)
	p, found := gpuPlan(t, l, s, GPUFacts{Nodes: nine(t)})
	if p == nil {
		t.Fatalf("%+v", found)
	}
	if !slices.ContainsFunc(found, func(f event.Finding) bool { return f.Code == "gpu-by-site" && strings.Contains(f.What, "mig.strategy") }) {
		t.Errorf("nobody says that the site goes before the policy: %+v", found)
	}
	values := p.Components[0].Releases[0].Values
	text, _ := json.Marshal(values)
	for _, want := range []string{`"strategy":"single"`, `"name":"caisson-mig-layouts"`, `1g.5gb.2-2g.10gb.1`, `"name":"caisson-device-plugin"`, `"default":"default"`, "replicas: 4"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	labels := p.Labels("gpu")
	if labels["a100"][site.LabelMIG] != "1g.5gb.2-2g.10gb.1" || labels["v100"][site.LabelPlugin] != "gpu-4" {
		t.Errorf("%v", labels)
	}
	if err := Fit(p, l, dg("lock")); err != nil {
		t.Error(err)
	}
}

func TestForgedGPUPlanIsRefused(t *testing.T) {
	l := operated(nineTags...)
	p, found := gpuPlan(t, l, policed(), GPUFacts{Nodes: nine(t)})
	if p == nil {
		t.Fatalf("%+v", found)
	}
	good, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(p *plan.Plan){
		"another group":    func(p *plan.Plan) { p.GPU.Groups[0].Payload.Image = p.GPU.Groups[1].Payload.Image },
		"another selector": func(p *plan.Plan) { p.GPU.Groups[0].NodeSelector["x"] = "y" },
		"another label":    func(p *plan.Plan) { p.GPU.Nodes[0].Labels[site.LabelMIG] = "all-disabled" },
		"no nodes":         func(p *plan.Plan) { p.GPU.Nodes = nil },
		"nothing":          func(p *plan.Plan) { p.GPU = nil },
		"other values": func(p *plan.Plan) {
			r := &p.Components[0].Releases[0]
			r.Values["driver"].(map[string]any)["version"] = "550"
			r.ValuesDigest, _ = plan.DigestValues(r.Values)
		},
	} {
		forged, err := plan.Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		edit(forged)
		if err := Fit(forged, l, dg("lock")); !errors.Is(err, plan.ErrUnfit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	forged, _ := plan.Parse(good)
	forged.GPU.Nodes[0].Labels["node-role.kubernetes.io/control-plane"] = ""
	text, _ := forged.Marshal()
	if _, err := plan.Parse(text); !errors.Is(err, plan.ErrInvalid) {
		t.Errorf("a label that no plan sets: %v", err)
	}
}

func TestGPUFindings(t *testing.T) {
	debian := gpuNode(t, "debian", "debian", "12", "6.1.0-18-amd64", "2331", 2)
	for code, tc := range map[string]struct {
		l    *lock.Lock
		s    plan.Site
		f    GPUFacts
		fine bool // a plan is made all the same
	}{
		"driver-not-in-bundle":    {operated(), lab(), GPUFacts{Nodes: nine(t)[2:3]}, false},
		event.CodeNoDriverPayload: {operated(), lab(), GPUFacts{Nodes: []inventory.Node{debian}}, false},
		"node-label-taken":        {operated(nineTags...), policed(), GPUFacts{Nodes: nine(t), Taken: map[string]map[string]string{"a100": {site.LabelMIG: "all-1g.5gb"}}}, false},
		"no-gpu-nodes":            {operated(), lab(), GPUFacts{Nodes: nine(t)[6:]}, true},
		event.CodeGPUPolicyUnused: {sample(), policed(), GPUFacts{}, true},
		"sources-disagree":        {operated(nineTags...), lab(), GPUFacts{Nodes: nine(t), Found: []event.Finding{{Severity: event.Warn, Code: event.CodeSourcesDisagree}}}, true},
	} {
		p, found := gpuPlan(t, tc.l, tc.s, tc.f)
		i := slices.IndexFunc(found, func(f event.Finding) bool { return f.Code == code })
		if i < 0 || (p != nil) != tc.fine {
			t.Errorf("%s: plan %v, %+v", code, p != nil, found)
			continue
		}
	}
}

// Without the operator a node that nothing drives is told of and forbids nothing.
func TestNodesWithoutOperator(t *testing.T) {
	p, found := gpuPlan(t, sample(), lab(), GPUFacts{Nodes: []inventory.Node{gpuNode(t, "debian", "debian", "12", "6.1.0-18-amd64", "2331", 2)}})
	if p == nil || len(p.GPU.Nodes) != 1 || p.GPU.Values != nil || !slices.ContainsFunc(found, func(f event.Finding) bool { return f.Code == event.CodeNoDriverPayload && f.Severity == event.Notice }) {
		t.Fatalf("%+v", found)
	}
	if objects, err := DriverObjects(p); len(objects) != 0 || err != nil {
		t.Errorf("%v, %v", objects, err)
	}
	if p, _ := gpuPlan(t, sample(), lab(), GPUFacts{}); p.GPU != nil {
		t.Errorf("%+v", p.GPU)
	}
}

// What the site says of the driver stands alone.
func TestSiteChoosesTheDriver(t *testing.T) {
	s := lab()
	s.Components = map[string]plan.Choice{"gpu": {Values: map[string]map[string]any{"gpu-operator": {"driver": map[string]any{"version": "550.1"}}}}}
	l := operated()
	p, found := gpuPlan(t, l, s, GPUFacts{Nodes: nine(t)})
	if p == nil || !p.GPU.BySite || p.GPU.Drivers() || len(p.Labels("gpu")) != 0 {
		t.Fatalf("%+v", found)
	}
	if err := Fit(p, l, dg("lock")); err != nil {
		t.Error(err)
	}
}

// TestPlansMaySetEveryLabelOfOperators: what a plan's file may have follows what
// operators read.
func TestPlansMaySetEveryLabelOfOperators(t *testing.T) {
	if want := gpu.NodeLabels(); !slices.Equal(slices.Sorted(slices.Values(plan.NodeLabels)), want) {
		t.Errorf("a plan may set %v, operators read %v", plan.NodeLabels, want)
	}
}

// TestGPUsWithoutAnOperator: a cluster may have GPUs and the stack no operator.
func TestGPUsWithoutAnOperator(t *testing.T) {
	objects, err := DriverObjects(&plan.Plan{GPU: &plan.GPU{Groups: []inventory.Group{{}, {}}}})
	if err != nil || len(objects) != 0 {
		t.Errorf("%v, %v", objects, err)
	}
}
