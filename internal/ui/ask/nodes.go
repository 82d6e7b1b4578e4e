package ask

import (
	"fmt"
	"slices"
	"time"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/yamlfile"
	"github.com/caisson/caisson/internal/command/nodes"
)

// Formats that nodes can be printed in.
const (
	FormatTable = "table"
	FormatJSON  = "json"
	FormatYAML  = "yaml"
)

// Nodes are the answers of caisson nodes.
type Nodes struct {
	nodeSource
	Format string
}

// NodesExport are the answers of caisson nodes export.
type NodesExport struct {
	nodeSource
	Out       string
	HashNames bool
}

// nodeSource says where nodes are looked for, and how.
type nodeSource struct {
	Probe           bool
	Site            string
	Image           string
	Timeout         string
	Local           bool
	Sysfs           string
	Inventory       string
	OperatorVersion string
	AMDDriver       string
	Kubeconfig      string
	Context         string
}

func (a *nodeSource) fields() []Field {
	return []Field{
		flagField(&a.Probe, "probe", "read the nodes' own files with a pod on each; needs --site"),
		textField(&a.Site, "site", "`SITE.yaml` that names the registry with the probe's image"),
		textField(&a.Image, "image", "`IMAGE` of the probe (default: this caisson's, at the site's registry)"),
		durationField(&a.Timeout, "timeout", "how long the probe may take (default: 2m)"),
		flagField(&a.Local, "local", "look at this host, not at a cluster"),
		textField(&a.Sysfs, "sysfs", "look at a captured tree: `DIR` with sys, proc and etc in it"),
		textField(&a.Inventory, "inventory", "look at a `FILE` that caisson nodes export wrote"),
		textField(&a.OperatorVersion, "operator-version", "release of NVIDIA's gpu-operator, `V` (default: the newest known)"),
		textField(&a.AMDDriver, "amd-driver", "`VERSION` of amdgpu that driver images are built with"),
		textField(&a.Kubeconfig, "kubeconfig", "`FILE` that leads to the cluster (default: KUBECONFIG, ~/.kube/config)"),
		textField(&a.Context, "context", "`NAME` of the context in it (default: the current one)"),
	}
}

// Form lists what can be said.
func (a *Nodes) Form() Form {
	format := textField(&a.Format, "format", "how to print them: `table`, json or yaml").short("o")
	format.Default = FormatTable
	return Form{Fields: append(a.fields(), format)}
}

// Form lists what can be said.
func (a *NodesExport) Form() Form {
	return Form{Fields: append(a.fields(),
		textField(&a.Out, "out", "the inventory to write: `SITE-NODES.yaml`").short("o").required(),
		flagField(&a.HashNames, "hash-names", "write hashes in place of the nodes' names"),
	)}
}

// Options checks the answers, Format with them.
func (a *Nodes) Options(now time.Time) (nodes.Options, error) {
	c := checkForm(a.Form())
	known := []string{FormatTable, FormatJSON, FormatYAML}
	c.refuseIf(a.Format != "" && !slices.Contains(known, a.Format), "format",
		fmt.Sprintf("unknown format %q%s: it is table, json or yaml", a.Format, yamlfile.Suggest(a.Format, known)))
	a.check(c)
	return finish(c, a.options(now))
}

// Options checks the answers.
func (a *NodesExport) Options(now time.Time) (nodes.Options, error) {
	c := checkForm(a.Form())
	a.check(c)
	opt := a.options(now)
	opt.Output, opt.HashNames = a.Out, a.HashNames
	return finish(c, opt)
}

func (a *nodeSource) check(c *checked) {
	_, err := a.image()
	c.refuseIf(err != nil, "image", fmt.Sprintf("--image: %v", err))
	file := a.Local || a.Sysfs != "" || a.Inventory != ""
	c.refuseIf(a.Probe && a.Site == "", "site", "--probe needs --site, which says where the probe's image is")
	forProbe := a.Site != "" || a.Image != "" || durationOf(a.Timeout) != 0
	c.refuseIf(!a.Probe && forProbe, "probe", "--site, --image and --timeout are for --probe")
	c.refuseIf(a.Probe && file, "probe", "--probe is for a cluster's nodes, not for --local, --sysfs and --inventory")
	ways := 0
	for _, given := range []bool{a.Local, a.Sysfs != "", a.Inventory != "", a.Kubeconfig != "" || a.Context != ""} {
		if given {
			ways++
		}
	}
	c.refuseIf(ways > 1, "", "of --local, --sysfs, --inventory and --kubeconfig only one can be given")
}

// image is the probe's in its whole form, or none where none is given.
func (a *nodeSource) image() (imageref.Ref, error) {
	if a.Image == "" {
		return "", nil
	}
	return imageref.Parse(a.Image)
}

// options are those that printing and exporting share; now says which drivers have
// support.
func (a *nodeSource) options(now time.Time) nodes.Options {
	image, _ := a.image() // checked before
	return nodes.Options{
		Kubeconfig: a.Kubeconfig, Context: a.Context, Local: a.Local, Sysfs: a.Sysfs, Inventory: a.Inventory,
		Probe: a.Probe, Site: a.Site, Image: image, Timeout: durationOf(a.Timeout),
		Operator: a.OperatorVersion, AMDDriver: a.AMDDriver, Now: now,
	}
}
