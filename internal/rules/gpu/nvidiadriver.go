package gpu

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/inventory"
)

// Architecture is a generation of NVIDIA's GPUs.
type Architecture struct {
	Name      string   `yaml:"name"`
	Modules   []string `yaml:"modules"`
	FirstCUDA int      `yaml:"firstCUDA"` // major
	LastCUDA  int      `yaml:"lastCUDA"`  // major; 0: no end
	Source    string   `yaml:"source"`
}

// Branch is a line of NVIDIA's driver.
type Branch struct {
	Branch  int      `yaml:"branch"`
	Kind    string   `yaml:"kind"` // long-term, production, new-feature
	EOL     string   `yaml:"eol"`  // month, 2028-06
	CUDAMax int      `yaml:"cudaMax"`
	First   string   `yaml:"first"` // architecture
	Last    string   `yaml:"last"`
	Modules []string `yaml:"modules"`
	Source  string   `yaml:"source"`
}

// Release is what a release of the operator does and all later ones, up to the
// next row's.
type Release struct {
	Name      string   `yaml:"name"`
	From      string   `yaml:"from"`
	MajorOnly []string `yaml:"majorOnly"`
	Drivers   []string `yaml:"drivers"`
	Source    string   `yaml:"source"`
}

// Images says where driver images are published.
type Images struct {
	Repository  string      `yaml:"repository"`
	Systems     []System    `yaml:"systems"`
	Precompiled []KernelSet `yaml:"precompiled"`
}

// System is a distribution with conventional driver images.
type System struct {
	ID       string   `yaml:"id"`
	Versions []string `yaml:"versions"`
	Packages []string `yaml:"packages"` // needed at start; {kernel} stands for uname -r
	Toolkit  bool     `yaml:"toolkit"`  // the platform's release brings what is needed
	Source   string   `yaml:"source"`
}

// KernelSet is a set of kernels with precompiled driver images.
type KernelSet struct {
	ID            string   `yaml:"id"`
	Version       string   `yaml:"version"`
	Kernels       []string `yaml:"kernels"` // major.minor
	Branches      []int    `yaml:"branches"`
	Flavours      []string `yaml:"flavours"`
	Architectures []string `yaml:"architectures"` // of the processor
	Source        string   `yaml:"source"`
}

// Release finds the rules of a release such as v26.7.0; an empty version is the
// newest that is known.
func (d *Drivers) Release(version string) (Release, bool) {
	for _, o := range d.Operators {
		if version == "" || !before(version, o.From) {
			return o, true
		}
	}
	return Release{}, false
}

// Tag is how driver images name a system.
func (o Release) Tag(s inventory.OS) string {
	if slices.Contains(o.MajorOnly, s.ID) {
		return s.ID + majorOf(s.Version)
	}
	return s.ID + s.Version
}

// majorOf is the first number of a version.
func majorOf(version string) string {
	m, _, _ := strings.Cut(version, ".")
	return m
}

// age is an architecture's place among all, -1 where unknown.
func (d *Drivers) age(architecture string) int {
	return slices.IndexFunc(d.Architectures, func(a Architecture) bool { return a.Name == architecture })
}

// Architecture finds an architecture of NVIDIA's.
func (d *Drivers) Architecture(name string) (Architecture, bool) {
	if i := d.age(name); i >= 0 {
		return d.Architectures[i], true
	}
	return Architecture{}, false
}

// Branch finds a branch.
func (d *Drivers) Branch(n int) (Branch, bool) {
	i := slices.IndexFunc(d.Branches, func(b Branch) bool { return b.Branch == n })
	if i < 0 {
		return Branch{}, false
	}
	return d.Branches[i], true
}

// Drives says whether a branch drives an architecture.
func (d *Drivers) Drives(b Branch, architecture string) bool {
	a := d.age(architecture)
	return a >= 0 && a >= d.age(b.First) && a <= d.age(b.Last)
}

// Ended says whether a branch has no support any more in a month like 2026-11; an
// empty month ends nothing.
func (b Branch) Ended(month string) bool { return month != "" && b.EOL != "" && b.EOL < month }

