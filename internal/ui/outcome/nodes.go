package outcome

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/bytesize"
	"github.com/caisson/caisson/internal/command/nodes"
	"github.com/caisson/caisson/internal/rules/gpu"
	"github.com/caisson/caisson/internal/ui/output"
)

// Nodes shows a table of nodes, then the drivers to bring. A single node is shown
// with all that is known of it.
func Nodes(res nodes.Result) (p output.Page) {
	rows := [][]string{{"node", "GPUs", "system", "driver", "needs"}}
	for i, n := range res.Nodes {
		rows = append(rows, rowsOfNode(n, res.Payloads[i])...)
	}
	p.Add(output.Table{Rows: rows})
	if len(res.Nodes) == 1 {
		addNode(&p, res.Nodes[0], res.Payloads[0])
	}
	for _, g := range res.Groups {
		addDriverGroup(&p, g)
	}
	if res.Written != "" {
		p.Next("caisson nodes --inventory %s", res.Written)
	}
	return p
}

// rowsOfNode is a row for each kind of GPU of a node.
func rowsOfNode(n inventory.Node, pl inventory.Payload) [][]string {
	system := output.Fit(systemOf(n), 12)
	rows := [][]string{{n.Name, "-", system, "-", "-"}}
	for i, g := range n.GPUs {
		cell := output.Fit(shortGPU(g), 19)
		if i == 0 {
			rows[0] = []string{n.Name, cell, system, output.Fit(shortDriver(n.Driver), 15), payloadWords[pl.Kind]}
			continue
		}
		rows = append(rows, []string{"", cell, "", "", ""})
	}
	return rows
}

// payloadWords are the words for kinds of payload.
var payloadWords = map[string]string{
	inventory.NoGPU: "-", inventory.Installed: "nothing", inventory.InTreeDriver: "nothing", inventory.Passthrough: "nothing", inventory.Precompiled: "image",
	inventory.Conventional: "packages", inventory.Built: "building", inventory.NoPayload: "NONE",
}

func systemOf(n inventory.Node) string { return strings.TrimSpace(n.OS.ID + " " + n.OS.Version) }

// shortGPU is nameGPU for a narrow column: without the name of the product line.
func shortGPU(g inventory.GPU) string {
	g.Product = gpu.ShortProduct(g.Product)
	return strings.Replace(nameGPU(g), ", unknown", " ?", 1)
}

// nameGPU reads 8 x H100 SXM5 80GB.
func nameGPU(g inventory.GPU) string {
	name := g.Product
	switch {
	case name == "" && g.Device == "":
		if v, known := gpu.VendorOf(g.Vendor); known {
			name = v.Name + ", unknown"
		}
	case name == "":
		name = g.ID() + ", unknown"
	}
	if g.Virtual && !strings.HasSuffix(name, " VF") {
		name += " VF"
	}
	if g.Count == 0 {
		return "? x " + name
	}
	return fmt.Sprintf("%d x %s", g.Count, name)
}

func shortDriver(d inventory.Driver) string {
	switch d.State {
	case inventory.DriverInstalled:
		return strings.TrimSpace(d.Version + " " + moduleWords[d.Modules])
	case inventory.DriverInTree:
		return strings.Join(d.Names, ", ")
	case "":
		return "?"
	}
	return d.State
}

var moduleWords = map[string]string{inventory.OpenModules: "open", inventory.ProprietaryModules: "prop"}

// addNode shows all that is known of one node.
func addNode(p *output.Page, n inventory.Node, pl inventory.Payload) {
	p.Line()
	for _, g := range n.GPUs {
		p.Say("  %s", output.Clean(describeGPU(g)))
	}
	p.Add(output.Facts{
		{Label: "kernel", Value: strings.TrimSpace(n.Kernel + " " + n.Arch)},
		{Label: "runtime", Value: n.Runtime},
		{Label: "cgroup", Value: figure(n.Cgroup, "v%d")},
		{Label: "driver", Value: describeNodeDriver(n.Driver)},
		{Label: "NVSwitches", Value: figure(n.Switches, "%d")},
		{Label: "Secure Boot", Value: n.SecureBoot},
		{Label: "IOMMU", Value: describeIOMMU(n)},
		{Label: "hugepages", Value: describeHugePages(n.HugePages)},
		{Label: "RDMA", Value: describeAdapters(n.RDMA)},
		{Label: "offers", Value: describeResources(n.Resources)},
		{Label: "needs", Value: describePayload(pl)},
	})
}

