package gpu

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
)

// NVIDIA is the vendor's PCI id.
const NVIDIA = "10de"

// partResource begins the resources of parts of a GPU, with site.MIGMixed.
const partResource = "nvidia.com/mig-"

// sharedSuffix ends the name of a resource that the device plugin renames because pods
// share it by time.
const sharedSuffix = ".shared"

// Labels of GPU feature discovery.
const (
	labelNVIDIAProduct = "nvidia.com/gpu.product"
	labelNVIDIACount   = "nvidia.com/gpu.count"
)

// labelMIGState is the label in which the MIG manager says how far it is with what
// site.LabelMIG wants.
const labelMIGState = "nvidia.com/mig.config.state"

// Files that NVIDIA's module and its driver container leave on a host.
const (
	nvidiaVersion       = "proc/driver/nvidia/version"
	nvidiaModuleVersion = "sys/module/nvidia/version"
	nvidiaContainer     = "run/nvidia/validations/.driver-ctr-ready"
)

// nvidia is the vendor. Which driver image a node takes stands in nvidiadriver.go,
// MIG and time slicing in nvidiapolicy.go, the operator in nvidiaoperator.go.
func nvidia() Vendor {
	return Vendor{
		ID: NVIDIA, Name: "NVIDIA", Lines: []string{"NVIDIA ", "Tesla "},
		Displays: true, Discrete: true, SwitchClass: "0680",
		Resources: nvidiaResources(),
		Modules: []Module{
			{Name: "nvidia", State: inventory.DriverInstalled},
			{Name: "nouveau", State: inventory.DriverNouveau},
		},
		HostFiles:    []string{nvidiaVersion, nvidiaModuleVersion, nvidiaContainer},
		HostDriver:   nvidiaOnHost,
		LabelGPUs:    nvidiaByLabels,
		LabelDriver:  nvidiaDriverByLabels,
		CountLabel:   labelNVIDIACount,
		ProductLabel: labelNVIDIAProduct,
		LabelOffer:   nvidiaOfferByLabels,
		Match:        matchNVIDIA,
		Offer:        offerNVIDIA,
		Operator:     nvidiaOperator(),
		Ready: []Readiness{
			{
				Group: "nvidia.com", Kind: "ClusterPolicy", Field: []string{"status", "state"}, Value: "ready",
				Unfit: []string{"NoGPUNodes", "NFDLabelsMissing"},
			},
			{Group: "nvidia.com", Kind: DriverKind, Field: []string{"status", "state"}, Value: "ready"},
		},
	}
}

func nvidiaResources() Resources {
	return Resources{
		Prefix: "nvidia.com/", Whole: []string{site.WholeGPU}, Shared: []string{site.WholeGPU + sharedSuffix},
		Parts: partResource, PerNode: site.WholeGPU,
	}
}

var nvidiaVersionRule = regexp.MustCompile(`\b[0-9]{3}\.[0-9]{1,4}(\.[0-9]{1,4})?\b`)

// nvidiaOnHost reads what NVIDIA's module says about itself.
func nvidiaOnHost(files HostFiles) inventory.Driver {
	text := files[nvidiaVersion]
	if text == "" && !files.has(moduleDirectory("nvidia")) {
		return inventory.Driver{}
	}
	d := inventory.Driver{
		State: inventory.DriverInstalled, Names: []string{"nvidia"}, Version: nvidiaVersionRule.FindString(text),
		Contained: files.has(nvidiaContainer),
	}
	switch {
	case strings.Contains(text, "Open Kernel Module"):
		d.Modules = inventory.OpenModules
	case text != "":
		d.Modules = inventory.ProprietaryModules
	}
	if d.Version == "" {
		d.Version = nvidiaVersionRule.FindString(files[nvidiaModuleVersion])
	}
	return d
}

// nvidiaByLabels takes GPU feature discovery's labels, and failing these what node
// feature discovery saw on the bus.
func nvidiaByLabels(c *Catalogue, o Observed) []inventory.GPU {
	if product := o.Labels[labelNVIDIAProduct]; product != "" {
		return []inventory.GPU{nvidiaDiscovered(c, o, product)}
	}
	if found := o.gpusOnBus(c, NVIDIA, site.WholeGPU); len(found) > 0 {
		return found
	}
	if o.isPresent("pci-10de", "pci-0302_10de", "pci-0300_10de") {
		return []inventory.GPU{{Vendor: NVIDIA, Count: int(o.capacity(site.WholeGPU))}}
	}
	return nil
}

