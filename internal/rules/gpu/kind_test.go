package gpu

import (
	"fmt"
	"maps"
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
		left     []string // nodes whose GPUs nobody can count
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
		"what nobody can count": {nodes: []inventory.Node{node("x", inventory.GPU{Vendor: NVIDIA, Device: "2330"}, "")}, operator: true, left: []string{"x"}},
		"what nobody can count beside what is known": {
			nodes: []inventory.Node{node("x", inventory.GPU{Vendor: NVIDIA, Device: "2330"}, ""), node("t1", t4, "Tesla-T4")}, operator: true,
			want: []string{"nvidia-tesla-t4: 4 nvidia.com/gpu of 16 GiB on 1, at most 4, map[nvidia.com/gpu.product:Tesla-T4]"},
			left: []string{"x"},
		},
		"a cut that failed, and a probe that counts the GPUs": {
			nodes: []inventory.Node{node("h1", h100, "NVIDIA-H100-80GB-HBM3-MIG-INVALID")}, operator: true, left: []string{"h1"},
		},
		"a cut that failed and is made anew, and a probe that counts the GPUs": {
			nodes: []inventory.Node{node("h2", h100, "NVIDIA-H100-80GB-HBM3-MIG-INVALID")}, operator: true, policy: single, assigned: cut,
			want: []string{"nvidia-h100-80gb-hbm3-mig-1g-10gb: 56 nvidia.com/gpu of 10 GiB on 1, at most 56, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3-MIG-1g.10gb]"},
		},
		"no GPUs": {nodes: []inventory.Node{{Name: "c1"}}, operator: true},
	} {
		c, err := Read()
		if err != nil {
			t.Fatal(err)
		}
		kinds, left := c.Kinds(tc.nodes, tc.policy, tc.assigned, tc.operator)
		if got := wordsOf(kinds); !slices.Equal(got, tc.want) || !slices.Equal(left, tc.left) {
			t.Errorf("%s:\n%q, want\n%q, without %q", name, got, tc.want, left)
		}
	}
}

