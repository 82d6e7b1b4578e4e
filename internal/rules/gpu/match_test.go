package gpu

import (
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/inventory"
)

func node(name, os, version, kernel string, gpus ...inventory.GPU) inventory.Node {
	return inventory.Node{
		Name: name, Sources: []string{inventory.FromSysfs}, Arch: "amd64", Kernel: kernel,
		OS: inventory.OS{ID: os, Version: version}, GPUs: gpus, Driver: inventory.Driver{State: inventory.DriverNone},
	}
}

// of is a number of one device, as the catalogue describes it.
func of(n int, vendor, device string) inventory.GPU {
	c, err := Read()
	if err != nil {
		panic(err) // the catalogue's own test says why
	}
	return c.describe(inventory.GPU{Vendor: vendor, Device: device, Class: "0302", Count: n})
}

// nineNodes is a cluster of nine nodes. For the last two nothing exists.
func nineNodes() []inventory.Node {
	host := node("old-driver", "rocky", "9.6", "5.14.0-570.el9.x86_64", of(8, NVIDIA, "2901"))
	host.Driver = inventory.Driver{State: inventory.DriverInstalled, Names: []string{"nvidia"}, Version: "535.104.05", Modules: inventory.ProprietaryModules}
	good := node("own-driver", "sles", "15.6", "6.4.0-150600.21-default", of(4, NVIDIA, "26b9"))
	good.Driver = inventory.Driver{State: inventory.DriverInstalled, Names: []string{"nvidia"}, Version: "580.95.05", Modules: inventory.OpenModules}
	amd := node("mi300x", "ubuntu", "24.04", "6.8.0-60-generic", of(8, AMD, "74a1"))
	amd.Driver = inventory.Driver{State: inventory.DriverInTree, Names: []string{"amdgpu"}}
	return []inventory.Node{
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
		"h100":        {inventory.Precompiled, "nvcr.io/nvidia/driver:595-5.15.0-105-generic-ubuntu22.04", inventory.OpenModules},
		"v100":        {inventory.Precompiled, "nvcr.io/nvidia/driver:580-5.15.0-105-generic-ubuntu22.04", inventory.ProprietaryModules},
		"b200":        {inventory.Conventional, "nvcr.io/nvidia/driver:595.91.07-ubuntu24.04", inventory.OpenModules},
		"a100":        {inventory.Conventional, "nvcr.io/nvidia/driver:595.91.07-rhel9", inventory.OpenModules},
		"own-driver":  {inventory.Installed, "", inventory.OpenModules},
		"mi300x":      {inventory.InTreeDriver, "docker.io/rocm/k8s-device-plugin", ""},
		"plain":       {inventory.NoGPU, "", ""},
		"debian-h100": {inventory.NoPayload, "no driver image is published for debian 12", ""},
		"old-driver":  {inventory.NoPayload, "driver 535.104.05, and branch 535 does not drive B200", ""},
	}
	c := readCatalogue(t)
	var payloads []inventory.Payload
	for _, n := range nineNodes() {
		p := Match(c, n, Options{Operator: "v26.7.0", Month: month})
		payloads = append(payloads, p)
		w := want[n.Name]
		said := p.Image
		if p.Kind == inventory.NoPayload {
			said = imageref.Ref(p.Because)
		}
		if p.Kind != w[0] || !strings.Contains(string(said), w[1]) || p.Modules != w[2] {
			t.Errorf("%s: %+v", n.Name, p)
		}
		if p.Kind == inventory.NoPayload && p.Fix == "" {
			t.Errorf("%s: nothing would fix it", n.Name)
		}
	}
	if got := strings.Join(payloads[2].Packages, " "); got != "linux-headers-6.11.0-26-generic linux-image-6.11.0-26-generic linux-modules-6.11.0-26-generic" {
		t.Errorf("packages %q", got)
	}
	if p := payloads[0].Instead; p == nil || p.Image != "nvcr.io/nvidia/driver:595.91.07-ubuntu22.04" || len(p.Packages) != 3 {
		t.Errorf("in place of precompiled: %+v", p)
	}
	groups(t, Groups(nineNodes(), payloads))
}

// groups: V100 and H100 on the same system and kernel need our own label, and the
// others do not.
func groups(t *testing.T, list []inventory.Group) {
	t.Helper()
	if len(list) != 4 {
		t.Fatalf("%d groups: %+v", len(list), list)
	}
	for _, g := range list {
		own := g.Nodes[0] == "h100" || g.Nodes[0] == "v100"
		if g.Labelled != own || (g.NodeSelector[inventory.LabelDriver] == g.Name) != own || len(g.Nodes) != 1 {
			t.Errorf("%+v", g)
		}
		if (g.NodeSelector[labelKernel] != "") != (g.Payload.Kind == inventory.Precompiled) || g.NodeSelector[labelOS] == "" {
			t.Errorf("selector of %s: %v", g.Name, g.NodeSelector)
		}
	}
}