// nvidiaDiscovered is the GPU that GPU feature discovery names. Where all GPUs of a node
// are cut alike, it counts and measures the parts.
func nvidiaDiscovered(c *Catalogue, o Observed, label string) inventory.GPU {
	product, profile := splitProduct(label)
	g := inventory.GPU{
		Vendor: NVIDIA, Product: strings.ReplaceAll(product, "-", " "),
		Count: o.number(labelNVIDIACount), MIG: o.Labels["nvidia.com/mig.capable"] == "true",
	}
	mib, err := strconv.Atoi(o.Labels["nvidia.com/gpu.memory"])
	if err == nil && profile == "" && mib > 0 && mib < 16<<20 {
		g.MemoryGiB = (mib + 512) / 1024
	}
	if major := o.Labels["nvidia.com/gpu.compute.major"]; major != "" {
		g.Compute = inventory.TagWord(major + "." + o.Labels["nvidia.com/gpu.compute.minor"])
		g.Architecture = architectureOf(g.Compute)
	}
	g = c.completeByName(g)
	if profile != "" {
		g.Count = c.countCut(g, profile)
		g.AtLeast = g.Count > 0
	}
	return g
}

// nvidiaLayoutByLabels is the configuration of MIG that the MIG manager has carried out.
func nvidiaLayoutByLabels(o Observed) string {
	if o.Labels[labelMIGState] != "success" {
		return ""
	}
	return o.word(site.LabelMIG)
}

// splitProduct takes off the product's label what GPU feature discovery adds: the profile
// of parts that all GPUs are cut into, and that pods share them by time.
func splitProduct(label string) (product, profile string) {
	product, profile, _ = strings.Cut(strings.TrimSuffix(label, "-SHARED"), "-MIG-")
	return product, readProfile(profile)
}

// readProfile gives a profile the plus sign back that labels and resources write as a dot.
func readProfile(s string) string {
	size, more, found := strings.Cut(s, "gb.")
	if !found {
		return s
	}
	return size + "gb+" + more
}

// countCut is how many GPUs there are at least where g counts parts of a profile; 0 where
// nobody knows.
func (c *Catalogue) countCut(g inventory.GPU, profile string) int {
	most := c.Profiles(g.Vendor, g.Device)[profile]
	if most == 0 {
		return 0
	}
	return (g.Count + most - 1) / most
}

// architectureOf is the architecture of a compute capability; empty where unknown.
func architectureOf(compute string) string {
	exact := map[string]string{
		"7.0": "volta", "7.2": "volta", "7.5": "turing",
		"8.0": "ampere", "8.6": "ampere", "8.7": "ampere", "8.9": "ada", "9.0": "hopper",
	}
	if a := exact[compute]; a != "" {
		return a
	}
	byMajor := map[string]string{"5": "maxwell", "6": "pascal", "10": "blackwell", "12": "blackwell-rtx"}
	return byMajor[majorOf(compute)]
}

func nvidiaDriverByLabels(o Observed) inventory.Driver {
	version := nvidiaVersionByLabels(o)
	if version == "" {
		return inventory.Driver{}
	}
	return inventory.Driver{
		State: inventory.DriverInstalled, Names: []string{"nvidia"}, Version: version,
		Contained: o.Labels["nvidia.com/gpu.deploy.driver"] == "true",
	}
}

func nvidiaVersionByLabels(o Observed) string {
	if v := o.Labels["nvidia.com/cuda.driver-version.full"]; v != "" {
		return nvidiaVersionRule.FindString(v)
	}
	v := o.Labels["nvidia.com/cuda.driver.major"] + "." + o.Labels["nvidia.com/cuda.driver.minor"]
	if rev := o.Labels["nvidia.com/cuda.driver.rev"]; rev != "" {
		v += "." + rev
	}
	return nvidiaVersionRule.FindString(v)
}

// nvidiaOfferByLabels is how many GPUs the node should offer by its labels. Those
// that are cut are offered by profile and cannot be compared.
func nvidiaOfferByLabels(o Observed) (int64, bool) {
	for _, r := range o.Resources {
		if strings.HasPrefix(r.Name, partResource) && r.Capacity > 0 {
			return 0, false
		}
	}
	n := o.number(labelNVIDIACount)
	return int64(n * max(o.number("nvidia.com/gpu.replicas"), 1)), n > 0
}
