package gpu

import (
	"regexp"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/inventory"
)

// Intel is the vendor's PCI id.
const Intel = "8086"

// intelPrefix begins the resources, each of which ends with the name of a module.
const intelPrefix = "gpu.intel.com/"

func intel() Vendor {
	return Vendor{
		ID: Intel, Name: "Intel", Lines: []string{"Data Center "},
		Displays: true, Graphics: true,
		// i915 and xe each count the GPUs that they hold, so none counts all of a node.
		Resources:   Resources{Prefix: intelPrefix, Whole: intelResources()},
		Modules:     intelModules(),
		LabelGPUs:   intelByLabels,
		LabelDriver: intelDriverByLabels,
		Match:       matchIntel,
		NoOperator:  "its driver comes with the kernel, and the device plugins are components like any other",
	}
}

func intelModules() []Module {
	return []Module{
		{Name: "i915", State: inventory.DriverInTree},
		{Name: "xe", State: inventory.DriverInTree},
	}
}

func intelResources() []string { return []string{intelPrefix + "i915", intelPrefix + "xe"} }

var intelLabel = regexp.MustCompile(`^gpu\.intel\.com/device-id\.([0-9a-f]{4})-([0-9a-f]{4})\.count$`)

// intelByLabels takes the labels of node feature discovery's rules for Intel.
func intelByLabels(c *Catalogue, o Observed) []inventory.GPU {
	var out []inventory.GPU
	for key := range o.Labels {
		if m := intelLabel.FindStringSubmatch(key); m != nil {
			g := inventory.GPU{Vendor: Intel, Class: m[1], Device: m[2], Count: o.number(key)}
			out = append(out, c.describe(g))
		}
	}
	slices.SortFunc(out, compareGPUs)
	if len(out) == 0 && o.Labels["intel.feature.node.kubernetes.io/gpu"] == "true" {
		return []inventory.GPU{{Vendor: Intel, Count: o.count(intelResources()...)}}
	}
	return out
}

func intelDriverByLabels(o Observed) inventory.Driver {
	return loadedWhere(intelModules(), func(module string) bool { return o.capacity(intelPrefix+module) > 0 })
}

func matchIntel(c *Catalogue, n inventory.Node, _ Options) inventory.Payload {
	if p, unknown := refuseUnknown(n); unknown {
		return p
	}
	fix := "boot a kernel that has i915 or xe for " + joinIDs(n.Physical())
	if n.Driver.State != inventory.DriverInTree {
		return noPayload("neither i915 nor xe is loaded, and the driver comes with the kernel", fix)
	}
	module, ok := loadedModule(n, intelModules())
	if !ok {
		return noPayload("the kernel drives the GPUs with "+strings.Join(n.Driver.Names, ", "), fix)
	}
	return inventory.Payload{
		Kind: inventory.InTreeDriver, Driver: module, Image: imageref.Ref(c.plugin(Intel)),
		Because: "the kernel's own driver offers " + intelPrefix + module,
	}
}
