package gpu

import (
	"fmt"
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/inventory"
)

// AMD is the vendor's PCI id.
const AMD = "1002"

const (
	amdModule   = "amdgpu"
	amdResource = "amd.com/gpu"
	// labelAMDProduct is one of AMD's node labeller.
	labelAMDProduct = "amd.com/gpu.product-name"
	// amdRepository is where an image of AMD's driver is looked for unless the site
	// says otherwise; none is published there.
	amdRepository = "docker.io/rocm/amdgpu-driver"
)

func amd() Vendor {
	return Vendor{
		ID: AMD, Name: "AMD", Lines: []string{"Instinct "},
		Displays:     true,
		Resources:    Resources{Prefix: "amd.com/", Whole: []string{amdResource}, PerNode: amdResource},
		Modules:      amdModules(),
		LabelGPUs:    amdByLabels,
		LabelDriver:  amdDriverByLabels,
		ProductLabel: labelAMDProduct,
		Match:        matchAMD,
		NoOperator: "its driver is the kernel's own, or one that its operator builds in the cluster, " +
			"and what the operator deploys the stack's own values say",
		Ready: []Readiness{{
			Group: "amd.com", Kind: "DeviceConfig",
			Counts: []string{"devicePlugin", "driver", "metricsExporter", "configManager"},
		}},
	}
}

func amdModules() []Module { return []Module{{Name: amdModule, State: inventory.DriverInTree}} }

// amdByLabels takes the label of node feature discovery's rule for AMD, and what
// AMD's own labeller tells.
func amdByLabels(c *Catalogue, o Observed) []inventory.GPU {
	const deviceID = "amd.com/gpu.device-id"
	if o.Labels[labelPrefix+"amd-gpu"] != "true" && o.Labels[deviceID] == "" {
		return nil
	}
	g := inventory.GPU{Vendor: AMD, Count: o.count(amdResource)}
	if id := inventory.HexDigits(o.Labels[deviceID]); len(id) == 4 {
		g.Device = id
		g = c.describe(g)
	}
	if g.Product == "" {
		g.Product = strings.ReplaceAll(o.Labels[labelAMDProduct], "_", " ")
	}
	return []inventory.GPU{g}
}

func amdDriverByLabels(o Observed) inventory.Driver {
	return loadedWhere(amdModules(), func(string) bool {
		return o.Labels["amd.com/gpu.driver-version"] != "" || o.capacity(amdResource) > 0
	})
}

func matchAMD(c *Catalogue, n inventory.Node, opt Options) inventory.Payload {
	if p, unknown := refuseUnknown(n); unknown {
		return p
	}
	if n.Driver.State == inventory.DriverInTree {
		return inventory.Payload{
			Kind: inventory.InTreeDriver, Driver: amdModule, Image: imageref.Ref(c.plugin(AMD)),
			Because: "amdgpu is loaded: the DeviceConfig says driver.enable: false",
		}
	}
	fix := "load the kernel's own module (modprobe amdgpu) and set driver.enable: false"
	if n.OS.ID != "ubuntu" || n.Kernel == "" {
		return noPayload("amdgpu is not loaded, and the operator would build it in the cluster, which needs a network", fix)
	}
	if opt.AMDDriver == "" {
		return noPayload(
			"amdgpu is not loaded, and the operator would build it in the cluster from docker.io/ubuntu and repo.radeon.com, which needs a network",
			fix+"; or build the image where there is a network and name its driver: --amd-driver VERSION",
		)
	}
	return inventory.Payload{
		Kind: inventory.Built, Driver: opt.AMDDriver,
		Image:   imageref.Ref(fmt.Sprintf("%s:ubuntu-%s-%s-%s", amdRepository, n.OS.Version, n.Kernel, opt.AMDDriver)),
		Because: "amdgpu is not loaded, and no image of it is published",
		Fix:     "build this image where there is a network, and push it to the site's registry",
	}
}
