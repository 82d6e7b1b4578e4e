package gpu

import (
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/testkit/nodetest"
)

const nfd = "feature.node.kubernetes.io/"

func offering(name string, capacity, allocatable int64) inventory.Resource {
	return inventory.Resource{Name: name, Capacity: capacity, Allocatable: allocatable}
}

// labels of an H100 node as both discoveries write them.
func labelled() Observed {
	return Observed{Name: "n", Kernel: "5.15.0-105-generic", OSImage: "Ubuntu 22.04.5 LTS", Runtime: "containerd://2.1.4", Arch: "amd64",
		Labels: map[string]string{nfd + "system-os_release.ID": "ubuntu", nfd + "system-os_release.VERSION_ID": "22.04", nfd + "kernel-version.full": "5.15.0-105-generic",
			"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.count": "8", "nvidia.com/gpu.memory": "81559", "nvidia.com/gpu.compute.major": "9",
			"nvidia.com/gpu.compute.minor": "0", "nvidia.com/mig.capable": "true", "nvidia.com/cuda.driver-version.full": "580.95.05", "nvidia.com/gpu.deploy.driver": "pre-installed"},
		Resources: []inventory.Resource{offering("nvidia.com/gpu", 8, 8), offering("cpu", 64, 64), offering("rdma/ib", 4, 4)}}
}

func TestFromCluster(t *testing.T) {
	n, found := FromCluster(readCatalogue(t), labelled())
	if len(found) != 0 || nodetest.Words(n) != "8 NVIDIA H100 80GB HBM3 hopper 80 mig | installed 580.95.05" || n.Runtime != "containerd 2.1.4" || len(n.Resources) != 2 {
		t.Errorf("%v\n%s\n%+v", found, nodetest.Words(n), n)
	}
	if p := Match(readCatalogue(t), n, Options{}); p.Kind != inventory.Installed {
		t.Errorf("%+v", p)
	}
}

func TestSourcesDisagree(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Observed)
		want   string // both sides, apart by |
	}{
		"count":     {func(o *Observed) { o.Resources[0] = offering("nvidia.com/gpu", 7, 7) }, "nvidia.com/gpu.count says 8|status says 7"},
		"no plugin": {func(o *Observed) { o.Resources = nil }, "nvidia.com/gpu.count says 8|status says 0"},
		"kernel":    {func(o *Observed) { o.Kernel = "5.15.0-106-generic" }, "kernel-version.full says 5.15.0-105-generic|status says 5.15.0-106-generic"},
		"arch":      {func(o *Observed) { o.Labels["kubernetes.io/arch"] = "arm64" }, "kubernetes.io/arch says arm64|status says amd64"},
		"broken":    {func(o *Observed) { o.Resources[0] = offering("nvidia.com/gpu", 8, 6) }, "capacity is 8|only 6"},
		"shared": {func(o *Observed) {
			o.Labels["nvidia.com/gpu.replicas"] = "4"
			o.Resources[0] = offering("nvidia.com/gpu.shared", 32, 32)
		}, ""},
		"cut": {func(o *Observed) {
			o.Resources = []inventory.Resource{offering("nvidia.com/mig-1g.10gb", 56, 56)}
		}, ""},
	} {
		o := labelled()
		tc.change(&o)
		n, found := FromCluster(readCatalogue(t), o)
		if tc.want == "" {
			if len(found) != 0 {
				t.Errorf("%s: %+v", name, found)
			}
			continue
		}
		for _, part := range strings.Split(tc.want, "|") {
			if len(found) != 1 || !strings.Contains(found[0].What, part) || found[0].Hint == "" || found[0].Item != "n" {
				t.Errorf("%s: %+v", name, found)
			}
		}
		if n.Kernel != o.Kernel {
			t.Errorf("%s: the running kernel is %s, not %s", name, o.Kernel, n.Kernel)
		}
	}
}