// describeIOMMU is off where the node's own files were read and name no group.
func describeIOMMU(n inventory.Node) string {
	if n.IOMMUGroups == 0 && slices.Contains(n.Sources, inventory.FromSysfs) {
		return "off"
	}
	return figure(n.IOMMUGroups, "%d groups")
}

// describeGPU reads 8 x H100 SXM5 80GB, 10de:2330, hopper 9.0, 80 GiB each, MIG, nvidia.
func describeGPU(g inventory.GPU) string {
	parts := []string{nameGPU(g)}
	if g.Device != "" && g.Product != "" {
		parts = append(parts, g.ID())
	}
	if g.Architecture != "" {
		parts = append(parts, strings.TrimSpace(g.Architecture+" "+g.Compute))
	}
	if g.MemoryGiB > 0 {
		parts = append(parts, fmt.Sprintf("%d GiB each", g.MemoryGiB))
	}
	if g.MIG {
		parts = append(parts, "MIG")
	}
	if g.Bound != "" {
		parts = append(parts, "held by "+g.Bound)
	}
	return strings.Join(parts, ", ")
}

func describeNodeDriver(d inventory.Driver) string {
	text := strings.Join(append([]string{d.State}, d.Names...), " ")
	if d.State == inventory.DriverNouveau || d.State == inventory.DriverNone {
		text = d.State
	}
	text = strings.TrimSpace(text + " " + d.Version)
	if d.Modules != "" {
		text += ", " + d.Modules + " modules"
	}
	if d.Contained {
		text += ", from a container"
	}
	return text
}

func describeHugePages(pools []inventory.HugePages) string {
	var out []string
	for _, h := range pools {
		out = append(out, fmt.Sprintf("%d x %s", h.Count, bytesize.Text(int64(h.SizeKiB)<<10)))
	}
	return strings.Join(out, ", ")
}

func describeAdapters(list []inventory.RDMA) string {
	var out []string
	for _, r := range list {
		name := r.Name
		if r.Switch {
			name += " (NVLink switch)"
		} else if r.Link != "" {
			name += " (" + r.Link + ")"
		}
		out = append(out, name)
	}
	return strings.Join(out, ", ")
}

func describeResources(list []inventory.Resource) string {
	var out []string
	for _, r := range list {
		out = append(out, fmt.Sprintf("%d %s", r.Allocatable, r.Name))
	}
	return strings.Join(out, ", ")
}

func describePayload(pl inventory.Payload) string {
	switch pl.Kind {
	case inventory.NoGPU:
		return "nothing: no GPU"
	case inventory.NoPayload:
		return "a driver, and none fits: see above"
	case inventory.Installed, inventory.InTreeDriver, inventory.Passthrough:
		return "nothing: " + pl.Because
	}
	return string(pl.Image)
}

// addDriverGroup shows nodes that one driver image serves, and what that image
// needs.
func addDriverGroup(p *output.Page, g inventory.Group) {
	p.Line()
	p.Line(output.Name(gpu.DriverKind+" "+g.Name), output.Say("  for %s", output.Count(len(g.Nodes), "node")))
	addEntry(p, "nodes", strings.Join(g.Nodes, ", "))
	addEntry(p, "image", string(g.Payload.Image))
	addEntry(p, "modules", g.Payload.Modules)
	addEntry(p, "packages", strings.Join(g.Payload.Packages, ", "))
	if g.Payload.Kind == inventory.Precompiled {
		addEntry(p, "check", "the image exists for this very kernel before it is mirrored")
	}
	if other := g.Payload.Instead; other != nil {
		addEntry(p, "or else", other.Image.String()+" with "+strings.Join(other.Packages, ", "))
	}
	if g.Labelled {
		addEntry(p, "label", "its nodes need "+inventory.LabelDriver+" with this name: nothing else tells them apart")
	}
}

// addEntry adds a label and a text that may take several lines.
func addEntry(p *output.Page, label, text string) {
	if text != "" {
		p.Add(output.Paragraph{First: fmt.Sprintf("  %-8s  ", label), Rest: fmt.Sprintf("  %-8s  ", ""), Text: text})
	}
}
