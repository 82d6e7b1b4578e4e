package gpu

import (
	"strings"
	"testing"
)

func node(name, os, version, kernel string, gpus ...GPU) Node {
	return Node{Name: name, Sources: []string{FromSysfs}, Arch: "amd64", OS: OS{ID: os, Version: version}, Kernel: kernel, GPUs: gpus, Driver: Driver{State: DriverNone}}
}

// of is a number of one device, as the catalogue describes it.
func of(n int, vendor, device string) GPU {
	c, err := Read()
	if err != nil {
		panic(err) // the catalogue's own test says why
	}
	return c.describe(GPU{Vendor: vendor, Device: device, Class: "0302", Count: n})
}

// site is a cluster of nine nodes. For the last two nothing exists.
func site() []Node {
	host := node("old-driver", "rocky", "9.6", "5.14.0-570.el9.x86_64", of(8, NVIDIA, "2901"))
	host.Driver = Driver{State: DriverInstalled, Names: []string{"nvidia"}, Version: "535.104.05", Modules: ProprietaryModules}
	good := node("own-driver", "sles", "15.6", "6.4.0-150600.21-default", of(4, NVIDIA, "26b9"))
	good.Driver = Driver{State: DriverInstalled, Names: []string{"nvidia"}, Version: "580.95.05", Modules: OpenModules}
	amd := node("mi300x", "ubuntu", "24.04", "6.8.0-60-generic", of(8, AMD, "74a1"))
	amd.Driver = Driver{State: DriverInTree, Names: []string{"amdgpu"}}
	return []Node{
		node("h100", "ubuntu", "22.04", "5.15.0-105-generic", of(8, NVIDIA, "2330")),
		node("v100", "ubuntu", "22.04", "5.15.0-105-generic", of(4, NVIDIA, "1db5")),
		node("b200", "ubuntu", "24.04", "6.11.0-26-generic", of(8, NVIDIA, "2901")),
		node("a100", "rhel", "9.4", "5.14.0-427.13.1.el9_4.x86_64", of(4, NVIDIA, "20b2")),
		good, amd,
		node("plain", "ubuntu", "24.04", "6.8.0-60-generic"),
		node("debian-h100", "debian", "12", "6.1.0-18-amd64", of(2, NVIDIA, "2331")),
		host,
	}
}

const month = "2026-11"

func TestMatchNineNodes(t *testing.T) {
	want := map[string][3]string{ // kind, image or reason, modules
		"h100":        {Precompiled, "nvcr.io/nvidia/driver:595-5.15.0-105-generic-ubuntu22.04", OpenModules},
		"v100":        {Precompiled, "nvcr.io/nvidia/driver:580-5.15.0-105-generic-ubuntu22.04", ProprietaryModules},
		"b200":        {Conventional, "nvcr.io/nvidia/driver:595.91.07-ubuntu24.04", OpenModules},
		"a100":        {Conventional, "nvcr.io/nvidia/driver:595.91.07-rhel9", OpenModules},
		"own-driver":  {Installed, "", OpenModules},
		"mi300x":      {InTreeDriver, "docker.io/rocm/k8s-device-plugin", ""},
		"plain":       {NoGPU, "", ""},
		"debian-h100": {None, "no driver image is published for debian 12", ""},
		"old-driver":  {None, "driver 535.104.05, and branch 535 does not drive B200", ""},
	}
	c := catalogue(t)
	var payloads []Payload
	for _, n := range site() {
		p := Match(c, n, Options{Operator: "v26.7.0", Month: month})
		payloads = append(payloads, p)
		w := want[n.Name]
		said := p.Image
		if p.Kind == None {
			said = p.Because
		}
		if p.Kind != w[0] || !strings.Contains(said, w[1]) || p.Modules != w[2] {
			t.Errorf("%s: %+v", n.Name, p)
		}
		if p.Kind == None && p.Fix == "" {
			t.Errorf("%s: nothing would fix it", n.Name)
		}
	}
	if got := strings.Join(payloads[2].Packages, " "); got != "linux-headers-6.11.0-26-generic linux-image-6.11.0-26-generic linux-modules-6.11.0-26-generic" {
		t.Errorf("packages %q", got)
	}
	if p := payloads[0].Instead; p == nil || p.Image != "nvcr.io/nvidia/driver:595.91.07-ubuntu22.04" || len(p.Packages) != 3 {
		t.Errorf("in place of precompiled: %+v", p)
	}
	groups(t, Groups(site(), payloads))
}