func TestGroupsJoinLikeNodes(t *testing.T) {
	c := readCatalogue(t)
	nodes := []inventory.Node{
		node("a", "rhel", "9.4", "5.14.0-427.el9.x86_64", of(1, NVIDIA, "2330")),
		node("b", "rhel", "9.4", "5.14.0-500.el9.x86_64", of(1, NVIDIA, "20b2")),
		node("c", "ubuntu", "22.04", "6.8.0-60-generic", of(1, NVIDIA, "20b2")),
		node("d", "ubuntu", "22.04", "6.5.0-60-generic", of(1, NVIDIA, "20b2")),
	}
	var payloads []inventory.Payload
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
	with := func(n inventory.Node, f func(*inventory.Node)) inventory.Node { f(&n); return n }
	noble := func(g ...inventory.GPU) inventory.Node { return node("n", "ubuntu", "24.04", "6.8.0-60-generic", g...) }
	driver := func(version, modules string) func(*inventory.Node) {
		return func(n *inventory.Node) {
			n.Driver = inventory.Driver{State: inventory.DriverInstalled, Version: version, Modules: modules}
		}
	}
	for name, tc := range map[string]struct {
		node inventory.Node
		opt  Options
		kind string
		says string // in image, reason, fix or notes
	}{
		"older operator":       {node("n", "rhel", "9.4", "5.14.0-427.el9.x86_64", of(1, NVIDIA, "2330")), Options{Operator: "v25.3.0"}, inventory.Conventional, "-rhel9.4"},
		"ancient operator":     {noble(of(1, NVIDIA, "2330")), Options{Operator: "v1.0.0"}, inventory.NoPayload, "use gpu-operator v26.7.0"},
		"unknown device":       {noble(inventory.GPU{Vendor: NVIDIA, Device: "3fff", Class: "0302", Count: 1}), Options{}, inventory.NoPayload, "10de:3fff"},
		"device not told":      {noble(inventory.GPU{Vendor: NVIDIA}), Options{}, inventory.NoPayload, "nodes --local"},
		"no system":            {node("n", "", "", "6.8.0-60-generic", of(1, NVIDIA, "2330")), Options{}, inventory.NoPayload, "which system"},
		"arm":                  {with(noble(of(1, NVIDIA, "2342")), func(n *inventory.Node) { n.Arch = "arm64" }), Options{}, inventory.Conventional, "595.91.07-ubuntu24.04"},
		"odd flavour":          {with(noble(of(1, NVIDIA, "2330")), func(n *inventory.Node) { n.Kernel = "6.8.0-1013-lowlatency" }), Options{}, inventory.Conventional, "linux-headers-6.8.0-1013-lowlatency"},
		"long flavour":         {with(noble(of(1, NVIDIA, "2331")), func(n *inventory.Node) { n.Kernel = "6.8.0-1013-azure-fde" }), Options{}, inventory.Precompiled, "595-6.8.0-1013-azure-fde-ubuntu24.04"},
		"V100, newest Ubuntu":  {node("n", "ubuntu", "26.04", "7.0.0-10-generic", of(1, NVIDIA, "1db5")), Options{Month: month}, inventory.Conventional, "580.173.02-ubuntu26.04"},
		"V100 and CUDA":        {noble(of(1, NVIDIA, "1db5")), Options{}, inventory.Precompiled, "CUDA 12 and older"},
		"V100 beside H100":     {noble(of(1, NVIDIA, "1db5"), of(1, NVIDIA, "2330")), Options{Month: month}, inventory.Precompiled, "580-"},
		"V100 beside B200":     {noble(of(1, NVIDIA, "1db5"), of(1, NVIDIA, "2901")), Options{}, inventory.NoPayload, "into different nodes"},
		"host, too old":        {with(noble(of(1, NVIDIA, "2901")), driver("570.100.01", inventory.OpenModules)), Options{}, inventory.NoPayload, "570.133.20"},
		"host, out of support": {with(noble(of(1, NVIDIA, "2330")), driver("535.104.05", inventory.OpenModules)), Options{Month: month}, inventory.Installed, "ended in 2026-06"},
		"host, wrong modules":  {with(noble(of(1, NVIDIA, "2901")), driver("580.95.05", inventory.ProprietaryModules)), Options{}, inventory.NoPayload, "proprietary modules"},
		"host, too new":        {with(noble(of(1, NVIDIA, "1db5")), driver("595.91.07", "")), Options{Month: month}, inventory.NoPayload, "install driver 580.173.02 with proprietary"},
		"host, no version":     {with(noble(of(1, NVIDIA, "2330")), driver("", "")), Options{}, inventory.NoPayload, "unknown version"},
		"operator's own": {with(noble(of(1, NVIDIA, "2330")), func(n *inventory.Node) {
			n.Driver = inventory.Driver{State: inventory.DriverInstalled, Version: "535.104.05", Contained: true}
		}), Options{}, inventory.Precompiled, "595-"},
		"nouveau":             {with(noble(of(1, NVIDIA, "2330")), func(n *inventory.Node) { n.Driver = inventory.Driver{State: inventory.DriverNouveau} }), Options{}, inventory.Precompiled, "blacklist nouveau"},
		"Secure Boot":         {with(noble(of(1, NVIDIA, "2330")), func(n *inventory.Node) { n.SecureBoot = "on" }), Options{}, inventory.Precompiled, "Secure Boot is on"},
		"B200 without RDMA":   {noble(of(8, NVIDIA, "2901")), Options{}, inventory.Precompiled, "no RDMA adapter"},
		"RHCOS":               {node("n", "rhcos", "4.18", "5.14.0-427.el9.x86_64", of(1, NVIDIA, "2330")), Options{}, inventory.Conventional, "Driver Toolkit"},
		"passthrough":         {noble(inventory.GPU{Vendor: NVIDIA, Device: "2330", Class: "0302", Bound: "vfio-pci", Count: 8}), Options{}, inventory.Passthrough, "virtual machines"},
		"two vendors":         {noble(of(1, NVIDIA, "2330"), of(1, AMD, "74a1")), Options{}, inventory.NoPayload, "several vendors"},
		"AMD, nothing loaded": {noble(of(8, AMD, "74a1")), Options{}, inventory.NoPayload, "repo.radeon.com"},
		"AMD, to be built":    {noble(of(8, AMD, "74a1")), Options{AMDDriver: "6.4.1"}, inventory.Built, "ubuntu-24.04-6.8.0-60-generic-6.4.1"},
		"AMD on RHEL":         {node("n", "rhel", "9.4", "5.14.0-1.el9.x86_64", of(8, AMD, "74a1")), Options{AMDDriver: "6.4.1"}, inventory.NoPayload, "modprobe amdgpu"},
		"AMD, unknown":        {noble(inventory.GPU{Vendor: AMD, Device: "7fff", Class: "1200", Count: 1}), Options{}, inventory.NoPayload, "1002:7fff"},
		"AMD in a processor":  {noble(inventory.GPU{Vendor: AMD, Device: "164e", Class: "0300", Count: 1}), Options{}, inventory.NoGPU, ""},
		"Intel Max": {with(noble(of(4, Intel, "0bd5")), func(n *inventory.Node) {
			n.Driver = inventory.Driver{State: inventory.DriverInTree, Names: []string{"i915"}}
		}), Options{}, inventory.InTreeDriver, "gpu.intel.com/i915"},
		"Intel Max, no driver": {noble(of(4, Intel, "0bd5")), Options{}, inventory.NoPayload, "neither i915 nor xe"},
		"Gaudi":                {noble(of(8, Habana, "1060")), Options{}, inventory.NoPayload, "1da3:1060"},
	} {
		p := Match(readCatalogue(t), tc.node, tc.opt)
		all := strings.Join(append([]string{string(p.Image), p.Because, p.Fix, strings.Join(p.Packages, " ")}, p.Notes...), "\n")
		if p.Kind != tc.kind || !strings.Contains(all, tc.says) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestGroupNamesAreLabels(t *testing.T) {
	n := node("n", "ubuntu", "24.04", "6.8.0-"+strings.Repeat("1", 40)+"-azure-fde", of(1, NVIDIA, "2330"))
	p := Match(readCatalogue(t), n, Options{})
	list := Groups([]inventory.Node{n}, []inventory.Payload{p})
	if p.Kind != inventory.Precompiled || len(list) != 1 || len(list[0].Name) != 63 || !strings.HasPrefix(list[0].Name, "r595-open-ubuntu24.04-") {
		t.Errorf("%+v", list)
	}
}

func FuzzMatch(f *testing.F) {
	text, err := inventory.New(nineNodes(), false, "").Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("apiVersion: caisson.dev/v1alpha1\nkind: NodeInventory\nnodes:\n- name: a\n  gpus:\n  - {vendor: \"1da3\", count: 1}\n"))
	c := readCatalogue(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := inventory.Parse("x", text)
		if err != nil {
			return
		}
		for _, n := range v.Nodes {
			p := Match(c, n, Options{})
			silent := p.Kind == inventory.NoPayload && (p.Because == "" || p.Fix == "")
			if p.Kind == "" || silent || strings.ContainsAny(string(p.Image), " \n\x1b") {
				t.Errorf("%+v: %+v", n, p)
			}
		}
	})
}
