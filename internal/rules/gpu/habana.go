package gpu

import (
	"cmp"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/inventory"
)

// Habana is the PCI id of the vendor of Gaudi, which is Intel's.
const Habana = "1da3"

const (
	habanaModule   = "habanalabs"
	habanaResource = "habana.ai/gaudi"
	habanaCount    = "habana.ai/device.count" // label of Gaudi's feature discovery
)

func habana() Vendor {
	return Vendor{
		ID: Habana, Name: "Habana",
		Discrete:    true,
		Resources:   Resources{Prefix: "habana.ai/", Whole: []string{habanaResource}, PerNode: habanaResource},
		Modules:     habanaModules(),
		LabelGPUs:   habanaByLabels,
		LabelDriver: habanaDriverByLabels,
		CountLabel:  habanaCount,
		LabelOffer:  func(o Observed) (int64, bool) { n := o.number(habanaCount); return int64(n), n > 0 },
		Match:       matchHabana,
		NoOperator: "its operator runs an installer on the node that downloads the driver, which needs a network, " +
			"so the driver has to be the host's; the device plugin is a component like any other",
	}
}

func habanaModules() []Module { return []Module{{Name: habanaModule, State: inventory.DriverInTree}} }

// habanaByLabels takes what node feature discovery saw on the bus, and failing this
// what Gaudi's feature discovery counted. How many there are the device plugin says
// first.
func habanaByLabels(c *Catalogue, o Observed) []inventory.GPU {
	if found := o.gpusOnBus(c, Habana, habanaResource); len(found) > 0 {
		return found
	}
	if !o.isPresent("pci-1da3", "pci-1200_1da3") && o.number(habanaCount) == 0 {
		return nil
	}
	return []inventory.GPU{{Vendor: Habana, Count: cmp.Or(o.count(habanaResource), o.number(habanaCount))}}
}

func habanaDriverByLabels(o Observed) inventory.Driver {
	return loadedWhere(habanaModules(), func(string) bool {
		return o.Labels["habana.ai/driver.version"] != "" || o.capacity(habanaResource) > 0
	})
}

func matchHabana(c *Catalogue, n inventory.Node, _ Options) inventory.Payload {
	if p, unknown := refuseUnknown(n); unknown {
		return p
	}
	if module, ok := loadedModule(n, habanaModules()); ok {
		return inventory.Payload{
			Kind: inventory.InTreeDriver, Driver: module, Image: imageref.Ref(c.plugin(Habana)),
			Because: "habanalabs is loaded: the device plugin offers " + habanaResource,
		}
	}
	return noPayload(
		"habanalabs is not loaded, and no image brings it without a network",
		"install Gaudi's driver on the host and load it (modprobe habanalabs) for "+joinIDs(n.Physical()),
	)
}