func matchNVIDIA(c *Catalogue, n inventory.Node, opt Options) inventory.Payload {
	var devices []Device
	for _, g := range n.Physical() {
		if !needsDriver(g) {
			continue
		}
		d, ok := c.deviceOrGeneration(g)
		if !ok {
			return refuseNVIDIA(g)
		}
		devices = append(devices, d)
	}
	p := c.choosePayload(n, devices, opt)
	if p.Kind != inventory.NoPayload {
		p.Notes = append(append(p.Notes, c.noteSupport(p, opt)...), c.noteNeeds(n, devices, p)...)
	}
	return p
}

func (c *Catalogue) choosePayload(n inventory.Node, devices []Device, opt Options) inventory.Payload {
	if n.Driver.State == inventory.DriverInstalled && !n.Driver.Contained {
		return c.checkInstalled(n, devices)
	}
	o, ok := c.Drivers.Release(opt.Operator)
	if !ok {
		return noPayload(fmt.Sprintf("the catalogue does not know the tags of gpu-operator %s", opt.Operator), "use gpu-operator "+c.Drivers.Operators[0].From)
	}
	version, modules, ok := c.Drivers.chooseDriver(o, devices, opt.Month)
	if opt.Driver != "" {
		if version, modules, ok = c.Drivers.pinDriver(o, devices, opt.Driver); !ok {
			return noPayload(fmt.Sprintf("driver %s is wanted, and gpu-operator %s has none of it that drives %s", opt.Driver, o.From, joinProducts(devices)), "remove the pin gpu.policy.driver, or name another driver")
		}
	}
	if !ok {
		return noPayload("no driver with support drives all of "+joinProducts(devices), "put these GPUs into different nodes, or install a driver on the host")
	}
	return c.chooseImage(n, o, version, modules)
}

// refuseNVIDIA says why a GPU cannot be matched.
func refuseNVIDIA(g inventory.GPU) inventory.Payload {
	if g.Device == "" {
		return noPayload("nothing says which NVIDIA GPU the node has", "run caisson nodes --local on the node, or let GPU feature discovery label it")
	}
	return refuseGPU(g)
}

// deviceOrGeneration is what the catalogue knows of a GPU; one that only labels
// tell of has
// its architecture's rules.
func (c *Catalogue) deviceOrGeneration(g inventory.GPU) (Device, bool) {
	if d, ok := c.Device(g.Vendor, g.Device); ok {
		return d, true
	}
	_, ok := c.Drivers.Architecture(g.Architecture)
	return Device{Vendor: g.Vendor, Product: g.Product, Architecture: g.Architecture}, ok
}

func joinProducts(devices []Device) string {
	var out []string
	for _, d := range devices {
		out = append(out, d.Product)
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(out))), " and ")
}

// chooseDriver finds the driver of an operator's release for devices: its recommended
// one, or the newest long-term one that has support in a month.
func (d *Drivers) chooseDriver(o Release, devices []Device, month string) (version, modules string, ok bool) {
	versions := o.Drivers
	if len(versions) == 0 {
		versions = d.Operators[0].Drivers
	}
	for _, v := range d.orderVersions(versions) {
		b, known := d.Branch(branchOf(v))
		if !known || b.Ended(month) {
			continue
		}
		if m := d.chooseModules(b, v, devices); m != "" {
			return v, m, true
		}
	}
	return "", "", false
}

// pinDriver is the driver that somebody wants: a whole version as it is, of a branch
// the operator's own.
func (d *Drivers) pinDriver(o Release, devices []Device, want string) (version, modules string, ok bool) {
	b, known := d.Branch(branchOf(want))
	if !known {
		return "", "", false
	}
	version = want
	if !strings.Contains(want, ".") {
		versions := o.Drivers
		if len(versions) == 0 {
			versions = d.Operators[0].Drivers
		}
		i := slices.IndexFunc(versions, func(v string) bool { return branchOf(v) == b.Branch })
		if i < 0 {
			return "", "", false
		}
		version = versions[i]
	}
	modules = d.chooseModules(b, version, devices)
	return version, modules, modules != ""
}

// orderVersions puts the recommended driver first, then long-term ones, newest first.
func (d *Drivers) orderVersions(versions []string) []string {
	if len(versions) == 0 {
		return nil
	}
	rest := slices.Clone(versions[1:])
	slices.SortStableFunc(rest, func(a, b string) int {
		x, _ := d.Branch(branchOf(a))
		y, _ := d.Branch(branchOf(b))
		if lx, ly := x.Kind == "long-term", y.Kind == "long-term"; lx != ly {
			if lx {
				return -1
			}
			return 1
		}
		return y.Branch - x.Branch
	})
	return append([]string{versions[0]}, rest...)
}

