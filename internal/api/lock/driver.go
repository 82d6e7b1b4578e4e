package lock

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
)

// Bounds on drivers.
const (
	maxDrivers  = 1000
	maxPackages = 1000 // of one driver
)

// Driver is what drives the GPUs of some nodes of the site that a stack was
// resolved for.
type Driver struct {
	Name     string       `yaml:"name"`               // of these nodes' NVIDIADriver
	Nodes    int          `yaml:"nodes"`              // how many there are
	Image    imageref.Ref `yaml:"image"`              // item ref
	Version  string       `yaml:"version"`            // of the driver; its branch where the image is for one kernel
	Modules  string       `yaml:"modules,omitempty"`  // open or proprietary
	OS       string       `yaml:"os"`                 // ubuntu22.04
	Kernels  []string     `yaml:"kernels,omitempty"`  // of the nodes, sorted
	Packages []string     `yaml:"packages,omitempty"` // that the image wants from a package repository when it starts, sorted; the bundle has none of them
}

func (d *Driver) normalize() {
	slices.Sort(d.Kernels)
	slices.Sort(d.Packages)
	d.Kernels, d.Packages = slices.Compact(d.Kernels), slices.Compact(d.Packages)
}

// checkDrivers checks the list, whose names are unique and sorted.
func (c *checker) checkDrivers() {
	if len(c.l.Drivers) > maxDrivers {
		c.problem("drivers", "are %d, more than %d", len(c.l.Drivers), maxDrivers)
		return
	}
	for i := range c.l.Drivers {
		c.checkDriver(fmt.Sprintf("drivers[%d]", i), &c.l.Drivers[i])
	}
	if !slices.IsSortedFunc(c.l.Drivers, compareDrivers) {
		c.problem("drivers", "are not sorted by name")
	}
}

func compareDrivers(a, b Driver) int { return strings.Compare(a.Name, b.Name) }

func (c *checker) checkDriver(at string, d *Driver) {
	c.checkText(at+".name", d.Name, true)
	c.checkText(at+".version", d.Version, true)
	c.checkText(at+".os", d.OS, true)
	c.checkText(at+".modules", d.Modules, false)
	if d.Nodes < 1 {
		c.problem(at+".nodes", "%d is not a number of nodes", d.Nodes)
	}
	if i, ok := c.refs[d.Image]; !ok || c.l.Items[i].Kind != Image {
		c.problem(at+".image", "%q is not an image of the lock", d.Image)
	}
	if len(d.Kernels) > maxPackages || len(d.Packages) > maxPackages {
		c.problem(at, "has more than %d kernels or packages", maxPackages)
		return
	}
	sortedNames(c, at+".kernels", d.Kernels)
	sortedNames(c, at+".packages", d.Packages)
}