// What nodes are labelled and offer where the vendors' operators have long been at work,
// by the sources of GPU feature discovery and of AMD's node labeller.
func TestKindsOfNodesAtWork(t *testing.T) {
	h100 := map[string]string{
		"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.count": "8", "nvidia.com/gpu.memory": "81559", "nvidia.com/gpu.replicas": "1",
		"nvidia.com/gpu.compute.major": "9", "nvidia.com/gpu.compute.minor": "0", "nvidia.com/gpu.family": "hopper",
		"nvidia.com/mig.capable": "true", "nvidia.com/mig.strategy": "single",
	}
	whole := atWork("h1", h100, nil, offering("nvidia.com/gpu", 8, 8))
	single := atWork("h2", h100, map[string]string{
		"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "nvidia.com/gpu.count": "56", "nvidia.com/gpu.memory": "9984", "nvidia.com/gpu.slices.gi": "1",
	}, offering("nvidia.com/gpu", 56, 56))
	few := atWork("h3", h100, map[string]string{
		"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "nvidia.com/gpu.count": "24", "nvidia.com/gpu.memory": "9984",
		"nvidia.com/mig.config": "1g.10gb.3", "nvidia.com/mig.config.state": "success",
	}, offering("nvidia.com/gpu", 24, 24))
	unfinished := atWork("h3", few.Labels, map[string]string{"nvidia.com/mig.config.state": "pending"}, few.Resources...)
	mixed := atWork("h4", h100, map[string]string{
		"nvidia.com/gpu.replicas": "0", "nvidia.com/mig.strategy": "mixed",
		"nvidia.com/mig-1g.10gb.count": "16", "nvidia.com/mig-1g.10gb.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "nvidia.com/mig-1g.10gb.memory": "9984", "nvidia.com/mig-1g.10gb.replicas": "1",
		"nvidia.com/mig-3g.40gb.count": "8", "nvidia.com/mig-3g.40gb.product": "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb-SHARED", "nvidia.com/mig-3g.40gb.memory": "40320", "nvidia.com/mig-3g.40gb.replicas": "2",
	}, offering("nvidia.com/mig-1g.10gb", 16, 16), offering("nvidia.com/mig-3g.40gb", 16, 16))
	invalid := atWork("h5", h100, map[string]string{
		"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-INVALID", "nvidia.com/gpu.count": "0", "nvidia.com/gpu.memory": "0", "nvidia.com/gpu.replicas": "0",
	})
	t4 := map[string]string{
		"nvidia.com/gpu.product": "Tesla-T4-SHARED", "nvidia.com/gpu.count": "4", "nvidia.com/gpu.memory": "15360", "nvidia.com/gpu.replicas": "4",
		"nvidia.com/gpu.compute.major": "7", "nvidia.com/gpu.compute.minor": "5", "nvidia.com/gpu.sharing-strategy": "time-slicing",
	}
	shared := atWork("t1", t4, nil, offering("nvidia.com/gpu", 16, 16))
	renamed := atWork("t2", t4, map[string]string{"nvidia.com/gpu.product": "Tesla-T4"}, offering("nvidia.com/gpu.shared", 16, 16))
	a30 := atWork("s1", h100, map[string]string{
		"nvidia.com/gpu.product": "NVIDIA-A30-MIG-1g.6gb-SHARED", "nvidia.com/gpu.count": "16", "nvidia.com/gpu.memory": "5952", "nvidia.com/gpu.replicas": "2", "nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.family": "ampere",
	}, offering("nvidia.com/gpu", 32, 32))
	mi300x := atWork("a1", map[string]string{
		nfd + "amd-gpu": "true", "amd.com/gpu.device-id": "74a1", "amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "192G", "amd.com/gpu.family": "AI",
	}, nil, offering("amd.com/gpu", 8, 8))
	const (
		wholeH100  = "nvidia-h100-80gb-hbm3: 8 nvidia.com/gpu of 80 GiB on 1, at most 8, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3]"
		slicedH100 = "nvidia-h100-80gb-hbm3-mig-1g-10gb: 56 nvidia.com/gpu of 10 GiB on 1, at most 56, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3-MIG-1g.10gb]"
		mi300      = "amd-instinct-mi300x: 8 amd.com/gpu of 192 GiB on 1, at most 8, map[amd.com/gpu.product-name:AMD_Instinct_MI300X_OAM]"
	)
	seven := site.Policy{MIG: site.MIGPolicy{Layouts: []site.Layout{{Nodes: []string{"h2"}, Profiles: map[string]int{"1g.10gb": 7}}}}}
	three := site.Policy{MIG: site.MIGPolicy{Layouts: []site.Layout{{Nodes: []string{"h3"}, Profiles: map[string]int{"1g.10gb": 3}}}}}
	six := site.Policy{MIG: site.MIGPolicy{Layouts: []site.Layout{{Nodes: []string{"h2"}, Profiles: map[string]int{"1g.10gb": 6}}}}}
	halves := site.Policy{MIG: site.MIGPolicy{Layouts: []site.Layout{{Nodes: []string{"h2"}, Profiles: map[string]int{"3g.40gb": 2}}}}}
	for name, tc := range map[string]struct {
		nodes    []Observed
		policy   site.Policy
		assigned map[string]Assigned
		want     []string
		left     []string
	}{
		"whole beside cut, one strategy":     {nodes: []Observed{whole, single, mi300x}, want: []string{mi300, wholeH100, slicedH100}},
		"the policy's own cut, planned anew": {nodes: []Observed{whole, single}, policy: seven, assigned: map[string]Assigned{"h2": {0, -1}}, want: []string{wholeH100, slicedH100}},
		"a cut that leaves some of each GPU": {
			nodes: []Observed{few}, policy: three, assigned: map[string]Assigned{"h3": {0, -1}},
			want: []string{"nvidia-h100-80gb-hbm3-mig-1g-10gb: 24 nvidia.com/gpu of 10 GiB on 1, at most 24, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3-MIG-1g.10gb]"},
		},
		"the same profile, but fewer of each GPU": {
			nodes: []Observed{single}, policy: six, assigned: map[string]Assigned{"h2": {0, -1}},
			want: []string{"nvidia-h100-80gb-hbm3-mig-1g-10gb: 48 nvidia.com/gpu of 10 GiB on 1, at most 48, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3-MIG-1g.10gb]"},
		},
		"a cut that is not done counts what there is at least": {
			nodes: []Observed{unfinished}, policy: three, assigned: map[string]Assigned{"h3": {0, -1}},
			want: []string{"nvidia-h100-80gb-hbm3-mig-1g-10gb: 12 nvidia.com/gpu of 10 GiB on 1, at most 12, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3-MIG-1g.10gb]"},
		},
		"cut otherwise than now": {
			nodes: []Observed{single}, policy: halves, assigned: map[string]Assigned{"h2": {0, -1}},
			want: []string{"nvidia-h100-80gb-hbm3-mig-3g-40gb: 16 nvidia.com/gpu of 40 GiB on 1, at most 16, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3-MIG-3g.40gb]"},
		},
		"parts of two kinds, one of them shared": {
			nodes: []Observed{mixed},
			want: []string{
				"nvidia-h100-80gb-hbm3-mig-1g-10gb: 16 nvidia.com/mig-1g.10gb of 10 GiB on 1, at most 16, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3]",
				"nvidia-h100-80gb-hbm3-mig-3g-40gb-shared: 16 nvidia.com/mig-3g.40gb of 40 GiB on 1, at most 16, map[nvidia.com/gpu.product:NVIDIA-H100-80GB-HBM3] shared 2",
			},
		},
		"shared by time": {
			nodes: []Observed{shared},
			want:  []string{"nvidia-tesla-t4-shared: 16 nvidia.com/gpu of 15 GiB on 1, at most 16, map[nvidia.com/gpu.product:Tesla-T4-SHARED] shared 4"},
		},
		"shared under another name": {
			nodes: []Observed{renamed},
			want:  []string{"nvidia-tesla-t4-shared: 16 nvidia.com/gpu.shared of 15 GiB on 1, at most 16, map[nvidia.com/gpu.product:Tesla-T4] shared 4"},
		},
		"cut and shared": {
			nodes: []Observed{a30},
			want:  []string{"nvidia-a30-mig-1g-6gb-shared: 32 nvidia.com/gpu of 6 GiB on 1, at most 32, map[nvidia.com/gpu.product:NVIDIA-A30-MIG-1g.6gb-SHARED] shared 2"},
		},
		"cut in a way that the strategy does not allow": {nodes: []Observed{invalid}, left: []string{"h5"}},
		"cut so, and to be cut anew, with nobody to count": {
			nodes: []Observed{invalid}, policy: seven, assigned: map[string]Assigned{"h5": {0, -1}}, left: []string{"h5"},
		},
	} {
		for _, operator := range []bool{true, false} {
			if !operator && len(tc.assigned) > 0 {
				continue
			}
			c := readCatalogue(t)
			var nodes []inventory.Node
			for _, o := range tc.nodes {
				n, found := FromCluster(c, o)
				if len(found) > 0 {
					t.Errorf("%s: %+v", name, found)
				}
				nodes = append(nodes, n)
			}
			kinds, left := c.Kinds(nodes, tc.policy, tc.assigned, operator)
			if got := wordsOf(kinds); !slices.Equal(got, tc.want) || !slices.Equal(left, tc.left) {
				t.Errorf("%s, operator %v:\n%q, want\n%q, without %q", name, operator, got, tc.want, left)
			}
		}
	}
}

