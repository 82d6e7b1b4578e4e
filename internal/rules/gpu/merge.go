package gpu

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/event"
)

// Merge adds to what labels and status say of a node what its probe read there,
// with a finding for each thing on which they differ. The labels' word goes
// before the probe's, and that before the node's status; what nobody else says is
// the probe's. Nothing is counted twice.
func Merge(cluster, probe inventory.Node) (inventory.Node, []event.Finding) {
	m := merger{node: cluster, labelled: slices.Contains(cluster.Sources, inventory.FromLabels)}
	n := &m.node
	n.Sources = addProbe(cluster.Sources)
	m.mergeText("kernel", &n.Kernel, probe.Kernel)
	m.mergeText("architecture", &n.Arch, probe.Arch)
	m.mergeOS(probe.OS)
	m.mergeDriver(probe.Driver)
	n.GPUs = m.mergeGPUs(probe.GPUs)
	n.Cgroup, n.Switches = cmp.Or(n.Cgroup, probe.Cgroup), cmp.Or(n.Switches, probe.Switches)
	n.SecureBoot, n.IOMMUGroups = cmp.Or(n.SecureBoot, probe.SecureBoot), cmp.Or(n.IOMMUGroups, probe.IOMMUGroups)
	n.HugePages, n.RDMA = firstNonEmpty(n.HugePages, probe.HugePages), firstNonEmpty(n.RDMA, probe.RDMA)
	n.Runtime = cmp.Or(n.Runtime, probe.Runtime)
	return m.node, m.found
}

// addProbe puts the probe between labels and status.
func addProbe(have []string) []string {
	i := slices.Index(have, inventory.FromStatus)
	if i < 0 {
		i = len(have)
	}
	return slices.Insert(slices.Clone(have), i, inventory.FromProbe)
}

func firstNonEmpty[E any](a, b []E) []E {
	if len(a) > 0 {
		return a
	}
	return b
}

// merger makes one node of two.
type merger struct {
	node     inventory.Node
	labelled bool // labels told of the system, the GPUs and the driver
	found    []event.Finding
}

const (
	labelsSay = "the labels say"
	statusSay = "the node's status says"
)

// whoSays is who told of what labels can tell.
func (m *merger) whoSays() string {
	if m.labelled {
		return labelsSay
	}
	return statusSay
}

func (m *merger) differ(what, says, said, probed string) {
	hint := "restart the labeller's pod on the node (node or GPU feature discovery)"
	if says == statusSay {
		hint = "restart the node's kubelet or device plugin"
	}
	m.found = append(m.found, event.Finding{Severity: event.Warn, Code: event.CodeSourcesDisagree, Item: m.node.Name,
		What: fmt.Sprintf("node %s: %s: %s %s, the probe says %s", m.node.Name, what, says, said, probed),
		Why:  "one of them is old, and a driver is chosen by it",
		Hint: hint + ", then run caisson nodes --probe again"})
}

// mergeText takes the probe's word for what else the node's status tells.
func (m *merger) mergeText(what string, have *string, probed string) {
	if *have != "" && probed != "" && *have != probed {
		m.differ(what, statusSay, *have, probed)
	}
	*have = cmp.Or(probed, *have)
}

func (m *merger) mergeOS(probed inventory.OS) {
	have := &m.node.OS
	if differs(have.ID, probed.ID) || differs(have.Version, probed.Version) {
		m.differ("system", m.whoSays(), describeOS(*have), describeOS(probed))
		if !m.labelled {
			*have = probed
		}
		return
	}
	have.ID, have.Version, have.OSTree = cmp.Or(have.ID, probed.ID), cmp.Or(have.Version, probed.Version), cmp.Or(have.OSTree, probed.OSTree)
}

func differs(a, b string) bool { return a != "" && b != "" && a != b }

func describeOS(o inventory.OS) string { return strings.TrimSpace(o.ID + " " + o.Version) }

func (m *merger) mergeDriver(probed inventory.Driver) {
	have := &m.node.Driver
	switch {
	case probed.State == "":
	case have.State == "":
		*have = probed
	case have.State != probed.State || !sameVersion(have.Version, probed.Version):
		m.differ("driver", m.whoSays(), describeDriver(*have), describeDriver(probed))
	default:
		have.Names = firstNonEmpty(have.Names, probed.Names)
		have.Version, have.Modules = longerOf(have.Version, probed.Version), cmp.Or(have.Modules, probed.Modules)
		have.Contained = have.Contained || probed.Contained
	}
}

// sameVersion takes 580.95 for 580.95.05: older labels lack the last part.
func sameVersion(a, b string) bool {
	return !differs(a, b) || strings.HasPrefix(a, b+".") || strings.HasPrefix(b, a+".")
}

func longerOf(a, b string) string {
	if len(b) > len(a) {
		return b
	}
	return a
}

