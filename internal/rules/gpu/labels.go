package gpu

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
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
	Resources []inventory.Resource
}

// labelPrefix begins the labels of node feature discovery.
const labelPrefix = "feature.node.kubernetes.io/"

// Labels of node feature discovery that tell of the system.
const (
	labelOS      = labelPrefix + "system-os_release.ID"
	labelVersion = labelPrefix + "system-os_release.VERSION_ID"
	labelOSTree  = labelPrefix + "system-os_release.OSTREE_VERSION"
	labelKernel  = labelPrefix + "kernel-version.full"
	labelArch    = "kubernetes.io/arch"
)

// FromCluster makes a node of labels first and status second. Where they disagree
// a finding names both.
func FromCluster(c *Catalogue, o Observed) (inventory.Node, []event.Finding) {
	n := inventory.Node{
		Name: o.Name, Sources: []string{inventory.FromStatus}, Arch: o.Arch, Kernel: o.Kernel,
		Runtime: readRuntime(o.Runtime), Resources: o.nodeResources(),
	}
	n.OS = inventory.OS{
		ID: o.word(labelOS), Version: o.word(labelVersion), OSTree: o.word(labelOSTree),
	}
	if n.OS.ID == "" || n.OS.Version == "" {
		n.OS = readOSImage(o.OSImage)
	}
	for _, v := range Vendors() {
		n.GPUs = append(n.GPUs, v.LabelGPUs(c, o)...)
		if v.ProductLabel != "" {
			n.Product = cmp.Or(n.Product, o.Labels[v.ProductLabel])
		}
	}
	n.Driver, n.Layout = o.driver(n.GPUs), nvidiaLayoutByLabels(o)
	found := append(o.differences(), unhealthyDevices(n)...)
	if len(n.GPUs) > 0 || o.Labels[labelOS] != "" {
		n.Sources = []string{inventory.FromLabels, inventory.FromStatus}
	}
	return n, found
}

// readRuntime writes containerd://2.1.4 as containerd 2.1.4.
func readRuntime(s string) string { return strings.Replace(s, "://", " ", 1) }

var osImages = []struct {
	rule *regexp.Regexp
	id   string
}{
	{regexp.MustCompile(`^Ubuntu ([0-9]{2}\.[0-9]{2})`), "ubuntu"},
	{regexp.MustCompile(`^Red Hat Enterprise Linux ([0-9]+\.[0-9]+) `), "rhel"},
	{regexp.MustCompile(`^Debian GNU/Linux ([0-9]+)`), "debian"},
	{regexp.MustCompile(`^Rocky Linux ([0-9]+\.[0-9]+)`), "rocky"},
}

// readOSImage reads what kubelet copies from PRETTY_NAME; what has another form
// stays unknown.
func readOSImage(image string) inventory.OS {
	for _, x := range osImages {
		if m := x.rule.FindStringSubmatch(image); m != nil {
			return inventory.OS{ID: x.id, Version: m[1]}
		}
	}
	return inventory.OS{}
}

// nodeResources are the resources that stand for GPUs, adapters and huge pages.
func (o Observed) nodeResources() []inventory.Resource {
	prefixes := []string{"rdma/", "hugepages-"}
	for _, v := range Vendors() {
		prefixes = append(prefixes, v.Resources.Prefix)
	}
	var out []inventory.Resource
	for _, r := range o.Resources {
		begins := func(prefix string) bool { return strings.HasPrefix(r.Name, prefix) }
		if r.Capacity > 0 && slices.ContainsFunc(prefixes, begins) {
			r.Shared = o.countTurns(r.Name)
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b inventory.Resource) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// countTurns is how many pods take turns on what a resource stands for, as GPU feature
// discovery says; 0 where none do.
func (o Observed) countTurns(resource string) int {
	if n := o.number(strings.TrimSuffix(resource, sharedSuffix) + ".replicas"); n > 1 {
		return n
	}
	return 0
}

// capacity adds what the node has of some resources.
func (o Observed) capacity(names ...string) (n int64) {
	for _, r := range o.Resources {
		if slices.Contains(names, r.Name) {
			n += r.Capacity
		}
	}
	return n
}

// count is the capacity, as a number of GPUs.
func (o Observed) count(names ...string) int { return int(min(o.capacity(names...), maxCount)) }

// number reads a label that counts something; 0 where it is no such number.
func (o Observed) number(key string) int {
	n, err := strconv.Atoi(o.Labels[key])
	if err != nil || n < 0 || n > maxCount {
		return 0
	}
	return n
}

func (o Observed) word(key string) string { return inventory.TagWord(o.Labels[key]) }

// isPresent says whether node feature discovery saw one of these on the PCI bus.
func (o Observed) isPresent(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return o.Labels[labelPrefix+name+".present"] == "true"
	})
}

