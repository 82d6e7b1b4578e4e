package gpu

import (
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/event"
)

func mustRead(t testing.TB) *Catalogue {
	t.Helper()
	c, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// labelledNode is a node as labels tell of it; probed the same as its files do.
func labelledNode(c *Catalogue, gpus ...GPU) Node {
	n := Node{Name: "a", Sources: []string{FromLabels, FromStatus}, Arch: "amd64", Kernel: "6.8.0-60-generic", OS: OS{ID: "ubuntu", Version: "24.04"},
		Driver: Driver{State: DriverInstalled, Version: "580.95"}}
	for _, g := range gpus {
		n.GPUs = append(n.GPUs, c.describe(g))
	}
	return n
}

func probedNode(c *Catalogue, gpus ...GPU) Node {
	n := Node{Name: "a", Sources: []string{FromProbe}, Arch: "amd64", Kernel: "6.8.0-60-generic", OS: OS{ID: "ubuntu", Version: "24.04"},
		Driver: Driver{State: DriverInstalled, Version: "580.95.05", Modules: OpenModules, Names: []string{"nvidia"}}, Cgroup: 2, SecureBoot: "on", Switches: 4}
	for _, g := range gpus {
		n.GPUs = append(n.GPUs, c.describe(g))
	}
	return n
}

func TestMergeFillsWhatLabelsLack(t *testing.T) {
	c := mustRead(t)
	card := GPU{Vendor: NVIDIA, Device: "2330", Class: "0302", Count: 8, Bound: "nvidia"}
	got, found := Merge(labelledNode(c, GPU{Vendor: NVIDIA, Product: "NVIDIA H100 80GB HBM3", Architecture: "hopper", Count: 8}), probedNode(c, card))
	if len(found) != 0 {
		t.Errorf("two sources that agree differ: %+v", found)
	}
	if len(got.GPUs) != 1 || got.GPUs[0].Count != 8 || got.GPUs[0].Device != "2330" || got.Switches != 4 || got.SecureBoot != "on" || got.Cgroup != 2 {
		t.Errorf("merged to %+v", got)
	}
	if got.Driver.Version != "580.95.05" || got.Driver.Modules != OpenModules {
		t.Errorf("driver %+v", got.Driver)
	}
	if !slices.Equal(got.Sources, []string{FromLabels, FromProbe, FromStatus}) {
		t.Errorf("sources %v", got.Sources)
	}
}

func TestMergeTakesTheProbesWordWhereNobodyElseHasOne(t *testing.T) {
	c := mustRead(t)
	bare := Node{Name: "a", Sources: []string{FromStatus}, Arch: "amd64", Kernel: "6.8.0-60-generic"}
	got, found := Merge(bare, probedNode(c, GPU{Vendor: NVIDIA, Device: "2330", Class: "0302", Count: 8}))
	if len(found) != 0 || len(got.GPUs) != 1 || got.GPUs[0].Product != "H100 SXM5 80GB" || got.OS.ID != "ubuntu" || got.Driver.State != DriverInstalled {
		t.Errorf("merged to %+v, found %+v", got, found)
	}
}

func TestMergeSaysWhatDiffers(t *testing.T) {
	c := mustRead(t)
	card := GPU{Vendor: NVIDIA, Device: "2330", Class: "0302", Count: 8}
	base := func() (Node, Node) { return labelledNode(c, card), probedNode(c, card) }
	for name, test := range map[string]struct {
		change func(labels, probe *Node)
		want   string
		kept   func(Node) bool
	}{
		"count":      {func(_, p *Node) { p.GPUs[0].Count = 7 }, "GPUs: the labels say 8, the probe says 7", func(n Node) bool { return n.GPUs[0].Count == 8 }},
		"none there": {func(_, p *Node) { p.GPUs = nil }, "the probe says none", func(n Node) bool { return len(n.GPUs) == 1 }},
		"product":    {func(_, p *Node) { p.GPUs[0] = c.describe(GPU{Vendor: NVIDIA, Device: "20b0", Class: "0302", Count: 8}) }, "product: the labels say H100", func(n Node) bool { return n.GPUs[0].Device == "2330" }},
		"kernel":     {func(l, _ *Node) { l.Kernel = "6.8.0-59-generic" }, "kernel: the node's status says 6.8.0-59-generic, the probe says 6.8.0-60-generic", func(n Node) bool { return n.Kernel == "6.8.0-60-generic" }},
		"system":     {func(l, _ *Node) { l.OS.Version = "22.04" }, "system: the labels say ubuntu 22.04, the probe says ubuntu 24.04", func(n Node) bool { return n.OS.Version == "22.04" }},
		"driver":     {func(l, _ *Node) { l.Driver.Version = "535.1" }, "driver: the labels say installed 535.1, the probe says installed 580.95.05", func(n Node) bool { return n.Driver.Version == "535.1" }},
		"no driver":  {func(_, p *Node) { p.Driver = Driver{State: DriverNone} }, "the probe says none", func(n Node) bool { return n.Driver.State == DriverInstalled }},
		"unplugged":  {func(_, p *Node) { p.GPUs[0].Count = 0 }, "", func(n Node) bool { return true }},
	} {
		labels, probe := base()
		test.change(&labels, &probe)
		got, found := Merge(labels, probe)
		switch {
		case test.want == "":
		case len(found) != 1 || !strings.Contains(found[0].What, test.want) || found[0].Code != event.CodeSourcesDisagree || found[0].Hint == "":
			t.Errorf("%s: found %+v", name, found)
		}
		if !test.kept(got) {
			t.Errorf("%s: merged to %+v", name, got)
		}
	}
}
