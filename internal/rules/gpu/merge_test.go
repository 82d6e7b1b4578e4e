package gpu

import (
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/event"
)

// labelledNode is a node as labels tell of it; probed the same as its files do.
func labelledNode(c *Catalogue, gpus ...inventory.GPU) inventory.Node {
	n := inventory.Node{Name: "a", Sources: []string{inventory.FromLabels, inventory.FromStatus}, Arch: "amd64", Kernel: "6.8.0-60-generic", OS: inventory.OS{ID: "ubuntu", Version: "24.04"},
		Driver: inventory.Driver{State: inventory.DriverInstalled, Version: "580.95"}}
	for _, g := range gpus {
		n.GPUs = append(n.GPUs, c.describe(g))
	}
	return n
}

func probedNode(c *Catalogue, gpus ...inventory.GPU) inventory.Node {
	n := inventory.Node{Name: "a", Sources: []string{inventory.FromProbe}, Arch: "amd64", Kernel: "6.8.0-60-generic", OS: inventory.OS{ID: "ubuntu", Version: "24.04"},
		Driver: inventory.Driver{State: inventory.DriverInstalled, Version: "580.95.05", Modules: inventory.OpenModules, Names: []string{"nvidia"}}, Cgroup: 2, SecureBoot: "on", Switches: 4}
	for _, g := range gpus {
		n.GPUs = append(n.GPUs, c.describe(g))
	}
	return n
}

func TestMergeFillsWhatLabelsLack(t *testing.T) {
	c := readCatalogue(t)
	card := inventory.GPU{Vendor: NVIDIA, Device: "2330", Class: "0302", Count: 8, Bound: "nvidia"}
	got, found := Merge(labelledNode(c, inventory.GPU{Vendor: NVIDIA, Product: "NVIDIA H100 80GB HBM3", Architecture: "hopper", Count: 8}), probedNode(c, card))
	if len(found) != 0 {
		t.Errorf("two sources that agree differ: %+v", found)
	}
	if len(got.GPUs) != 1 || got.GPUs[0].Count != 8 || got.GPUs[0].Device != "2330" || got.Switches != 4 || got.SecureBoot != "on" || got.Cgroup != 2 {
		t.Errorf("merged to %+v", got)
	}
	if got.Driver.Version != "580.95.05" || got.Driver.Modules != inventory.OpenModules {
		t.Errorf("driver %+v", got.Driver)
	}
	if !slices.Equal(got.Sources, []string{inventory.FromLabels, inventory.FromProbe, inventory.FromStatus}) {
		t.Errorf("sources %v", got.Sources)
	}
}

func TestMergeTakesTheProbesWordWhereNobodyElseHasOne(t *testing.T) {
	c := readCatalogue(t)
	bare := inventory.Node{Name: "a", Sources: []string{inventory.FromStatus}, Arch: "amd64", Kernel: "6.8.0-60-generic"}
	got, found := Merge(bare, probedNode(c, inventory.GPU{Vendor: NVIDIA, Device: "2330", Class: "0302", Count: 8}))
	if len(found) != 0 || len(got.GPUs) != 1 || got.GPUs[0].Product != "H100 SXM5 80GB" || got.OS.ID != "ubuntu" || got.Driver.State != inventory.DriverInstalled {
		t.Errorf("merged to %+v, found %+v", got, found)
	}
}

func TestMergeSaysWhatDiffers(t *testing.T) {
	c := readCatalogue(t)
	card := inventory.GPU{Vendor: NVIDIA, Device: "2330", Class: "0302", Count: 8}
	base := func() (inventory.Node, inventory.Node) { return labelledNode(c, card), probedNode(c, card) }
	for name, test := range map[string]struct {
		change func(labels, probe *inventory.Node)
		want   string
		kept   func(inventory.Node) bool
	}{
		"count":      {func(_, p *inventory.Node) { p.GPUs[0].Count = 7 }, "GPUs: the labels say 8, the probe says 7", func(n inventory.Node) bool { return n.GPUs[0].Count == 8 }},
		"none there": {func(_, p *inventory.Node) { p.GPUs = nil }, "the probe says none", func(n inventory.Node) bool { return len(n.GPUs) == 1 }},
		"product": {func(_, p *inventory.Node) {
			p.GPUs[0] = c.describe(inventory.GPU{Vendor: NVIDIA, Device: "20b0", Class: "0302", Count: 8})
		}, "product: the labels say H100", func(n inventory.Node) bool { return n.GPUs[0].Device == "2330" }},
		"kernel":    {func(l, _ *inventory.Node) { l.Kernel = "6.8.0-59-generic" }, "kernel: the node's status says 6.8.0-59-generic, the probe says 6.8.0-60-generic", func(n inventory.Node) bool { return n.Kernel == "6.8.0-60-generic" }},
		"system":    {func(l, _ *inventory.Node) { l.OS.Version = "22.04" }, "system: the labels say ubuntu 22.04, the probe says ubuntu 24.04", func(n inventory.Node) bool { return n.OS.Version == "22.04" }},
		"driver":    {func(l, _ *inventory.Node) { l.Driver.Version = "535.1" }, "driver: the labels say installed 535.1, the probe says installed 580.95.05", func(n inventory.Node) bool { return n.Driver.Version == "535.1" }},
		"no driver": {func(_, p *inventory.Node) { p.Driver = inventory.Driver{State: inventory.DriverNone} }, "the probe says none", func(n inventory.Node) bool { return n.Driver.State == inventory.DriverInstalled }},
		"unplugged": {func(_, p *inventory.Node) { p.GPUs[0].Count = 0 }, "", func(n inventory.Node) bool { return true }},
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