func TestFromClusterOtherLabels(t *testing.T) {
	for name, tc := range map[string]struct {
		labels    map[string]string
		resources []inventory.Resource
		image     string
		want      string
		os        string
	}{
		"bus":        {map[string]string{nfd + "pci-0302_10de_1db5.present": "true", nfd + "pci-0680_10de_22a3.present": "true", nfd + "pci-0403_10de_22e8.present": "true"}, []inventory.Resource{offering("nvidia.com/gpu", 4, 4)}, "Ubuntu 24.04.1 LTS", "4 Tesla V100 SXM2 32GB volta 32", "ubuntu24.04"},
		"vendor":     {map[string]string{nfd + "pci-10de.present": "true"}, nil, "Debian GNU/Linux 12 (bookworm)", "0 10de:", "debian12"},
		"AMD":        {map[string]string{nfd + "amd-gpu": "true", "amd.com/gpu.device-id": "74a1"}, []inventory.Resource{offering("amd.com/gpu", 8, 8)}, "Red Hat Enterprise Linux 9.4 (Plow)", "8 Instinct MI300X cdna3 192 | in-tree amdgpu", "rhel9.4"},
		"Intel":      {map[string]string{"gpu.intel.com/device-id.0380-0bd5.count": "4"}, []inventory.Resource{offering("gpu.intel.com/i915", 4, 4)}, "Flatcar Container Linux", "4 Data Center GPU Max 1550 xe-hpc 128 | in-tree i915", ""},
		"MIG":        {map[string]string{"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "nvidia.com/gpu.count": "7", "nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "0"}, []inventory.Resource{offering("nvidia.com/gpu", 7, 7)}, "", "1 NVIDIA A100 SXM4 40GB ampere 40 mig", ""},
		"hostile":    {map[string]string{"nvidia.com/gpu.product": "x", "nvidia.com/gpu.count": "99999999", "nvidia.com/gpu.compute.major": "9\x1b", nfd + "system-os_release.ID": "a b", nfd + "system-os_release.VERSION_ID": "1"}, nil, "", "0 x  0", ""},
		"tomorrow's": {map[string]string{"nvidia.com/gpu.product": "NVIDIA-R100", "nvidia.com/gpu.count": "1", "nvidia.com/gpu.compute.major": "13", "nvidia.com/gpu.compute.minor": "0"}, []inventory.Resource{offering("nvidia.com/gpu", 1, 1)}, "", "1 NVIDIA R100  0", ""},
		"none":       {nil, nil, "Ubuntu 24.04.1 LTS", "", "ubuntu24.04"},
	} {
		n, found := FromCluster(readCatalogue(t), Observed{Name: "n", Labels: tc.labels, Resources: tc.resources, OSImage: tc.image})
		if got := nodetest.Words(n); got != tc.want || n.OS.ID+n.OS.Version != tc.os || len(found) != 0 {
			t.Errorf("%s: %q, %+v, %v", name, got, n.OS, found)
		}
	}
}

// TestNamesAreExact: a name alone places a GPU where it is one device's very own.
func TestNamesAreExact(t *testing.T) {
	c := readCatalogue(t)
	for name, want := range map[string]string{"NVIDIA-H100-80GB-HBM3": "2330", "NVIDIA-B200": "2901", "NVIDIA-B2": "", "NVIDIA-H100-80GB": "", "": ""} {
		if d, _ := c.Named(name); d.Device != want {
			t.Errorf("%q is %+v", name, d)
		}
	}
	n, _ := FromCluster(c, Observed{Labels: map[string]string{"nvidia.com/gpu.product": "NVIDIA-B200", "nvidia.com/gpu.count": "8", "nvidia.com/gpu.compute.major": "9", "nvidia.com/gpu.compute.minor": "0"}})
	if g := n.GPUs[0]; g.Device != "" || g.Architecture != "hopper" {
		t.Errorf("labels that contradict the catalogue give %+v", g)
	}
}