// A probe counts the GPUs of which labels count the parts, and its word stays.
func TestProbesCountGPUsThatAreCut(t *testing.T) {
	c := readCatalogue(t)
	labels := map[string]string{
		"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "nvidia.com/gpu.count": "24", "nvidia.com/mig.capable": "true",
		"nvidia.com/gpu.compute.major": "9", "nvidia.com/gpu.compute.minor": "0",
	}
	cut, _ := FromCluster(c, atWork("h", labels, nil, offering("nvidia.com/gpu", 24, 24)))
	policy := site.Policy{MIG: site.MIGPolicy{Layouts: []site.Layout{{Nodes: []string{"h"}, Profiles: map[string]int{"1g.10gb": 6}}}}}
	for probed, want := range map[int]struct{ parts, found int }{8: {48, 0}, 4: {24, 0}, 3: {24, 1}} {
		probe := inventory.Node{Name: "h", GPUs: []inventory.GPU{c.describe(inventory.GPU{Vendor: NVIDIA, Device: "2330", Class: "0302", Count: probed})}}
		n, found := Merge(cut, probe)
		kinds, _ := c.Kinds([]inventory.Node{n}, policy, map[string]Assigned{"h": {0, -1}}, true)
		if len(kinds) != 1 || kinds[0].Count != int64(want.parts) || len(found) != want.found {
			t.Errorf("%d GPUs: %q, %+v", probed, wordsOf(kinds), found)
		}
	}
}

// atWork is a node with labels, of which some are otherwise.
func atWork(name string, labels, but map[string]string, offers ...inventory.Resource) Observed {
	o := Observed{Name: name, Labels: maps.Clone(labels), Resources: offers, Arch: "amd64"}
	maps.Copy(o.Labels, but)
	return o
}

func wordsOf(kinds []Kind) (out []string) {
	for _, k := range kinds {
		text := fmt.Sprintf("%s: %d %s of %d GiB on %d, at most %d, %v", k.Name, k.Count, k.Resource, k.MemoryGiB, k.Nodes, k.PerNode, k.NodeLabels)
		if k.Shared > 0 {
			text += fmt.Sprintf(" shared %d", k.Shared)
		}
		out = append(out, text)
	}
	return out
}
