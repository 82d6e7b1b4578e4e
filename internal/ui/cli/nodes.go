package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caisson/caisson/internal/api/yamlfile"
	"github.com/caisson/caisson/internal/bytesize"
	"github.com/caisson/caisson/internal/command/nodes"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/gpu"
	"github.com/caisson/caisson/internal/ui/output"
)

func (a *app) nodes() *cobra.Command {
	var opt nodes.Options
	var format string
	cmd := &cobra.Command{
		Use:   "nodes [flags]",
		Short: "Show the GPUs of nodes and the driver each needs",
		Long: "Show what accelerators nodes have and which driver fits them: a cluster's nodes\n" +
			"by their labels and status, this host with --local, or a captured tree. Nothing\n" +
			"is changed, but that --probe puts a pod on every node of the cluster, reads the\n" +
			"node's own files with it and takes it away again: for nodes without labels.\n" +
			"caisson nodes export -o FILE writes the same to carry it elsewhere.",
		Example: "  caisson nodes\n  caisson nodes --probe --site site.yaml\n  caisson nodes --local -o yaml\n" +
			"  caisson nodes export -o site-nodes.yaml --hash-names",
		Args: a.unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runNodes(cmd, opt, format) },
	}
	nodesFlags(cmd.Flags(), &opt)
	cmd.Flags().StringVarP(&format, "format", "o", formatTable, "how to print them: `table`, json or yaml")
	cmd.AddCommand(a.nodesExport())
	return cmd
}

func (a *app) nodesExport() *cobra.Command {
	var opt nodes.Options
	cmd := &cobra.Command{
		Use:   "export -o SITE-NODES.yaml [flags]",
		Short: "Write what the nodes are like, to choose drivers elsewhere",
		Long: "Write a NodeInventory: systems, kernels, GPUs and drivers of nodes, and nothing\n" +
			"that identifies more. Carry it back to where the stack is resolved.",
		Example: "  caisson nodes export -o site-nodes.yaml --hash-names",
		Args:    args(0, 0, ""),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runNodes(cmd, opt, formatTable) },
	}
	f := cmd.Flags()
	f.StringVarP(&opt.Output, "out", "o", "", "the inventory to write: `SITE-NODES.yaml`")
	f.BoolVar(&opt.HashNames, "hash-names", false, "write hashes in place of the nodes' names")
	nodesFlags(f, &opt)
	require(cmd, "out")
	return cmd
}

// Formats of the nodes.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

func nodesFlags(f *pflag.FlagSet, opt *nodes.Options) {
	f.BoolVar(&opt.Probe, "probe", false, "read the nodes' own files with a pod on each; needs --site")
	f.StringVar(&opt.Site, "site", "", "`SITE.yaml` that names the registry with the probe's image")
	f.StringVar(&opt.Image, "image", "", "`IMAGE` of the probe (default: this caisson's, at the site's registry)")
	f.DurationVar(&opt.Timeout, "timeout", 0, "how long the probe may take (default: 2m)")
	f.BoolVar(&opt.Local, "local", false, "look at this host, not at a cluster")
	f.StringVar(&opt.Sysfs, "sysfs", "", "look at a captured tree: `DIR` with sys, proc and etc in it")
	f.StringVar(&opt.Inventory, "inventory", "", "look at a `FILE` that caisson nodes export wrote")
	f.StringVar(&opt.Operator, "operator-version", "", "release of NVIDIA's gpu-operator, `V` (default: the newest known)")
	f.StringVar(&opt.AMDDriver, "amd-driver", "", "`VERSION` of amdgpu that driver images are built with")
	f.StringVar(&opt.Kubeconfig, "kubeconfig", "", "`FILE` that leads to the cluster (default: KUBECONFIG, ~/.kube/config)")
	f.StringVar(&opt.Context, "context", "", "`NAME` of the context in it (default: the current one)")
}

