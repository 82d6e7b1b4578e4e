package gpu

import (
	"fmt"
	"slices"
	"strings"
)

func (c *Catalogue) inTree(vendor string) InTree {
	for _, x := range c.Drivers.InTree {
		if x.Vendor == vendor {
			return x
		}
	}
	return InTree{}
}

// amdRepository is where an image of AMD's driver is looked for unless the site
// says otherwise; none is published there.
const amdRepository = "docker.io/rocm/amdgpu-driver"

func (c *Catalogue) matchAMD(n Node, opt Options) Payload {
	if p, bad := c.firstUnknown(n); bad {
		return p
	}
	if n.Driver.State == DriverInTree {
		return Payload{Kind: InTreeDriver, Driver: "amdgpu", Image: c.inTree(AMD).Plugin,
			Because: "amdgpu is loaded: the DeviceConfig says driver.enable: false"}
	}
	fix := "load the kernel's own module (modprobe amdgpu) and set driver.enable: false"
	if n.OS.ID != "ubuntu" || n.Kernel == "" {
		return none("amdgpu is not loaded, and the operator would build it in the cluster, which needs a network", fix)
	}
	if opt.AMDDriver == "" {
		return none("amdgpu is not loaded, and the operator would build it in the cluster from docker.io/ubuntu and repo.radeon.com, which needs a network",
			fix+"; or build the image where there is a network and name its driver: --amd-driver VERSION")
	}
	return Payload{Kind: Built, Driver: opt.AMDDriver, Image: fmt.Sprintf("%s:ubuntu-%s-%s-%s", amdRepository, n.OS.Version, n.Kernel, opt.AMDDriver),
		Because: "amdgpu is not loaded, and no image of it is published", Fix: "build this image where there is a network, and push it to the site's registry"}
}

func (c *Catalogue) matchIntel(n Node) Payload {
	if p, bad := c.firstUnknown(n); bad {
		return p
	}
	x := c.inTree(Intel)
	if n.Driver.State != DriverInTree {
		return none("neither i915 nor xe is loaded, and the driver comes with the kernel", "boot a kernel that has i915 or xe for "+ids(n.Physical()))
	}
	driver := slices.IndexFunc(n.Driver.Names, func(m string) bool { return slices.Contains(x.Modules, m) })
	if driver < 0 {
		return none("the kernel drives the GPUs with "+strings.Join(n.Driver.Names, ", "), "boot a kernel that has i915 or xe for "+ids(n.Physical()))
	}
	name := n.Driver.Names[driver]
	return Payload{Kind: InTreeDriver, Driver: name, Image: x.Plugin, Because: "the kernel's own driver offers gpu.intel.com/" + name}
}

// firstUnknown refuses a GPU that the catalogue does not know.
func (c *Catalogue) firstUnknown(n Node) (Payload, bool) {
	for _, g := range n.Physical() {
		if g.needsDriver() && g.Device != "" && !g.Known() {
			return none("the catalogue does not know the GPU "+g.ID(), "install a driver that knows it on the host, or use a newer caisson"), true
		}
	}
	return Payload{}, false
}