// groups: V100 and H100 on the same system and kernel need our own label, and the
// others do not.
func groups(t *testing.T, list []Group) {
	t.Helper()
	if len(list) != 4 {
		t.Fatalf("%d groups: %+v", len(list), list)
	}
	for _, g := range list {
		own := g.Nodes[0] == "h100" || g.Nodes[0] == "v100"
		if g.Labelled != own || (g.NodeSelector[LabelDriver] == g.Name) != own || len(g.Nodes) != 1 {
			t.Errorf("%+v", g)
		}
		if (g.NodeSelector[labelKernel] != "") != (g.Payload.Kind == Precompiled) || g.NodeSelector[labelOS] == "" {
			t.Errorf("selector of %s: %v", g.Name, g.NodeSelector)
		}
	}
}

func TestGroupsJoinLikeNodes(t *testing.T) {
	c := catalogue(t)
	nodes := []Node{
		node("a", "rhel", "9.4", "5.14.0-427.el9.x86_64", of(1, NVIDIA, "2330")),
		node("b", "rhel", "9.4", "5.14.0-500.el9.x86_64", of(1, NVIDIA, "20b2")),
		node("c", "ubuntu", "22.04", "6.8.0-60-generic", of(1, NVIDIA, "20b2")),
		node("d", "ubuntu", "22.04", "6.5.0-60-generic", of(1, NVIDIA, "20b2")),
	}
	var payloads []Payload
	for _, n := range nodes {
		payloads = append(payloads, Match(c, n, Options{Month: month}))
	}
	list := Groups(nodes, payloads)
	if len(list) != 3 || strings.Join(list[0].Nodes, "") != "a" && strings.Join(list[0].Nodes, "") != "ab" {
		t.Fatalf("%+v", list)
	}
	for _, g := range list {
		// the group of d selects all of ubuntu 22.04, c among them
		if wide := g.Nodes[0] == "c" || g.Nodes[0] == "d"; g.Labelled != wide {
			t.Errorf("%s: labelled %v", g.Name, g.Labelled)
		}
	}
}

