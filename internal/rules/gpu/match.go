package gpu

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
)

// Options of Match.
type Options struct {
	Operator  string // release of the operator that brings drivers, v26.7.0; empty: the newest known
	Month     string // today's, 2026-11: branches without support are not chosen; empty: all are
	AMDDriver string // version of amdgpu that images are built with
	Driver    string // branch or version of the driver that is wanted; empty: the best
}

// Match says what a node needs. It depends on nothing but its arguments.
func Match(c *Catalogue, n inventory.Node, opt Options) inventory.Payload {
	vendors := vendorsToDrive(n)
	switch {
	case len(vendors) == 0 && slices.ContainsFunc(n.Physical(), isPassedThrough):
		return inventory.Payload{Kind: inventory.Passthrough, Because: "vfio-pci holds the GPUs for virtual machines"}
	case len(vendors) == 0:
		return inventory.Payload{Kind: inventory.NoGPU}
	case len(vendors) > 1:
		return noPayload(
			"the node has GPUs of several vendors: "+strings.Join(vendors, ", "),
			"leave one vendor's to vfio-pci, or drive them by hand",
		)
	}
	if v, known := VendorOf(vendors[0]); known {
		return v.Match(c, n, opt)
	}
	return noPayload(
		"the catalogue knows no driver for "+joinIDs(n.Physical()),
		"install the vendor's driver and device plugin on the node, and leave it out here",
	)
}

func noPayload(because, fix string) inventory.Payload {
	return inventory.Payload{Kind: inventory.NoPayload, Because: because, Fix: fix}
}

// refuseUnknown refuses a node with a GPU that the catalogue does not know.
func refuseUnknown(n inventory.Node) (p inventory.Payload, unknown bool) {
	for _, g := range n.Physical() {
		if needsDriver(g) && g.Device != "" && !g.Known() {
			return refuseGPU(g), true
		}
	}
	return inventory.Payload{}, false
}

func refuseGPU(g inventory.GPU) inventory.Payload {
	return noPayload(
		fmt.Sprintf("the catalogue does not know the GPU %s", g.ID()),
		"install a driver that knows it on the host, or use a newer caisson",
	)
}

// loadedModule is the first module of a node's driver that is one of those.
func loadedModule(n inventory.Node, modules []Module) (string, bool) {
	for _, name := range n.Driver.Names {
		if slices.ContainsFunc(modules, func(m Module) bool { return m.Name == name }) {
			return name, true
		}
	}
	return "", false
}

// plugin is the image that offers a vendor's GPUs to pods where the driver is the
// kernel's own; empty where the catalogue names none.
func (c *Catalogue) plugin(vendor string) string {
	for _, x := range c.Drivers.InTree {
		if x.Vendor == vendor {
			return x.Plugin
		}
	}
	return ""
}
