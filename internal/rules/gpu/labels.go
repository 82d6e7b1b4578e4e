package gpu

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caisson/caisson/internal/event"
)

// Observed is what a cluster says about a node: its labels, and its status.
type Observed struct {
	Name      string
	Labels    map[string]string
	Kernel    string // status.nodeInfo
	OSImage   string
	Runtime   string // containerd://2.1.4
	Arch      string
	Resources []Resource
}

// FromCluster makes a node of labels first and status second. Where they disagree
// a finding names both.
func FromCluster(c *Catalogue, o Observed) (Node, []event.Finding) {
	n := Node{Name: o.Name, Sources: []string{FromStatus}, Arch: o.Arch, Kernel: o.Kernel, Runtime: runtimeOf(o.Runtime), Resources: o.accelerators()}
	n.OS = OS{ID: word(o.Labels[labelOS]), Version: word(o.Labels[labelVersion]), OSTree: word(o.Labels[labelOSTree])}
	if n.OS.ID == "" || n.OS.Version == "" {
		n.OS = osOf(o.OSImage)
	}
	n.GPUs = o.gpus(c)
	n.Driver = o.driver(n)
	found := o.disagree(&n)
	if len(n.GPUs) > 0 || o.Labels[labelOS] != "" {
		n.Sources = []string{FromLabels, FromStatus}
	}
	return n, found
}

func word(s string) string { return unquote(s) }

// runtimeOf writes containerd://2.1.4 as containerd 2.1.4.
func runtimeOf(s string) string { return strings.Replace(s, "://", " ", 1) }

var osImages = []struct {
	rule *regexp.Regexp
	id   string
}{
	{regexp.MustCompile(`^Ubuntu ([0-9]{2}\.[0-9]{2})`), "ubuntu"},
	{regexp.MustCompile(`^Red Hat Enterprise Linux ([0-9]+\.[0-9]+) `), "rhel"},
	{regexp.MustCompile(`^Debian GNU/Linux ([0-9]+)`), "debian"},
	{regexp.MustCompile(`^Rocky Linux ([0-9]+\.[0-9]+)`), "rocky"},
}

// osOf reads what kubelet copies from PRETTY_NAME; what has another form stays
// unknown.
func osOf(image string) OS {
	for _, x := range osImages {
		if m := x.rule.FindStringSubmatch(image); m != nil {
			return OS{ID: x.id, Version: m[1]}
		}
	}
	return OS{}
}