func (a *app) runNodes(cmd *cobra.Command, opt nodes.Options, format string) error {
	known := []string{formatTable, formatJSON, formatYAML}
	switch {
	case !slices.Contains(known, format):
		return usagef(cmd, "unknown format %q%s: it is table, json or yaml", format, yamlfile.Suggest(format, known))
	case format != formatTable && a.json():
		return usagef(cmd, "--format and --output json both say how to print: give one")
	case opt.Probe && opt.Site == "":
		return usagef(cmd, "--probe needs --site, which says where the probe's image is")
	case !opt.Probe && (opt.Site != "" || opt.Image != "" || opt.Timeout != 0):
		return usagef(cmd, "--site, --image and --timeout are for --probe")
	case opt.Probe && (opt.Local || opt.Sysfs != "" || opt.Inventory != ""):
		return usagef(cmd, "--probe is for a cluster's nodes, not for --local, --sysfs and --inventory")
	}
	ways := 0
	for _, given := range []bool{opt.Local, opt.Sysfs != "", opt.Inventory != "", opt.Kubeconfig != "" || opt.Context != ""} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return usagef(cmd, "of --local, --sysfs, --inventory and --kubeconfig only one can be given")
	}
	opt.Now = time.Now()
	if format != formatTable {
		return a.nodesDocument(cmd, opt, format)
	}
	return a.do(cmd, nodes.Verb, func(ctx context.Context, sink event.Sink) (func(*page), error) {
		res, err := nodes.Run(ctx, opt, sink)
		if err != nil {
			return nil, err
		}
		return func(p *page) { p.nodes(res) }, nil
	})
}

// nodesDocument prints one document, and all else on the error stream.
func (a *app) nodesDocument(cmd *cobra.Command, opt nodes.Options, format string) error {
	out := a.streams.Out
	a.streams.Out = a.streams.Err
	return a.do(cmd, nodes.Verb, func(ctx context.Context, sink event.Sink) (func(*page), error) {
		res, err := nodes.Run(ctx, opt, sink)
		if err != nil {
			return nil, err
		}
		write := res.YAML
		if format == formatJSON {
			write = res.JSON
		}
		text, err := write()
		if err == nil {
			_, err = out.Write(text)
		}
		return nil, err
	})
}

// nodes shows a table of nodes, then the drivers to bring. A single node is shown
// with all that is known of it.
func (p *page) nodes(res nodes.Result) {
	rows := [][]string{{"node", "GPUs", "system", "driver", "needs"}}
	for i, n := range res.Nodes {
		rows = append(rows, nodeRows(n, res.Payloads[i])...)
	}
	p.table(rows)
	if len(res.Nodes) == 1 {
		p.node(res.Nodes[0], res.Payloads[0])
	}
	for _, g := range res.Groups {
		p.group(g)
	}
	if res.Written != "" {
		p.next("caisson nodes --inventory %s", res.Written)
	}
}

// nodeRows is a row for each kind of GPU of a node.
func nodeRows(n gpu.Node, pl gpu.Payload) [][]string {
	system := output.Fit(systemOf(n), 12)
	rows := [][]string{{n.Name, "-", system, "-", "-"}}
	for i, g := range n.GPUs {
		cell := output.Fit(shortGPU(g), 19)
		if i == 0 {
			rows[0] = []string{n.Name, cell, system, output.Fit(driverCell(n.Driver), 15), payloadWords[pl.Kind]}
			continue
		}
		rows = append(rows, []string{"", cell, "", "", ""})
	}
	return rows
}

// payloadWords are the words for kinds of payload.
var payloadWords = map[string]string{
	gpu.NoGPU: "-", gpu.Installed: "nothing", gpu.InTreeDriver: "nothing", gpu.Passthrough: "nothing", gpu.Precompiled: "image",
	gpu.Conventional: "packages", gpu.Built: "building", gpu.None: "NONE",
}

func systemOf(n gpu.Node) string { return strings.TrimSpace(n.OS.ID + " " + n.OS.Version) }

// shortGPU is gpuCell for a narrow column: without the name of the product line.
func shortGPU(g gpu.GPU) string {
	for _, line := range []string{"NVIDIA ", "Tesla ", "Instinct ", "Data Center "} {
		g.Product = strings.TrimPrefix(g.Product, line)
	}
	return strings.Replace(gpuCell(g), ", unknown", " ?", 1)
}

