package gpu

import (
	"maps"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
)

func TestOffer(t *testing.T) {
	h100 := inventory.GPU{Vendor: NVIDIA, Device: "2330", Architecture: "hopper", MemoryGiB: 80, MIG: true, Count: 8}
	l4 := inventory.GPU{Vendor: NVIDIA, Device: "27b8", Architecture: "ada", MemoryGiB: 24, Count: 2}
	mi300 := inventory.GPU{Vendor: AMD, Device: "74a1", Architecture: "cdna3", MemoryGiB: 192, Count: 8}
	none := Assigned{-1, -1}
	mixed := site.Policy{MIG: site.MIGPolicy{Strategy: site.MIGMixed, Layouts: []site.Layout{{Profiles: map[string]int{"1g.10gb+me": 1, "3g.40gb": 1}}}},
		TimeSlicing: []site.Slicing{{Resource: "nvidia.com/mig-3g.40gb", Replicas: 4}}}
	single := site.Policy{MIG: site.MIGPolicy{Layouts: []site.Layout{{Profiles: map[string]int{"1g.10gb": 7}}}}, TimeSlicing: []site.Slicing{{Replicas: 2}}}
	for name, tc := range map[string]struct {
		p              site.Policy
		n              inventory.Node
		got            Assigned
		operator       bool
		want           map[string]int64
		gpus           bool
		largest, total int
	}{
		"no GPU":               {n: inventory.Node{Resources: []inventory.Resource{{Name: "rdma/hca", Allocatable: 3}}}, got: none, operator: true},
		"nothing plugs":        {n: inventory.Node{GPUs: []inventory.GPU{h100}}, got: none, gpus: true, largest: 80, total: 640},
		"as its status says":   {n: inventory.Node{GPUs: []inventory.GPU{h100}, Resources: []inventory.Resource{{Name: site.WholeGPU, Allocatable: 7}}}, got: none, want: map[string]int64{site.WholeGPU: 7}, gpus: true, largest: 80, total: 640},
		"the operator plugs":   {n: inventory.Node{GPUs: []inventory.GPU{h100, l4}}, got: none, operator: true, want: map[string]int64{site.WholeGPU: 10}, gpus: true, largest: 80, total: 640},
		"mixed, of which L4":   {p: mixed, n: inventory.Node{GPUs: []inventory.GPU{h100, l4}, Resources: []inventory.Resource{{Name: site.WholeGPU, Allocatable: 10}}}, got: Assigned{0, -1}, operator: true, want: map[string]int64{"nvidia.com/mig-1g.10gb.me": 8, "nvidia.com/mig-3g.40gb": 8, site.WholeGPU: 2}, gpus: true, largest: 40, total: 48},
		"mixed and shared":     {p: mixed, n: inventory.Node{GPUs: []inventory.GPU{h100}}, got: Assigned{0, 0}, operator: true, want: map[string]int64{"nvidia.com/mig-1g.10gb.me": 8, "nvidia.com/mig-3g.40gb": 32}, gpus: true, largest: 40, total: 40},
		"single and shared":    {p: single, n: inventory.Node{GPUs: []inventory.GPU{h100}}, got: Assigned{0, 0}, operator: true, want: map[string]int64{site.WholeGPU: 112}, gpus: true, largest: 10, total: 10},
		"some, says a label":   {n: inventory.Node{GPUs: []inventory.GPU{{Architecture: "hopper", MemoryGiB: 80}}}, got: none, operator: true, want: map[string]int64{site.WholeGPU: Some}, gpus: true},
		"AMD":                  {n: inventory.Node{GPUs: []inventory.GPU{mi300}}, got: none, want: map[string]int64{"amd.com/gpu": 8}, gpus: true, largest: 192, total: 1536},
		"beside a display":     {n: inventory.Node{GPUs: []inventory.GPU{l4, {Vendor: Intel, Device: "a780", Class: "0300", Count: 1}}}, got: none, operator: true, want: map[string]int64{site.WholeGPU: 2}, gpus: true, largest: 24, total: 48},
		"one of unknown size":  {n: inventory.Node{GPUs: []inventory.GPU{l4, {Vendor: NVIDIA, Device: "ffff", Count: 1}}}, got: none, operator: true, want: map[string]int64{site.WholeGPU: 3}, gpus: true},
		"functions of another": {n: inventory.Node{GPUs: []inventory.GPU{{Vendor: NVIDIA, Virtual: true, MemoryGiB: 8, Count: 4}}}, got: none, operator: true},
	} {
		o := OfferOf(tc.n, tc.p, tc.got, tc.operator)
		if !maps.Equal(o.Resources, tc.want) || o.GPUs != tc.gpus || o.LargestGiB != tc.largest || o.TotalGiB != tc.total {
			t.Errorf("%s: %+v", name, o)
		}
	}
}