var busLabel = regexp.MustCompile(`^feature\.node\.kubernetes\.io/pci-([0-9a-f]{4})_([0-9a-f]{4})_([0-9a-f]{4})\.present$`)

// gpusOnBus takes labels with class, vendor and device, which node feature
// discovery writes where it is told to. They do not say how many there are: where
// all are of one device, a resource that counts them does.
func (o Observed) gpusOnBus(c *Catalogue, vendor, resource string) []inventory.GPU {
	var out []inventory.GPU
	for key, value := range o.Labels {
		m := busLabel.FindStringSubmatch(key)
		if m == nil || value != "true" || m[2] != vendor {
			continue
		}
		if g := (inventory.GPU{Class: m[1], Vendor: m[2], Device: m[3]}); c.accelerates(g) {
			out = append(out, c.describe(g))
		}
	}
	if len(out) == 1 {
		out[0].Count = o.count(resource)
	}
	slices.SortFunc(out, compareGPUs)
	return out
}

// driver finds what the labels and the resources say about the driver of GPUs.
func (o Observed) driver(gpus []inventory.GPU) inventory.Driver {
	var names []string
	for _, v := range Vendors() {
		d := v.LabelDriver(o)
		switch {
		case d.State == inventory.DriverInstalled:
			return d
		case hasVendor(gpus, v.ID):
			names = append(names, d.Names...)
		}
	}
	if len(names) == 0 {
		return inventory.Driver{}
	}
	return inventory.Driver{State: inventory.DriverInTree, Names: names}
}

// loadedWhere is a driver of the kernel's own whose modules those are that a
// condition holds for.
func loadedWhere(modules []Module, loaded func(module string) bool) inventory.Driver {
	var d inventory.Driver
	for _, m := range modules {
		if m.State == inventory.DriverInTree && loaded(m.Name) {
			d.State, d.Names = m.State, append(d.Names, m.Name)
		}
	}
	return d
}

// differences compares what labels say with the node's status.
func (o Observed) differences() []event.Finding {
	var out []event.Finding
	differ := func(what, label, said, status string) {
		out = append(out, event.Finding{
			Severity: event.Warn, Code: event.CodeSourcesDisagree, Item: o.Name,
			What: fmt.Sprintf("node %s: %s: the label %s says %s, the node's status says %s", o.Name, what, label, said, status),
			Why:  "one of them is old, and a driver is chosen by it",
			Hint: "restart the labeller's pod on the node (node or GPU feature discovery), then run caisson nodes again",
		})
	}
	if l := o.Labels[labelKernel]; l != "" && o.Kernel != "" && l != o.Kernel {
		differ("kernel", labelKernel, l, o.Kernel)
	}
	if l := o.Labels[labelArch]; l != "" && o.Arch != "" && l != o.Arch {
		differ("architecture", labelArch, l, o.Arch)
	}
	for _, v := range Vendors() {
		if v.LabelOffer == nil {
			continue
		}
		have := o.capacity(slices.Concat(v.Resources.Whole, v.Resources.Shared)...)
		if want, known := v.LabelOffer(o); known && want != have {
			differ("GPUs", v.CountLabel, fmt.Sprint(want), fmt.Sprint(have))
		}
	}
	return out
}

// unhealthyDevices finds resources of which pods get fewer than there are.
func unhealthyDevices(n inventory.Node) []event.Finding {
	var out []event.Finding
	for _, r := range n.Resources {
		if !strings.Contains(r.Name, "/") || r.Allocatable >= r.Capacity {
			continue
		}
		out = append(out, event.Finding{
			Severity: event.Warn, Code: event.CodeUnhealthyDevices, Item: n.Name,
			What: fmt.Sprintf("node %s: %s: capacity is %d, but only %d can be had", n.Name, r.Name, r.Capacity, r.Allocatable),
			Why:  "the device plugin holds the others for broken",
			Hint: "look at the log of the device plugin's pod on the node",
		})
	}
	return out
}

// completeByName adds what the catalogue knows of a GPU by its name, unless the
// labels place it in another architecture.
func (c *Catalogue) completeByName(g inventory.GPU) inventory.GPU {
	d, ok := c.Named(g.Product)
	if !ok || (g.Architecture != "" && g.Architecture != d.Architecture) {
		return g
	}
	g.Device, g.Architecture, g.MIG = d.Device, d.Architecture, g.MIG || d.MIG != ""
	g.Compute = cmp.Or(g.Compute, d.Compute)
	g.MemoryGiB = cmp.Or(g.MemoryGiB, d.MemoryGiB)
	return g
}