// openFrom is the branch from which the open modules are the recommended ones.
const openFrom = 560

// chooseModules are the kernel modules of a driver that drive all devices; empty where
// none do.
func (d *Drivers) chooseModules(b Branch, version string, devices []Device) string {
	fit := slices.Clone(b.Modules)
	for _, dev := range devices {
		a, known := d.Architecture(dev.Architecture)
		if !known || !d.Drives(b, dev.Architecture) || before(version, dev.DriverMin) {
			return ""
		}
		fit = slices.DeleteFunc(fit, func(m string) bool {
			return !slices.Contains(a.Modules, m) || (dev.Modules != "" && dev.Modules != m)
		})
	}
	switch {
	case len(fit) == 0:
		return ""
	case len(fit) == 1:
		return fit[0]
	case b.Branch < openFrom:
		return inventory.ProprietaryModules
	}
	return inventory.OpenModules
}

// checkInstalled holds the GPUs against the driver that the host has.
func (c *Catalogue) checkInstalled(n inventory.Node, devices []Device) inventory.Payload {
	b, ok := c.Drivers.Branch(branchOf(n.Driver.Version))
	if !ok {
		return noPayload(fmt.Sprintf("the host has driver %s, whose branch the catalogue does not know", orUnknown(n.Driver.Version)), "update it to "+c.Drivers.Operators[0].Drivers[0]+", or remove it so that an image can bring one")
	}
	for _, d := range devices {
		if because := c.Drivers.whyNot(b, n.Driver, d); because != "" {
			return noPayload(because, c.suggestDriver(n, devices))
		}
	}
	return inventory.Payload{Kind: inventory.Installed, Driver: n.Driver.Version, Modules: n.Driver.Modules, Because: "the host has a driver for its GPUs"}
}

func orUnknown(s string) string {
	if s == "" {
		return "of unknown version"
	}
	return s
}

// whyNot says why a driver does not drive a device; empty where it does.
func (d *Drivers) whyNot(b Branch, have inventory.Driver, dev Device) string {
	a, _ := d.Architecture(dev.Architecture)
	switch {
	case !d.Drives(b, dev.Architecture):
		return fmt.Sprintf("the host has driver %s, and branch %d does not drive %s (%s)", have.Version, b.Branch, dev.Product, dev.Architecture)
	case before(have.Version, dev.DriverMin):
		return fmt.Sprintf("the host has driver %s, and %s needs %s", have.Version, dev.Product, dev.DriverMin)
	case have.Modules != "" && (!slices.Contains(a.Modules, have.Modules) || (dev.Modules != "" && dev.Modules != have.Modules)):
		return fmt.Sprintf("the host has the %s modules, which do not drive %s", have.Modules, dev.Product)
	}
	return ""
}

// suggestDriver says which driver to put on a host in place of one that does not fit.
func (c *Catalogue) suggestDriver(n inventory.Node, devices []Device) string {
	version, modules, ok := c.Drivers.chooseDriver(c.Drivers.Operators[0], devices, "")
	if !ok {
		return "put these GPUs into different nodes"
	}
	fix := fmt.Sprintf("install driver %s with %s modules on the host", version, modules)
	if _, published := c.findSystem(n.OS); published {
		fix += ", or remove the one there so that an image can bring it"
	}
	return fix
}

// chooseImage finds the driver image for a node's system and kernel.
func (c *Catalogue) chooseImage(n inventory.Node, o Release, version, modules string) inventory.Payload {
	if n.OS.ID == "" || n.OS.Version == "" || n.Kernel == "" {
		return noPayload("nothing says which system and kernel the node runs", "run caisson nodes --local on the node, or install node feature discovery")
	}
	built := c.conventionalImage(n, o, version, modules)
	if !c.isPrecompiled(n, branchOf(version)) {
		return built
	}
	branch := fmt.Sprint(branchOf(version))
	p := inventory.Payload{Kind: inventory.Precompiled, Driver: branch, Modules: modules,
		Image: imageref.Ref(fmt.Sprintf("%s:%s-%s-%s", c.Drivers.Images.Repository, branch, n.Kernel, o.Tag(n.OS)))}
	if built.Kind != inventory.NoPayload {
		p.Instead = &built
	}
	return p
}

