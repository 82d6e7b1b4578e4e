// Package gpu decides about accelerators: what a PCI id stands for, which driver
// drives it, what a node's own files or a cluster's labels say about it, which
// driver payload a node therefore needs, and what pods can have of it.
//
// It holds two data files, their rules and a table of vendors, each of which has a
// file of its own. It never guesses a product from an id it does not know, never
// talks to a cluster, reads no host, and never runs a program.
package gpu

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
)

// maxCount bounds a number of GPUs that labels tell, which anybody can write who
// may label nodes.
const maxCount = 4096

// PCI classes in four digits.
const (
	classDisplay     = "0300" // VGA
	class3D          = "0302"
	classOtherScreen = "0380"
	classAudio       = "0403"
	classUSB         = "0c03"
	classAccelerator = "1200"
)

// Accelerators picks the accelerators among a host's PCI functions, like ones
// counted together and described, and counts the bridges between them.
func (c *Catalogue) Accelerators(functions []inventory.GPU) (gpus []inventory.GPU, switches int) {
	for _, f := range functions {
		v, known := VendorOf(f.Vendor)
		switch {
		case known && v.SwitchClass != "" && (f.Class == v.SwitchClass || c.IsSwitch(f.Vendor, f.Device)):
			switches++
		case c.accelerates(f):
			gpus = countLike(gpus, c.describe(f))
		}
	}
	slices.SortFunc(gpus, compareGPUs)
	return gpus, switches
}

// accelerates tells GPUs from the functions beside them: audio, USB, bridges, and
// the display of a board's management controller.
func (c *Catalogue) accelerates(g inventory.GPU) bool {
	if len(g.Vendor) != 4 || len(g.Device) != 4 {
		return false
	}
	switch g.Class {
	case classDisplay, class3D, classOtherScreen:
		v, known := VendorOf(g.Vendor)
		return known && v.Displays
	case classAccelerator:
		return true
	}
	_, known := c.Device(g.Vendor, g.Device)
	return known && g.Class != classAudio && g.Class != classUSB
}

// Describe adds to each GPU of the nodes that has an id what the catalogue knows
// of it.
func (c *Catalogue) Describe(nodes []inventory.Node) {
	for _, n := range nodes {
		for i, g := range n.GPUs {
			n.GPUs[i] = c.describe(g)
		}
	}
}

// describe adds what the catalogue knows of an id.
func (c *Catalogue) describe(g inventory.GPU) inventory.GPU {
	d, ok := c.Device(g.Vendor, g.Device)
	if !ok {
		return g
	}
	g.Product, g.Architecture, g.Compute = d.Product, d.Architecture, d.Compute
	g.MemoryGiB, g.MIG = d.MemoryGiB, d.MIG != ""
	return g
}

// countLike adds g to its like.
func countLike(list []inventory.GPU, g inventory.GPU) []inventory.GPU {
	for i, x := range list {
		if x.Count -= list[i].Count; compareGPUs(x, g) == 0 {
			list[i].Count += g.Count
			return list
		}
	}
	return append(list, g)
}

func compareGPUs(a, b inventory.GPU) int {
	return cmp.Or(
		strings.Compare(a.Vendor, b.Vendor), strings.Compare(a.Device, b.Device), strings.Compare(a.Class, b.Class),
		strings.Compare(a.Bound, b.Bound), strings.Compare(strconv.FormatBool(a.Virtual), strconv.FormatBool(b.Virtual)),
	)
}

// isPassedThrough says whether a virtual machine has the GPU.
func isPassedThrough(g inventory.GPU) bool { return g.Bound == "vfio-pci" }

// needsDriver leaves out what virtual machines have, and displays that the
// catalogue does not know and that may be part of a processor.
func needsDriver(g inventory.GPU) bool {
	v, known := VendorOf(g.Vendor)
	display := g.Class == classDisplay && !g.Known() && !(known && v.Discrete)
	return !g.Virtual && !isPassedThrough(g) && !display
}

// vendorsToDrive are the ids of vendors whose GPUs on a node need a driver, sorted.
func vendorsToDrive(n inventory.Node) []string {
	var out []string
	for _, g := range n.Physical() {
		if needsDriver(g) {
			out = append(out, g.Vendor)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func hasVendor(gpus []inventory.GPU, vendor string) bool {
	return slices.ContainsFunc(gpus, func(g inventory.GPU) bool { return g.Vendor == vendor })
}

// nameGPU is the best name that is known of a GPU.
func nameGPU(g inventory.GPU) string { return cmp.Or(g.Product, g.Architecture, g.ID()) }

func joinIDs(gpus []inventory.GPU) string {
	var out []string
	for _, g := range gpus {
		out = append(out, g.ID())
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(out))), ", ")
}
