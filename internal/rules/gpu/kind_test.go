package gpu

import (
	"fmt"
	"slices"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
)

// The table of a cluster of two vendors and three products, whole, cut and shared.
func TestKinds(t *testing.T) {
	h100 := inventory.GPU{Vendor: NVIDIA, Device: "2330", Architecture: "hopper", MemoryGiB: 80, MIG: true, Count: 8}
	t4 := inventory.GPU{Vendor: NVIDIA, Device: "1eb8", Architecture: "turing", MemoryGiB: 16, Count: 4}
	mi300 := inventory.GPU{Vendor: AMD, Device: "74a1", Product: "Instinct MI300X", MemoryGiB: 192, Count: 8}
	node := func(name string, g inventory.GPU, product string, resources ...inventory.Resource) inventory.Node {
		return inventory.Node{Name: name, GPUs: []inventory.GPU{g}, Product: product, Resources: resources}
	}
	offers := func(name string, n int64) inventory.Resource {
		return inventory.Resource{Name: name, Allocatable: n, Capacity: n}
	}
	amdNode := node("a1", mi300, "AMD_Instinct_MI300X_OAM", offers("amd.com/gpu", 8))
	mixed := site.Policy{
		MIG:         site.MIGPolicy{Strategy: site.MIGMixed, Layouts: []site.Layout{{Nodes: []string{"h2"}, Profiles: map[string]int{"1g.10gb": 4, "3g.40gb": 1}}}},
		TimeSlicing: []site.Slicing{{Nodes: []string{"t1"}, Replicas: 4}},
	}
	single := site.Policy{MIG: site.MIGPolicy{Layouts: []site.Layout{{Nodes: []string{"h2"}, Profiles: map[string]int{"1g.10gb": 7}}}}}
	cut := map[string]Assigned{"h2": {0, -1}, "t1": {-1, 0}}
	for name, tc := range map[string]struct {
		nodes    []inventory.Node
		policy   site.Policy
		assigned map[string]Assigned
		operator bool
		want     []string
	}{
		"whole, not labelled yet": {
			nodes: []inventory.Node{node("h1", h100, ""), node("h2", h100, ""), node("t1", t4, ""), amdNode}, operator: true,
			want: []string{
				"amd-instinct-mi300x: 8 amd.com/gpu of 192 GiB on 1, at most 8, map[amd.com/gpu.product-name:AMD_Instinct_MI300X_OAM]",
				"nvidia-h100-80gb-hbm3: 16 nvidia.com/gpu of 80 GiB on 2, at most 8, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3]",
				"nvidia-tesla-t4: 4 nvidia.com/gpu of 16 GiB on 1, at most 4, map[nvidia.com/gpu.product:Tesla-T4]",
			},
		},
		"one cut in parts of two kinds, one shared": {
			nodes: []inventory.Node{node("h1", h100, ""), node("h2", h100, ""), node("t1", t4, "Tesla-T4"), amdNode}, operator: true,
			policy: mixed, assigned: cut,
			want: []string{
				"amd-instinct-mi300x: 8 amd.com/gpu of 192 GiB on 1, at most 8, map[amd.com/gpu.product-name:AMD_Instinct_MI300X_OAM]",
				"nvidia-h100-80gb-hbm3: 8 nvidia.com/gpu of 80 GiB on 1, at most 8, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3]",
				"nvidia-h100-80gb-hbm3-mig-1g-10gb: 32 nvidia.com/mig-1g.10gb of 10 GiB on 1, at most 32, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3]",
				"nvidia-h100-80gb-hbm3-mig-3g-40gb: 8 nvidia.com/mig-3g.40gb of 40 GiB on 1, at most 8, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3]",
				"nvidia-tesla-t4-shared: 16 nvidia.com/gpu of 16 GiB on 1, at most 16, map[nvidia.com/gpu.product:Tesla-T4-SHARED] shared 4",
			},
		},
		"parts of one kind are nvidia.com/gpu": {
			nodes: []inventory.Node{node("h2", h100, "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb")}, operator: true,
			policy: single, assigned: cut,
			want: []string{"nvidia-h100-80gb-hbm3-mig-1g-10gb: 56 nvidia.com/gpu of 10 GiB on 1, at most 56, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3-MIG-1g.10gb]"},
		},
		"no operator of ours: as the status says": {
			nodes: []inventory.Node{node("h1", h100, "NVIDIA-H100-80GB-HBM3", offers("nvidia.com/gpu", 6), offers("nvidia.com/mig-1g.10gb", 14))},
			want: []string{
				"nvidia-h100-80gb-hbm3: 6 nvidia.com/gpu of 80 GiB on 1, at most 6, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3]",
				"nvidia-h100-80gb-hbm3-mig-1g-10gb: 14 nvidia.com/mig-1g.10gb of 10 GiB on 1, at most 14, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3]",
			},
		},
		"cut by hand under the operator": {
			nodes: []inventory.Node{node("h1", h100, "NVIDIA-H100-80GB-HBM3", offers("nvidia.com/mig-1g.10gb", 56))}, operator: true,
			want: []string{"nvidia-h100-80gb-hbm3-mig-1g-10gb: 56 nvidia.com/mig-1g.10gb of 10 GiB on 1, at most 56, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3]"},
		},
		"two products in one node, which its status counts together": {
			nodes: []inventory.Node{{Name: "x", GPUs: []inventory.GPU{h100, t4}, Resources: []inventory.Resource{offers("nvidia.com/gpu", 12)}}},
			want:  []string{"nvidia-h100-80gb-hbm3: 12 nvidia.com/gpu of 80 GiB on 1, at most 12, map[]"},
		},
		"one product under two resources": {
			nodes: []inventory.Node{
				node("i1", inventory.GPU{Vendor: Intel, Device: "0bd5", Product: "Max 1550", Architecture: "xe-hpc", Count: 2}, "", offers("gpu.intel.com/i915", 2)),
				node("i2", inventory.GPU{Vendor: Intel, Device: "0bd5", Product: "Max 1550", Architecture: "xe-hpc", Count: 4}, "", offers("gpu.intel.com/xe", 4)),
			},
			want: []string{
				"intel-max-1550-i915: 2 gpu.intel.com/i915 of 0 GiB on 1, at most 2, map[]",
				"intel-max-1550-xe: 4 gpu.intel.com/xe of 0 GiB on 1, at most 4, map[]",
			},
		},
		"labels that differ choose nothing": {
			nodes: []inventory.Node{node("a1", mi300, "one", offers("amd.com/gpu", 8)), node("a2", mi300, "other", offers("amd.com/gpu", 8))},
			want:  []string{"amd-instinct-mi300x: 16 amd.com/gpu of 192 GiB on 2, at most 8, map[]"},
		},
		"what nobody can count": {nodes: []inventory.Node{node("x", inventory.GPU{Vendor: NVIDIA, Device: "2330"}, "")}, operator: true},
		"no GPUs":               {nodes: []inventory.Node{{Name: "c1"}}, operator: true},
	} {
		c, err := Read()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, k := range c.Kinds(tc.nodes, tc.policy, tc.assigned, tc.operator) {
			text := fmt.Sprintf("%s: %d %s of %d GiB on %d, at most %d, %v", k.Name, k.Count, k.Resource, k.MemoryGiB, k.Nodes, k.PerNode, k.NodeLabels)
			if k.Shared > 0 {
				text += fmt.Sprintf(" shared %d", k.Shared)
			}
			got = append(got, text)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n%q, want\n%q", name, got, tc.want)
		}
	}
}
