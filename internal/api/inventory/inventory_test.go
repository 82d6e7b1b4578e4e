package inventory

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// site is a cluster of three nodes with all that an inventory can hold.
func site() []Node {
	return []Node{
		{
			Name: "h100", Sources: []string{FromSysfs}, Arch: "amd64", Kernel: "5.15.0-105-generic", OS: OS{ID: "ubuntu", Version: "22.04"},
			Runtime: "containerd 2.1.4", Cgroup: 2, Switches: 4, SecureBoot: "off", IOMMUGroups: 2,
			GPUs: []GPU{{
				Vendor: "10de", Device: "2330", Class: "0302", Product: "H100 SXM5 80GB", Architecture: "hopper",
				Compute: "9.0", MemoryGiB: 80, MIG: true, Bound: "nvidia", Count: 8,
			}},
			Driver:    Driver{State: DriverInstalled, Names: []string{"nvidia"}, Version: "580.95.05", Modules: OpenModules},
			HugePages: []HugePages{{SizeKiB: 2048, Count: 1024}}, RDMA: []RDMA{{Name: "mlx5_0", Link: "InfiniBand"}},
			Resources: []Resource{{Name: "nvidia.com/gpu", Capacity: 8, Allocatable: 8}},
		},
		{Name: "gaudi", Arch: "amd64", OS: OS{ID: "ubuntu", Version: "24.04"}, GPUs: []GPU{{Vendor: "1da3", Device: "1060", Count: 8}}, Driver: Driver{State: DriverNone}},
		{Name: "plain", Sources: []string{FromLabels, FromStatus}, OS: OS{ID: "rhcos", Version: "4.18", OSTree: "418.94"}},
	}
}

func FuzzParse(f *testing.F) {
	text, err := New(site(), false, "").Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("apiVersion: caisson.dev/v1alpha1\nkind: NodeInventory\nnodes:\n- name: a\n  gpus:\n  - {vendor: \"10de\", count: 1}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := Parse("x", text)
		if err != nil {
			return
		}
		again, err := v.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		w, err := Parse("x", again)
		if err != nil || !reflect.DeepEqual(v, w) {
			t.Errorf("%v\n%+v\n%+v", err, v, w)
		}
	})
}

func TestInventoryRoundTrip(t *testing.T) {
	v := New(site(), true, "salt")
	text, err := v.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	w, err := Parse("x", text)
	if err != nil || !reflect.DeepEqual(&v, w) {
		t.Errorf("%v\n%s", err, text)
	}
	for _, n := range site() {
		if strings.Contains(string(text), n.Name) {
			t.Errorf("the name %s is in it", n.Name)
		}
	}
	if slices.ContainsFunc(New(site(), true, "other").Nodes, func(n Node) bool { return n.Name == v.Nodes[0].Name }) {
		t.Error("the salt does not matter")
	}
}

func TestInventoryIsStrict(t *testing.T) {
	head := "apiVersion: caisson.dev/v1alpha1\nkind: NodeInventory\nnodes:\n"
	for body, want := range map[string]string{
		"- kernel: x":                                     "nodes[0].name: is missing",
		"- name: a\n- name: a":                            "twice",
		"- name: a\n  kernal: x":                          "unknown field \"kernal\"",
		"- name: a\n  kernel: \"6.8 $(x)\"":               "cannot stand in the tag",
		"- name: a\n  kernel: \"'6.8'\"":                  "cannot stand in the tag",
		"- name: a\n  secureBoot: maybe":                  "unknown value",
		"- name: a\n  gpus: [{vendor: nvidia, count: 1}]": "four hexadecimal digits",
		"- name: a\n  gpus: [{count: -1}]":                "not a number of GPUs",
	} {
		if _, err := Parse("f", []byte(head+body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", body, err)
		}
	}
}