// gpuCell reads 8 x H100 SXM5 80GB.
func gpuCell(g gpu.GPU) string {
	name := g.Product
	switch {
	case name == "" && g.Device == "":
		name = map[string]string{gpu.NVIDIA: "NVIDIA, unknown", gpu.AMD: "AMD, unknown", gpu.Intel: "Intel, unknown"}[g.Vendor]
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

func driverCell(d gpu.Driver) string {
	switch d.State {
	case gpu.DriverInstalled:
		return strings.TrimSpace(d.Version + " " + moduleWords[d.Modules])
	case gpu.DriverInTree:
		return strings.Join(d.Names, ", ")
	case "":
		return "?"
	}
	return d.State
}

var moduleWords = map[string]string{gpu.OpenModules: "open", gpu.ProprietaryModules: "prop"}

// node shows all that is known of one node.
func (p *page) node(n gpu.Node, pl gpu.Payload) {
	p.blank()
	for _, g := range n.GPUs {
		p.line("  %s", output.Clean(gpuLine(g)))
	}
	p.facts(
		[2]string{"kernel", strings.TrimSpace(n.Kernel + " " + n.Arch)},
		[2]string{"runtime", n.Runtime},
		[2]string{"cgroup", figure(n.Cgroup, "v%d")},
		[2]string{"driver", driverLine(n.Driver)},
		[2]string{"NVSwitches", figure(n.Switches, "%d")},
		[2]string{"Secure Boot", n.SecureBoot},
		[2]string{"IOMMU", iommu(n)},
		[2]string{"hugepages", hugePages(n.HugePages)},
		[2]string{"RDMA", adapterNames(n.RDMA)},
		[2]string{"offers", offered(n.Resources)},
		[2]string{"needs", payloadLine(pl)},
	)
}

// iommu is off where the node's own files were read and name no group.
func iommu(n gpu.Node) string {
	if n.IOMMUGroups == 0 && slices.Contains(n.Sources, gpu.FromSysfs) {
		return "off"
	}
	return figure(n.IOMMUGroups, "%d groups")
}

func figure(n int, format string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(format, n)
}

// gpuLine reads 8 x H100 SXM5 80GB, 10de:2330, hopper 9.0, 80 GiB each, MIG, nvidia.
func gpuLine(g gpu.GPU) string {
	parts := []string{gpuCell(g)}
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

func driverLine(d gpu.Driver) string {
	line := strings.Join(append([]string{d.State}, d.Names...), " ")
	if d.State == gpu.DriverNouveau || d.State == gpu.DriverNone {
		line = d.State
	}
	line = strings.TrimSpace(line + " " + d.Version)
	if d.Modules != "" {
		line += ", " + d.Modules + " modules"
	}
	if d.Contained {
		line += ", from a container"
	}
	return line
}

func hugePages(pools []gpu.HugePages) string {
	var out []string
	for _, h := range pools {
		out = append(out, fmt.Sprintf("%d x %s", h.Count, bytesize.Text(int64(h.SizeKiB)<<10)))
	}
	return strings.Join(out, ", ")
}

func adapterNames(list []gpu.RDMA) string {
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

func offered(list []gpu.Resource) string {
	var out []string
	for _, r := range list {
		out = append(out, fmt.Sprintf("%d %s", r.Allocatable, r.Name))
	}
	return strings.Join(out, ", ")
}

func payloadLine(pl gpu.Payload) string {
	switch pl.Kind {
	case gpu.NoGPU:
		return "nothing: no GPU"
	case gpu.None:
		return "a driver, and none fits: see above"
	case gpu.Installed, gpu.InTreeDriver, gpu.Passthrough:
		return "nothing: " + pl.Because
	}
	return pl.Image
}

// group shows one NVIDIADriver: its nodes, its image and what that needs.
func (p *page) group(g gpu.Group) {
	p.blank()
	p.line("%s  for %s", p.style.Bold("NVIDIADriver "+g.Name), output.Count(len(g.Nodes), "node"))
	p.entry("nodes", strings.Join(g.Nodes, ", "))
	p.entry("image", g.Payload.Image)
	p.entry("modules", g.Payload.Modules)
	p.entry("packages", strings.Join(g.Payload.Packages, ", "))
	if g.Payload.Kind == gpu.Precompiled {
		p.entry("check", "the image exists for this very kernel before it is mirrored")
	}
	if other := g.Payload.Instead; other != nil {
		p.entry("or else", other.Image+" with "+strings.Join(other.Packages, ", "))
	}
	if g.Labelled {
		p.entry("label", "its nodes need "+gpu.LabelDriver+" with this name: nothing else tells them apart")
	}
}

// entry writes a label and a text that may take several lines.
func (p *page) entry(label, text string) {
	if text == "" {
		return
	}
	for _, part := range output.Wrap(output.Clean(text), p.width-12) {
		p.line("  %-8s  %s", label, part)
		label = ""
	}
}
