package gpu

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
)

// TestEveryVendorIsWhole: a vendor of which one half of the program knows and the
// other does not cannot be.
func TestEveryVendorIsWhole(t *testing.T) {
	c := readCatalogue(t)
	seen := map[string]bool{}
	for _, v := range Vendors() {
		if !idRule.MatchString(v.ID) || v.Name == "" || seen[v.ID] {
			t.Errorf("%s: id %q", v.Name, v.ID)
		}
		seen[v.ID] = true
		if v.LabelGPUs == nil || v.LabelDriver == nil || v.Match == nil {
			t.Errorf("%s: no labels are read, or nothing is matched", v.Name)
		}
		if (v.CountLabel != "") != (v.LabelOffer != nil) {
			t.Errorf("%s: CountLabel and LabelOffer belong together", v.Name)
		}
		checkResources(t, v)
		checkModules(t, v)
		checkOperator(t, c, v)
		if !slices.ContainsFunc(c.Devices.Devices, func(d Device) bool { return d.Vendor == v.ID }) {
			t.Errorf("%s: the catalogue has no device", v.Name)
		}
	}
	for _, d := range c.Devices.Devices {
		if !seen[d.Vendor] {
			t.Errorf("%s is of a vendor that is in no table", d.Product)
		}
	}
}

func checkResources(t *testing.T, v Vendor) {
	t.Helper()
	r := v.Resources
	if r.Prefix == "" || len(r.Whole) == 0 {
		t.Errorf("%s: resources %+v", v.Name, r)
	}
	for _, name := range slices.Concat(r.Whole, r.Shared) {
		if !strings.HasPrefix(name, r.Prefix) || !IsAccelerator(name) {
			t.Errorf("%s: resource %q", v.Name, name)
		}
	}
	if r.PerNode != "" && !slices.Contains(r.Whole, r.PerNode) || r.PerNode == "" && len(r.Whole) == 1 {
		t.Errorf("%s: %q counts the GPUs of a node, which is none of %v", v.Name, r.PerNode, r.Whole)
	}
}

func checkModules(t *testing.T, v Vendor) {
	t.Helper()
	installed := false
	for _, m := range v.Modules {
		installed = installed || m.State == inventory.DriverInstalled
		if m.Name == "" || m.State == "" {
			t.Errorf("%s: module %+v", v.Name, m)
		}
	}
	if len(v.Modules) == 0 || installed != (v.HostDriver != nil) {
		t.Errorf("%s: modules %+v, and HostDriver does not fit them", v.Name, v.Modules)
	}
}

func checkOperator(t *testing.T, c *Catalogue, v Vendor) {
	t.Helper()
	o := v.Operator
	if (o != nil) == (v.NoOperator != "") {
		t.Fatalf("%s: it needs an operator, or a reason why none", v.Name)
	}
	if o == nil {
		if c.plugin(v.ID) == "" {
			t.Errorf("%s: nothing offers its GPUs: the catalogue has no device plugin", v.Name)
		}
		return
	}
	if o.Title == "" || o.Chart == "" || o.NodeLabel == "" || o.Group == "" || o.Resource == "" || o.Kind == "" {
		t.Errorf("%s: operator %+v", v.Name, o)
	}
	if o.ChoosesDriver == nil || o.Values == nil || o.Object == nil || o.Labels == nil || v.Offer == nil {
		t.Errorf("%s: the operator lacks a rule", v.Name)
	}
	if !slices.ContainsFunc(v.Ready, func(r Readiness) bool { return r.Group == o.Group && r.Kind == o.Kind }) {
		t.Errorf("%s: nothing says when %s is ready", v.Name, o.Kind)
	}
	if found, _ := OperatorOf(o.Chart); found == nil || found.Title != o.Title {
		t.Errorf("%s: chart %s finds %+v", v.Name, o.Chart, found)
	}
}

// byLabelsAlone are the fewest labels by which a vendor's GPUs are known.
var byLabelsAlone = map[string]map[string]string{
	NVIDIA: {nfd + "pci-0302_10de.present": "true"},
	AMD:    {nfd + "amd-gpu": "true"},
	Intel:  {"intel.feature.node.kubernetes.io/gpu": "true"},
	Habana: {nfd + "pci-1200_1da3.present": "true"},
}