// isPrecompiled says whether images for the node's kernel are published.
func (c *Catalogue) isPrecompiled(n inventory.Node, branch int) bool {
	series, flavour := splitKernel(n.Kernel)
	return slices.ContainsFunc(c.Drivers.Images.Precompiled, func(p KernelSet) bool {
		return p.ID == n.OS.ID && p.Version == n.OS.Version && slices.Contains(p.Kernels, series) && slices.Contains(p.Branches, branch) &&
			slices.Contains(p.Flavours, flavour) && slices.Contains(p.Architectures, n.Arch)
	})
}

// splitKernel takes 6.8.0-111-generic apart: 6.8 and generic.
func splitKernel(kernel string) (series, flavour string) {
	parts := strings.SplitN(kernel, "-", 3)
	v := numbers(parts[0])
	if len(v) < 2 || len(parts) < 3 {
		return "", ""
	}
	return fmt.Sprintf("%d.%d", v[0], v[1]), parts[2]
}

// conventionalImage is the image that builds or links its modules when it starts.
func (c *Catalogue) conventionalImage(n inventory.Node, o Release, version, modules string) inventory.Payload {
	tag := o.Tag(n.OS)
	s, ok := c.findSystem(n.OS)
	if !ok {
		return noPayload(fmt.Sprintf("no driver image is published for %s %s", n.OS.ID, n.OS.Version),
			fmt.Sprintf("install driver %s with %s modules on the host, or build the image %s:%s-%s", version, modules, c.Drivers.Images.Repository, version, tag))
	}
	p := inventory.Payload{Kind: inventory.Conventional, Driver: version, Modules: modules, Image: imageref.Ref(fmt.Sprintf("%s:%s-%s", c.Drivers.Images.Repository, version, tag))}
	for _, name := range s.Packages {
		p.Packages = append(p.Packages, strings.ReplaceAll(name, "{kernel}", n.Kernel))
	}
	if s.Toolkit {
		p.Notes = append(p.Notes, "the Driver Toolkit image of the OpenShift release has to be mirrored with it")
	}
	return p
}

func (c *Catalogue) findSystem(s inventory.OS) (System, bool) {
	for _, x := range c.Drivers.Images.Systems {
		if x.ID == s.ID && (slices.Contains(x.Versions, s.Version) || (s.ID == "rhel" && slices.Contains(x.Versions, majorOf(s.Version)))) {
			return x, true
		}
	}
	return System{}, false
}

// noteSupport tells of a driver whose branch gets no more fixes.
func (c *Catalogue) noteSupport(p inventory.Payload, opt Options) []string {
	b, ok := c.Drivers.Branch(branchOf(p.Driver))
	if !ok || !b.Ended(opt.Month) {
		return nil
	}
	return []string{fmt.Sprintf("support of driver branch %d ended in %s", b.Branch, b.EOL)}
}

// noteNeeds is what else the node has to have.
func (c *Catalogue) noteNeeds(n inventory.Node, devices []Device, p inventory.Payload) []string {
	var out []string
	fromImage := p.Kind == inventory.Precompiled || p.Kind == inventory.Conventional
	if len(p.Packages) > 0 {
		out = append(out, "the packages are fetched each time the driver starts, after every reboot too: keep a package repository in reach (driver.repoConfig)")
	}
	if fromImage && n.SecureBoot == "on" {
		out = append(out, "Secure Boot is on: the kernel loads only modules signed with a key it knows")
	}
	if n.Driver.State == inventory.DriverNouveau {
		out = append(out, "nouveau holds the GPUs: put \"blacklist nouveau\" into /etc/modprobe.d and boot again")
	}
	if p.Kind == inventory.Installed && n.Switches > 0 {
		out = append(out, "NVSwitch: the host has to run nv-fabricmanager of the driver's version")
	}
	for _, d := range devices {
		if a, _ := c.Drivers.Architecture(d.Architecture); a.LastCUDA > 0 {
			out = append(out, fmt.Sprintf("%s runs CUDA %d and older: images built for a later CUDA do not run", d.Product, a.LastCUDA))
		}
		if d.Interconnect == NVLink5 && len(n.RDMA) == 0 && slices.Contains(n.Sources, inventory.FromSysfs) {
			out = append(out, d.Product+" with NVLink 5 needs the modules mlx5_core and ib_umad, and no RDMA adapter is there")
		}
	}
	return slices.Compact(out)
}