func TestMatchOneNode(t *testing.T) {
	with := func(n Node, f func(*Node)) Node { f(&n); return n }
	noble := func(g ...GPU) Node { return node("n", "ubuntu", "24.04", "6.8.0-60-generic", g...) }
	driver := func(version, modules string) func(*Node) {
		return func(n *Node) { n.Driver = Driver{State: DriverInstalled, Version: version, Modules: modules} }
	}
	for name, tc := range map[string]struct {
		node Node
		opt  Options
		kind string
		says string // in image, reason, fix or notes
	}{
		"older operator":       {node("n", "rhel", "9.4", "5.14.0-427.el9.x86_64", of(1, NVIDIA, "2330")), Options{Operator: "v25.3.0"}, Conventional, "-rhel9.4"},
		"ancient operator":     {noble(of(1, NVIDIA, "2330")), Options{Operator: "v1.0.0"}, None, "use gpu-operator v26.7.0"},
		"unknown device":       {noble(GPU{Vendor: NVIDIA, Device: "3fff", Class: "0302", Count: 1}), Options{}, None, "10de:3fff"},
		"device not told":      {noble(GPU{Vendor: NVIDIA}), Options{}, None, "nodes --local"},
		"no system":            {node("n", "", "", "6.8.0-60-generic", of(1, NVIDIA, "2330")), Options{}, None, "which system"},
		"arm":                  {with(noble(of(1, NVIDIA, "2342")), func(n *Node) { n.Arch = "arm64" }), Options{}, Conventional, "595.91.07-ubuntu24.04"},
		"odd flavour":          {with(noble(of(1, NVIDIA, "2330")), func(n *Node) { n.Kernel = "6.8.0-1013-lowlatency" }), Options{}, Conventional, "linux-headers-6.8.0-1013-lowlatency"},
		"long flavour":         {with(noble(of(1, NVIDIA, "2331")), func(n *Node) { n.Kernel = "6.8.0-1013-azure-fde" }), Options{}, Precompiled, "595-6.8.0-1013-azure-fde-ubuntu24.04"},
		"V100, newest Ubuntu":  {node("n", "ubuntu", "26.04", "7.0.0-10-generic", of(1, NVIDIA, "1db5")), Options{Month: month}, Conventional, "580.173.02-ubuntu26.04"},
		"V100 and CUDA":        {noble(of(1, NVIDIA, "1db5")), Options{}, Precompiled, "CUDA 12 and older"},
		"V100 beside H100":     {noble(of(1, NVIDIA, "1db5"), of(1, NVIDIA, "2330")), Options{Month: month}, Precompiled, "580-"},
		"V100 beside B200":     {noble(of(1, NVIDIA, "1db5"), of(1, NVIDIA, "2901")), Options{}, None, "into different nodes"},
		"host, too old":        {with(noble(of(1, NVIDIA, "2901")), driver("570.100.01", OpenModules)), Options{}, None, "570.133.20"},
		"host, out of support": {with(noble(of(1, NVIDIA, "2330")), driver("535.104.05", OpenModules)), Options{Month: month}, Installed, "ended in 2026-06"},
		"host, wrong modules":  {with(noble(of(1, NVIDIA, "2901")), driver("580.95.05", ProprietaryModules)), Options{}, None, "proprietary modules"},
		"host, too new":        {with(noble(of(1, NVIDIA, "1db5")), driver("595.91.07", "")), Options{Month: month}, None, "install driver 580.173.02 with proprietary"},
		"host, no version":     {with(noble(of(1, NVIDIA, "2330")), driver("", "")), Options{}, None, "unknown version"},
		"operator's own":       {with(noble(of(1, NVIDIA, "2330")), func(n *Node) { n.Driver = Driver{State: DriverInstalled, Version: "535.104.05", Contained: true} }), Options{}, Precompiled, "595-"},
		"nouveau":              {with(noble(of(1, NVIDIA, "2330")), func(n *Node) { n.Driver = Driver{State: DriverNouveau} }), Options{}, Precompiled, "blacklist nouveau"},
		"Secure Boot":          {with(noble(of(1, NVIDIA, "2330")), func(n *Node) { n.SecureBoot = "on" }), Options{}, Precompiled, "Secure Boot is on"},
		"B200 without RDMA":    {noble(of(8, NVIDIA, "2901")), Options{}, Precompiled, "no RDMA adapter"},
		"RHCOS":                {node("n", "rhcos", "4.18", "5.14.0-427.el9.x86_64", of(1, NVIDIA, "2330")), Options{}, Conventional, "Driver Toolkit"},
		"passthrough":          {noble(GPU{Vendor: NVIDIA, Device: "2330", Class: "0302", Bound: "vfio-pci", Count: 8}), Options{}, Passthrough, "virtual machines"},
		"two vendors":          {noble(of(1, NVIDIA, "2330"), of(1, AMD, "74a1")), Options{}, None, "several vendors"},
		"AMD, nothing loaded":  {noble(of(8, AMD, "74a1")), Options{}, None, "repo.radeon.com"},
		"AMD, to be built":     {noble(of(8, AMD, "74a1")), Options{AMDDriver: "6.4.1"}, Built, "ubuntu-24.04-6.8.0-60-generic-6.4.1"},
		"AMD on RHEL":          {node("n", "rhel", "9.4", "5.14.0-1.el9.x86_64", of(8, AMD, "74a1")), Options{AMDDriver: "6.4.1"}, None, "modprobe amdgpu"},
		"AMD, unknown":         {noble(GPU{Vendor: AMD, Device: "7fff", Class: "1200", Count: 1}), Options{}, None, "1002:7fff"},
		"AMD in a processor":   {noble(GPU{Vendor: AMD, Device: "164e", Class: "0300", Count: 1}), Options{}, NoGPU, ""},
		"Intel Max":            {with(noble(of(4, Intel, "0bd5")), func(n *Node) { n.Driver = Driver{State: DriverInTree, Names: []string{"i915"}} }), Options{}, InTreeDriver, "gpu.intel.com/i915"},
		"Intel Max, no driver": {noble(of(4, Intel, "0bd5")), Options{}, None, "neither i915 nor xe"},
		"Gaudi":                {noble(of(8, Habana, "1060")), Options{}, None, "1da3:1060"},
	} {
		p := Match(catalogue(t), tc.node, tc.opt)
		all := strings.Join(append([]string{p.Image, p.Because, p.Fix, strings.Join(p.Packages, " ")}, p.Notes...), "\n")
		if p.Kind != tc.kind || !strings.Contains(all, tc.says) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestMatchTrees(t *testing.T) {
	want := map[string]string{"DGX H100": Installed, "B200 HGX": Precompiled, "V100 box": Precompiled, "A100 MIG": Installed, "MI300X": InTreeDriver,
		"Intel Max": InTreeDriver, "RTX workstation": Installed, "VM": Precompiled, "no GPU": NoGPU, "stranger": None}
	for name, tree := range trees(t) {
		if p := Match(catalogue(t), tree.read(), Options{Month: month}); p.Kind != want[name] {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestGroupNamesAreLabels(t *testing.T) {
	n := node("n", "ubuntu", "24.04", "6.8.0-"+strings.Repeat("1", 40)+"-azure-fde", of(1, NVIDIA, "2330"))
	p := Match(catalogue(t), n, Options{})
	list := Groups([]Node{n}, []Payload{p})
	if p.Kind != Precompiled || len(list) != 1 || len(list[0].Name) != 63 || !strings.HasPrefix(list[0].Name, "r595-open-ubuntu24.04-") {
		t.Errorf("%+v", list)
	}
}