func describeDriver(d inventory.Driver) string {
	if d.Version == "" {
		return d.State
	}
	return d.State + " " + d.Version
}

// mergeGPUs merges vendor by vendor: labels may tell of one and be silent of another.
func (m *merger) mergeGPUs(probed []inventory.GPU) []inventory.GPU {
	var out []inventory.GPU
	var done []string
	for _, g := range append(slices.Clone(m.node.GPUs), probed...) {
		if !slices.Contains(done, g.Vendor) {
			done = append(done, g.Vendor)
			out = append(out, m.mergeVendor(filterVendor(m.node.GPUs, g.Vendor), filterVendor(probed, g.Vendor))...)
		}
	}
	return out
}

func filterVendor(list []inventory.GPU, vendor string) []inventory.GPU {
	return slices.DeleteFunc(slices.Clone(list), func(g inventory.GPU) bool { return g.Vendor != vendor })
}

// mergeVendor merges the GPUs of one vendor. Where both agree the probe's are kept,
// which tell more, with what only labels know; where they differ the labels'.
func (m *merger) mergeVendor(labels, probed []inventory.GPU) []inventory.GPU {
	seen := visibleGPUs(probed)
	switch {
	case len(labels) == 0:
		m.compareOffer(seen)
		return probed
	case len(probed) == 0:
		m.differ("GPUs", labelsSay, describeGPUs(labels), "none")
		return labels
	}
	before := len(m.found)
	if n, known := countAll(labels); known {
		p, _ := countAll(seen)
		if p < n && !isLeast(seen) || p > n && !isLeast(labels) {
			m.differ("GPUs", labelsSay, fmt.Sprint(n), fmt.Sprint(p))
		}
	}
	for _, g := range labels {
		if !slices.ContainsFunc(seen, func(other inventory.GPU) bool { return canBeSame(g, other) }) {
			m.differ("product", labelsSay, nameGPU(g), nameGPUs(seen))
		}
	}
	if len(m.found) > before {
		return labels
	}
	return nameByLabels(probed, seen, labels)
}

// compareOffer holds what a device plugin offers against what is there, where no label
// says into how many it cuts each.
func (m *merger) compareOffer(seen []inventory.GPU) {
	n, _ := countAll(seen)
	if n == 0 {
		return
	}
	v, _ := VendorOf(seen[0].Vendor)
	for _, r := range m.node.Resources {
		if r.Name == v.Resources.PerNode && r.Capacity > 0 && r.Capacity%int64(n) != 0 {
			m.differ("GPUs", statusSay, fmt.Sprint(r.Capacity), fmt.Sprint(n))
		}
	}
}

// visibleGPUs are the GPUs that discovery in a container sees: not those of virtual
// machines. A node of virtual functions has nothing else.
func visibleGPUs(list []inventory.GPU) []inventory.GPU {
	seen := slices.DeleteFunc(slices.Clone(list), func(g inventory.GPU) bool { return g.Virtual || isPassedThrough(g) })
	if len(seen) == 0 {
		return list
	}
	return seen
}

func countAll(list []inventory.GPU) (n int, known bool) {
	for _, g := range list {
		if g.Count == 0 {
			return 0, false
		}
		n += g.Count
	}
	return n, true
}

// isLeast says whether there may be more GPUs than are counted.
func isLeast(list []inventory.GPU) bool {
	return slices.ContainsFunc(list, func(g inventory.GPU) bool { return g.AtLeast })
}

// canBeSame says whether two sources can mean the same product. An id that both have
// decides, then the architecture; what one of them does not know decides nothing.
func canBeSame(g, other inventory.GPU) bool {
	if g.Device != "" && other.Device != "" {
		return g.Device == other.Device
	}
	return !differs(g.Architecture, other.Architecture)
}

// nameByLabels gives the probe's only GPU what labels alone know of it.
func nameByLabels(probed, seen, labels []inventory.GPU) []inventory.GPU {
	if len(labels) != 1 || len(seen) != 1 {
		return probed
	}
	out, l := slices.Clone(probed), labels[0]
	for i := range out {
		if g := &out[i]; *g == seen[0] {
			g.Product, g.Architecture, g.Compute = cmp.Or(l.Product, g.Product), cmp.Or(l.Architecture, g.Architecture), cmp.Or(l.Compute, g.Compute)
			g.MemoryGiB, g.MIG = cmp.Or(l.MemoryGiB, g.MemoryGiB), g.MIG || l.MIG
		}
	}
	return out
}

func nameGPUs(list []inventory.GPU) string {
	var out []string
	for _, g := range list {
		out = append(out, nameGPU(g))
	}
	return strings.Join(out, ", ")
}

func describeGPUs(list []inventory.GPU) string {
	if n, known := countAll(list); known {
		return fmt.Sprintf("%d (%s)", n, nameGPUs(list))
	}
	return nameGPUs(list)
}
