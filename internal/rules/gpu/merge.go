package gpu

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/event"
)

// Merge adds to what labels and status say of a node what its probe read there,
// with a finding for each thing on which they differ. The labels' word goes
// before the probe's, and that before the node's status; what nobody else says is
// the probe's. Nothing is counted twice.
func Merge(cluster, probe Node) (Node, []event.Finding) {
	m := merger{node: cluster, labelled: slices.Contains(cluster.Sources, FromLabels)}
	n := &m.node
	n.Sources = sources(cluster.Sources)
	m.text("kernel", &n.Kernel, probe.Kernel)
	m.text("architecture", &n.Arch, probe.Arch)
	m.system(probe.OS)
	m.driver(probe.Driver)
	n.GPUs = m.gpus(probe.GPUs)
	n.Cgroup, n.Switches = cmp.Or(n.Cgroup, probe.Cgroup), cmp.Or(n.Switches, probe.Switches)
	n.SecureBoot, n.IOMMUGroups = cmp.Or(n.SecureBoot, probe.SecureBoot), cmp.Or(n.IOMMUGroups, probe.IOMMUGroups)
	n.HugePages, n.RDMA = either(n.HugePages, probe.HugePages), either(n.RDMA, probe.RDMA)
	n.Runtime = cmp.Or(n.Runtime, probe.Runtime)
	return m.node, m.found
}

// sources puts the probe between labels and status.
func sources(have []string) []string {
	i := slices.Index(have, FromStatus)
	if i < 0 {
		i = len(have)
	}
	return slices.Insert(slices.Clone(have), i, FromProbe)
}

func either[E any](a, b []E) []E {
	if len(a) > 0 {
		return a
	}
	return b
}

// merger makes one node of two.
type merger struct {
	node     Node
	labelled bool // labels told of the system, the GPUs and the driver
	found    []event.Finding
}

const (
	labelsSay = "the labels say"
	statusSay = "the node's status says"
)

// says is who told of what labels can tell.
func (m *merger) says() string {
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

// text takes the probe's word for what else the node's status tells.
func (m *merger) text(what string, have *string, probed string) {
	if *have != "" && probed != "" && *have != probed {
		m.differ(what, statusSay, *have, probed)
	}
	*have = cmp.Or(probed, *have)
}

func (m *merger) system(probed OS) {
	have := &m.node.OS
	if clash(have.ID, probed.ID) || clash(have.Version, probed.Version) {
		m.differ("system", m.says(), have.words(), probed.words())
		if !m.labelled {
			*have = probed
		}
		return
	}
	have.ID, have.Version, have.OSTree = cmp.Or(have.ID, probed.ID), cmp.Or(have.Version, probed.Version), cmp.Or(have.OSTree, probed.OSTree)
}

func clash(a, b string) bool { return a != "" && b != "" && a != b }

func (o OS) words() string { return strings.TrimSpace(o.ID + " " + o.Version) }

func (m *merger) driver(probed Driver) {
	have := &m.node.Driver
	switch {
	case probed.State == "":
	case have.State == "":
		*have = probed
	case have.State != probed.State || !sameVersion(have.Version, probed.Version):
		m.differ("driver", m.says(), have.words(), probed.words())
	default:
		have.Names = either(have.Names, probed.Names)
		have.Version, have.Modules = longer(have.Version, probed.Version), cmp.Or(have.Modules, probed.Modules)
		have.Contained = have.Contained || probed.Contained
	}
}

// sameVersion takes 580.95 for 580.95.05: older labels lack the last part.
func sameVersion(a, b string) bool {
	return !clash(a, b) || strings.HasPrefix(a, b+".") || strings.HasPrefix(b, a+".")
}

func longer(a, b string) string {
	if len(b) > len(a) {
		return b
	}
	return a
}

func (d Driver) words() string {
	if d.Version == "" {
		return d.State
	}
	return d.State + " " + d.Version
}

// gpus merges vendor by vendor: labels may tell of one and be silent of another.
func (m *merger) gpus(probed []GPU) []GPU {
	var out []GPU
	var done []string
	for _, g := range append(slices.Clone(m.node.GPUs), probed...) {
		if !slices.Contains(done, g.Vendor) {
			done = append(done, g.Vendor)
			out = append(out, m.vendor(ofVendor(m.node.GPUs, g.Vendor), ofVendor(probed, g.Vendor))...)
		}
	}
	return out
}

func ofVendor(list []GPU, vendor string) []GPU {
	return slices.DeleteFunc(slices.Clone(list), func(g GPU) bool { return g.Vendor != vendor })
}

// vendor merges the GPUs of one vendor. Where both agree the probe's are kept,
// which tell more, with what only labels know; where they differ the labels'.
func (m *merger) vendor(labels, probed []GPU) []GPU {
	seen := visible(probed)
	switch {
	case len(labels) == 0:
		m.offered(seen)
		return probed
	case len(probed) == 0:
		m.differ("GPUs", labelsSay, gpuWords(labels), "none")
		return labels
	}
	before := len(m.found)
	if n, known := total(labels); known {
		if p, _ := total(seen); p != n {
			m.differ("GPUs", labelsSay, fmt.Sprint(n), fmt.Sprint(p))
		}
	}
	for _, g := range labels {
		if !slices.ContainsFunc(seen, g.like) {
			m.differ("product", labelsSay, gpuName(g), gpuNames(seen))
		}
	}
	if len(m.found) > before {
		return labels
	}
	return named(probed, seen, labels)
}

// offered holds what a device plugin offers against what is there, where no label
// says into how many it cuts each.
func (m *merger) offered(seen []GPU) {
	n, _ := total(seen)
	for _, r := range m.node.Resources {
		if n > 0 && plugins[r.Name] == seen[0].Vendor && r.Capacity > 0 && r.Capacity%int64(n) != 0 {
			m.differ("GPUs", statusSay, fmt.Sprint(r.Capacity), fmt.Sprint(n))
		}
	}
}

// plugins are the resources that stand for whole GPUs of a vendor.
var plugins = map[string]string{"nvidia.com/gpu": NVIDIA, "amd.com/gpu": AMD, "habana.ai/gaudi": Habana}

// visible are the GPUs that discovery in a container sees: not those of virtual
// machines. A node of virtual functions has nothing else.
func visible(list []GPU) []GPU {
	seen := slices.DeleteFunc(slices.Clone(list), func(g GPU) bool { return g.Virtual || g.passed() })
	if len(seen) == 0 {
		return list
	}
	return seen
}

func total(list []GPU) (n int, known bool) {
	for _, g := range list {
		if g.Count == 0 {
			return 0, false
		}
		n += g.Count
	}
	return n, true
}

// like says whether two sources can mean the same product. An id that both have
// decides, then the architecture; what one of them does not know decides nothing.
func (g GPU) like(other GPU) bool {
	if g.Device != "" && other.Device != "" {
		return g.Device == other.Device
	}
	return !clash(g.Architecture, other.Architecture)
}

// named gives the probe's only GPU what labels alone know of it.
func named(probed, seen, labels []GPU) []GPU {
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

func gpuName(g GPU) string { return cmp.Or(g.Product, g.Architecture, g.ID()) }

func gpuNames(list []GPU) string {
	var out []string
	for _, g := range list {
		out = append(out, gpuName(g))
	}
	return strings.Join(out, ", ")
}

func gpuWords(list []GPU) string {
	if n, known := total(list); known {
		return fmt.Sprintf("%d (%s)", n, gpuNames(list))
	}
	return gpuNames(list)
}