// TestEveryVendorIsRecognised: from a node that has nothing but a label, and with
// its device plugin's resource.
func TestEveryVendorIsRecognised(t *testing.T) {
	c := readCatalogue(t)
	for _, v := range Vendors() {
		labels := byLabelsAlone[v.ID]
		if len(labels) == 0 {
			t.Errorf("%s: no label is named by which its nodes are known", v.Name)
			continue
		}
		n, _ := FromCluster(c, Observed{Name: "n", Labels: labels})
		if len(n.GPUs) != 1 || n.GPUs[0].Vendor != v.ID || n.GPUs[0].Count != 0 {
			t.Errorf("%s: by labels %+v", v.Name, n.GPUs)
		}
		if p := Match(c, n, Options{}); p.Kind == inventory.NoGPU || p.Because == "" {
			t.Errorf("%s: by labels it needs %+v", v.Name, p)
		}
		offered := offering(v.Resources.Whole[0], 8, 8)
		n, _ = FromCluster(c, Observed{Name: "n", Labels: labels, Resources: []inventory.Resource{offered}})
		if len(n.GPUs) != 1 || n.GPUs[0].Count != 8 || !slices.Equal(n.Resources, []inventory.Resource{offered}) {
			t.Errorf("%s: with its resource %+v", v.Name, n)
		}
		if p := Match(c, n, Options{}); v.Operator == nil && (p.Kind != inventory.InTreeDriver || string(p.Image) != c.plugin(v.ID)) {
			t.Errorf("%s: with its resource it needs %+v", v.Name, p)
		}
		if o := OfferOf(n, site.Policy{}, nothing, false); o.Resources[offered.Name] != 8 {
			t.Errorf("%s: it offers %v", v.Name, o.Resources)
		}
	}
}

// TestGaudi: the newest vendor of the table, from all that can tell of it.
func TestGaudi(t *testing.T) {
	c := readCatalogue(t)
	ready := node("n", "ubuntu", "22.04", "5.15.0-105-generic", of(8, Habana, "1020"))
	ready.Driver = DriverOfHost(ready.GPUs, HostFiles{"sys/module/habanalabs": ""})
	if !slices.Equal(ready.Driver.Names, []string{"habanalabs"}) || ready.Driver.State != inventory.DriverInTree {
		t.Errorf("driver %+v", ready.Driver)
	}
	p := Match(c, ready, Options{})
	if p.Kind != inventory.InTreeDriver || p.Driver != "habanalabs" || !strings.Contains(p.Because, "habana.ai/gaudi") {
		t.Errorf("with its module it needs %+v", p)
	}
	unknown := node("n", "ubuntu", "22.04", "5.15.0-105-generic", inventory.GPU{Vendor: Habana, Device: "ffff", Class: "1200", Count: 1})
	if p := Match(c, unknown, Options{}); p.Kind != inventory.NoPayload || !strings.Contains(p.Because, "1da3:ffff") {
		t.Errorf("one that is unknown needs %+v", p)
	}
	for name, tc := range map[string]struct {
		labels    map[string]string
		resources []inventory.Resource
		want      inventory.GPU
		found     int
	}{
		"device on the bus": {
			map[string]string{nfd + "pci-1200_1da3_1060.present": "true"}, []inventory.Resource{offering("habana.ai/gaudi", 8, 8)},
			inventory.GPU{Vendor: Habana, Device: "1060", Class: "1200", Product: "Gaudi 3", Architecture: "gaudi3", Count: 8}, 0,
		},
		"vendor alone":     {map[string]string{nfd + "pci-1da3.present": "true"}, nil, inventory.GPU{Vendor: Habana}, 0},
		"its own labeller": {map[string]string{"habana.ai/device.count": "4"}, []inventory.Resource{offering("habana.ai/gaudi", 4, 4)}, inventory.GPU{Vendor: Habana, Count: 4}, 0},
		"one is broken":    {map[string]string{"habana.ai/device.count": "8"}, []inventory.Resource{offering("habana.ai/gaudi", 7, 7)}, inventory.GPU{Vendor: Habana, Count: 7}, 1},
	} {
		n, found := FromCluster(c, Observed{Name: "n", Labels: tc.labels, Resources: tc.resources})
		if len(n.GPUs) != 1 || n.GPUs[0] != tc.want || len(found) != tc.found {
			t.Errorf("%s: %+v, %+v", name, n.GPUs, found)
		}
		if loaded := len(tc.resources) > 0; loaded != slices.Equal(n.Driver.Names, []string{"habanalabs"}) {
			t.Errorf("%s: driver %+v", name, n.Driver)
		}
	}
	if o := OfferOf(ready, site.Policy{}, nothing, false); !maps.Equal(o.Resources, map[string]int64{"habana.ai/gaudi": 8}) {
		t.Errorf("it offers %v", o.Resources)
	}
}