// accelerators are the resources that stand for GPUs, adapters and huge pages.
func (o Observed) accelerators() []Resource {
	var out []Resource
	for _, r := range o.Resources {
		for _, prefix := range []string{"nvidia.com/", "amd.com/", "gpu.intel.com/", "habana.ai/", "rdma/", "hugepages-"} {
			if strings.HasPrefix(r.Name, prefix) && r.Capacity > 0 {
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, func(a, b Resource) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (o Observed) capacity(names ...string) (n int64) {
	for _, r := range o.Resources {
		if slices.Contains(names, r.Name) {
			n += r.Capacity
		}
	}
	return n
}

// gpus reads the labels of every vendor.
func (o Observed) gpus(c *Catalogue) []GPU {
	out := append(o.nvidia(c), o.amd(c)...)
	return append(out, o.intel(c)...)
}

// Bounds on numbers in labels, which anybody can write who may label nodes.
const maxCount = 4096

func (o Observed) number(key string) int {
	n, err := strconv.Atoi(o.Labels[key])
	if err != nil || n < 0 || n > maxCount {
		return 0
	}
	return n
}

// nvidia takes GPU feature discovery's labels, and failing these what node feature
// discovery saw on the bus.
func (o Observed) nvidia(c *Catalogue) []GPU {
	if product := o.Labels["nvidia.com/gpu.product"]; product != "" {
		return []GPU{o.discovered(c, product)}
	}
	if found := o.onBus(c, NVIDIA); len(found) > 0 {
		return found
	}
	for _, key := range []string{"pci-10de", "pci-0302_10de", "pci-0300_10de"} {
		if o.Labels["feature.node.kubernetes.io/"+key+".present"] == "true" {
			return []GPU{{Vendor: NVIDIA, Count: int(o.capacity("nvidia.com/gpu"))}}
		}
	}
	return nil
}

// discovered is the GPU that GPU feature discovery names.
func (o Observed) discovered(c *Catalogue, product string) GPU {
	product, _, _ = strings.Cut(product, "-MIG-")
	g := GPU{Vendor: NVIDIA, Product: strings.ReplaceAll(strings.TrimSuffix(product, "-SHARED"), "-", " "), Count: o.number("nvidia.com/gpu.count"),
		MIG: o.Labels["nvidia.com/mig.capable"] == "true"}
	if mib, err := strconv.Atoi(o.Labels["nvidia.com/gpu.memory"]); err == nil && mib > 0 && mib < 16<<20 {
		g.MemoryGiB = (mib + 512) / 1024
	}
	if major := o.Labels["nvidia.com/gpu.compute.major"]; major != "" {
		g.Compute = word(major + "." + o.Labels["nvidia.com/gpu.compute.minor"])
		g.Architecture = ofCompute(g.Compute)
	}
	return g.complete(c)
}

// complete adds what the catalogue knows of a GPU by its name, unless the labels
// place it in another architecture.
func (g GPU) complete(c *Catalogue) GPU {
	d, ok := c.Named(g.Product)
	if !ok || (g.Architecture != "" && g.Architecture != d.Architecture) {
		return g
	}
	g.Device, g.Architecture, g.MIG = d.Device, d.Architecture, g.MIG || d.MIG != ""
	g.Compute = cmp.Or(g.Compute, d.Compute)
	g.MemoryGiB = cmp.Or(g.MemoryGiB, d.MemoryGiB)
	return g
}

// ofCompute is the architecture of a compute capability; empty where unknown.
func ofCompute(cc string) string {
	exact := map[string]string{"7.0": "volta", "7.2": "volta", "7.5": "turing", "8.0": "ampere", "8.6": "ampere", "8.7": "ampere", "8.9": "ada", "9.0": "hopper"}
	if a := exact[cc]; a != "" {
		return a
	}
	return map[string]string{"5": "maxwell", "6": "pascal", "10": "blackwell", "12": "blackwell-rtx"}[major(cc)]
}

var busLabel = regexp.MustCompile(`^feature\.node\.kubernetes\.io/pci-([0-9a-f]{4})_([0-9a-f]{4})_([0-9a-f]{4})\.present$`)

// onBus takes labels with class, vendor and device, which node feature discovery
// writes where it is told to. They do not say how many there are.
func (o Observed) onBus(c *Catalogue, vendor string) []GPU {
	var out []GPU
	for key, value := range o.Labels {
		m := busLabel.FindStringSubmatch(key)
		if m == nil || value != "true" || m[2] != vendor {
			continue
		}
		if g := (GPU{Class: m[1], Vendor: m[2], Device: m[3]}); g.accelerates(c) {
			out = append(out, c.describe(g))
		}
	}
	if len(out) == 1 {
		out[0].Count = int(min(o.capacity("nvidia.com/gpu"), maxCount))
	}
	slices.SortFunc(out, compare)
	return out
}

func (o Observed) amd(c *Catalogue) []GPU {
	if o.Labels["feature.node.kubernetes.io/amd-gpu"] != "true" && o.Labels["amd.com/gpu.device-id"] == "" {
		return nil
	}
	g := GPU{Vendor: AMD, Count: int(min(o.capacity("amd.com/gpu"), maxCount))}
	if id := hex(o.Labels["amd.com/gpu.device-id"]); len(id) == 4 {
		g.Device = id
		g = c.describe(g)
	}
	if g.Product == "" {
		g.Product = strings.ReplaceAll(o.Labels["amd.com/gpu.product-name"], "_", " ")
	}
	return []GPU{g}
}

var intelLabel = regexp.MustCompile(`^gpu\.intel\.com/device-id\.([0-9a-f]{4})-([0-9a-f]{4})\.count$`)

func (o Observed) intel(c *Catalogue) []GPU {
	var out []GPU
	for key := range o.Labels {
		if m := intelLabel.FindStringSubmatch(key); m != nil {
			out = append(out, c.describe(GPU{Vendor: Intel, Class: m[1], Device: m[2], Count: o.number(key)}))
		}
	}
	slices.SortFunc(out, compare)
	if len(out) == 0 && o.Labels["intel.feature.node.kubernetes.io/gpu"] == "true" {
		out = []GPU{{Vendor: Intel, Count: int(min(o.capacity("gpu.intel.com/i915", "gpu.intel.com/xe"), maxCount))}}
	}
	return out
}

// driver finds what the labels and the resources say about it.
func (o Observed) driver(n Node) Driver {
	if v := o.driverVersion(); v != "" {
		return Driver{State: DriverInstalled, Names: []string{"nvidia"}, Version: v, Contained: o.Labels["nvidia.com/gpu.deploy.driver"] == "true"}
	}
	d := Driver{State: DriverInTree}
	if drives("amdgpu", n.GPUs) && (o.Labels["amd.com/gpu.driver-version"] != "" || o.capacity("amd.com/gpu") > 0) {
		d.Names = []string{"amdgpu"}
	}
	for _, name := range []string{"i915", "xe"} {
		if drives(name, n.GPUs) && o.capacity("gpu.intel.com/"+name) > 0 {
			d.Names = append(d.Names, name)
		}
	}
	if len(d.Names) == 0 {
		return Driver{}
	}
	return d
}

func (o Observed) driverVersion() string {
	if v := o.Labels["nvidia.com/cuda.driver-version.full"]; v != "" {
		return driverVersion.FindString(v)
	}
	v := o.Labels["nvidia.com/cuda.driver.major"] + "." + o.Labels["nvidia.com/cuda.driver.minor"]
	if rev := o.Labels["nvidia.com/cuda.driver.rev"]; rev != "" {
		v += "." + rev
	}
	return driverVersion.FindString(v)
}

// disagree compares the sources. Of two kernels the running one is kept.
func (o Observed) disagree(n *Node) []event.Finding {
	var out []event.Finding
	differ := func(what, label, said, status string) {
		out = append(out, event.Finding{Severity: event.Warn, Code: event.CodeSourcesDisagree, Item: o.Name,
			What: fmt.Sprintf("node %s: %s: the label %s says %s, the node's status says %s", o.Name, what, label, said, status),
			Why:  "one of them is old, and a driver is chosen by it",
			Hint: "restart the labeller's pod on the node (node or GPU feature discovery), then run caisson nodes again"})
	}
	if l := o.Labels[labelKernel]; l != "" && o.Kernel != "" && l != o.Kernel {
		differ("kernel", labelKernel, l, o.Kernel)
	}
	if l := o.Labels[labelArch]; l != "" && o.Arch != "" && l != o.Arch {
		differ("architecture", labelArch, l, o.Arch)
	}
	if want, ok := o.expected(); ok && want != o.capacity("nvidia.com/gpu", "nvidia.com/gpu.shared") {
		differ("GPUs", "nvidia.com/gpu.count", fmt.Sprint(want), fmt.Sprint(o.capacity("nvidia.com/gpu", "nvidia.com/gpu.shared")))
	}
	for _, r := range n.Resources {
		if strings.Contains(r.Name, "/") && r.Allocatable < r.Capacity {
			out = append(out, event.Finding{Severity: event.Warn, Code: event.CodeUnhealthyDevices, Item: o.Name,
				What: fmt.Sprintf("node %s: %s: capacity is %d, but only %d can be had", o.Name, r.Name, r.Capacity, r.Allocatable),
				Why:  "the device plugin holds the others for broken", Hint: "look at the log of the device plugin's pod on the node"})
		}
	}
	return out
}

// expected is how many GPUs the node should offer by its labels. Cut ones are
// offered by profile and cannot be compared.
func (o Observed) expected() (int64, bool) {
	n := o.number("nvidia.com/gpu.count")
	for _, r := range o.Resources {
		if strings.HasPrefix(r.Name, "nvidia.com/mig-") && r.Capacity > 0 {
			return 0, false
		}
	}
	return int64(n * max(o.number("nvidia.com/gpu.replicas"), 1)), n > 0
}
