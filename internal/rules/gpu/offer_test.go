package gpu

import (
	"maps"
	"testing"
)

func TestOffer(t *testing.T) {
	h100 := GPU{Vendor: NVIDIA, Device: "2330", Architecture: "hopper", MemoryGiB: 80, MIG: true, Count: 8}
	l4 := GPU{Vendor: NVIDIA, Device: "27b8", Architecture: "ada", MemoryGiB: 24, Count: 2}
	mi300 := GPU{Vendor: AMD, Device: "74a1", Architecture: "cdna3", MemoryGiB: 192, Count: 8}
	none := Assigned{-1, -1}
	mixed := Policy{MIG: MIGPolicy{Strategy: MIGMixed, Layouts: []Layout{{Profiles: map[string]int{"1g.10gb+me": 1, "3g.40gb": 1}}}},
		TimeSlicing: []Slicing{{Resource: "nvidia.com/mig-3g.40gb", Replicas: 4}}}
	single := Policy{MIG: MIGPolicy{Layouts: []Layout{{Profiles: map[string]int{"1g.10gb": 7}}}}, TimeSlicing: []Slicing{{Replicas: 2}}}
	for name, tc := range map[string]struct {
		p              Policy
		n              Node
		got            Assigned
		operator       bool
		want           map[string]int64
		gpus           bool
		largest, total int
	}{
		"no GPU":               {n: Node{Resources: []Resource{{Name: "rdma/hca", Allocatable: 3}}}, got: none, operator: true},
		"nothing plugs":        {n: Node{GPUs: []GPU{h100}}, got: none, gpus: true, largest: 80, total: 640},
		"as its status says":   {n: Node{GPUs: []GPU{h100}, Resources: []Resource{{Name: WholeGPU, Allocatable: 7}}}, got: none, want: map[string]int64{WholeGPU: 7}, gpus: true, largest: 80, total: 640},
		"the operator plugs":   {n: Node{GPUs: []GPU{h100, l4}}, got: none, operator: true, want: map[string]int64{WholeGPU: 10}, gpus: true, largest: 80, total: 640},
		"mixed, of which L4":   {p: mixed, n: Node{GPUs: []GPU{h100, l4}, Resources: []Resource{{Name: WholeGPU, Allocatable: 10}}}, got: Assigned{0, -1}, operator: true, want: map[string]int64{"nvidia.com/mig-1g.10gb.me": 8, "nvidia.com/mig-3g.40gb": 8, WholeGPU: 2}, gpus: true, largest: 40, total: 48},
		"mixed and shared":     {p: mixed, n: Node{GPUs: []GPU{h100}}, got: Assigned{0, 0}, operator: true, want: map[string]int64{"nvidia.com/mig-1g.10gb.me": 8, "nvidia.com/mig-3g.40gb": 32}, gpus: true, largest: 40, total: 40},
		"single and shared":    {p: single, n: Node{GPUs: []GPU{h100}}, got: Assigned{0, 0}, operator: true, want: map[string]int64{WholeGPU: 112}, gpus: true, largest: 10, total: 10},
		"some, says a label":   {n: Node{GPUs: []GPU{{Architecture: "hopper", MemoryGiB: 80}}}, got: none, operator: true, want: map[string]int64{WholeGPU: Some}, gpus: true},
		"AMD":                  {n: Node{GPUs: []GPU{mi300}}, got: none, want: map[string]int64{"amd.com/gpu": 8}, gpus: true, largest: 192, total: 1536},
		"beside a display":     {n: Node{GPUs: []GPU{l4, {Vendor: Intel, Device: "a780", Class: "0300", Count: 1}}}, got: none, operator: true, want: map[string]int64{WholeGPU: 2}, gpus: true, largest: 24, total: 48},
		"one of unknown size":  {n: Node{GPUs: []GPU{l4, {Vendor: NVIDIA, Device: "ffff", Count: 1}}}, got: none, operator: true, want: map[string]int64{WholeGPU: 3}, gpus: true},
		"functions of another": {n: Node{GPUs: []GPU{{Vendor: NVIDIA, Virtual: true, MemoryGiB: 8, Count: 4}}}, got: none, operator: true},
	} {
		o := tc.p.Offer(tc.n, tc.got, tc.operator)
		if !maps.Equal(o.Resources, tc.want) || o.GPUs != tc.gpus || o.LargestGiB != tc.largest || o.TotalGiB != tc.total {
			t.Errorf("%s: %+v", name, o)
		}
	}
}
