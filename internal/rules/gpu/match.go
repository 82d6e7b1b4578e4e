package gpu

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Kinds of payload.
const (
	NoGPU        = "no-gpu"       // there is nothing to drive
	Installed    = "installed"    // the host has a driver that is new enough
	Precompiled  = "precompiled"  // an image with the modules for the node's kernel
	Conventional = "conventional" // an image that needs packages when it starts
	InTreeDriver = "in-tree"      // the kernel's own driver
	Built        = "built"        // an image that somebody has to build first
	Passthrough  = "passthrough"  // virtual machines have the GPUs
	None         = "none"         // nothing exists that would drive them
)

// Payload is what a node needs so that its GPUs compute.
type Payload struct {
	Kind     string   `json:"kind"`
	Image    string   `json:"image,omitempty"`
	Driver   string   `json:"driver,omitempty"` // version; of precompiled images the branch
	Modules  string   `json:"modules,omitempty"`
	Packages []string `json:"packages,omitempty"` // from a package repository, each time the driver starts
	Because  string   `json:"because,omitempty"`
	Fix      string   `json:"fix,omitempty"`
	Notes    []string `json:"notes,omitempty"`
	Instead  *Payload `json:"instead,omitempty"` // where the image does not exist
}

// Options of Match.
type Options struct {
	Operator  string // release of NVIDIA's operator, v26.7.0; empty: the newest known
	Month     string // today's, 2026-11: branches without support are not chosen; empty: all are
	AMDDriver string // version of amdgpu that images are built with
	Driver    string // branch or version of NVIDIA's driver that is wanted; empty: the best
}

// Match says what a node needs. It depends on nothing but its arguments.
func Match(c *Catalogue, n Node, opt Options) Payload {
	vendors := map[string]bool{}
	for _, g := range n.Physical() {
		if g.needsDriver() {
			vendors[g.Vendor] = true
		}
	}
	switch {
	case len(vendors) == 0 && len(n.Physical()) > 0 && slices.ContainsFunc(n.Physical(), GPU.passed):
		return Payload{Kind: Passthrough, Because: "vfio-pci holds the GPUs for virtual machines"}
	case len(vendors) == 0:
		return Payload{Kind: NoGPU}
	case len(vendors) > 1:
		return none("the node has GPUs of several vendors: "+strings.Join(slices.Sorted(maps.Keys(vendors)), ", "), "leave one vendor's to vfio-pci, or drive them by hand")
	case vendors[NVIDIA]:
		return c.matchNVIDIA(n, opt)
	case vendors[AMD]:
		return c.matchAMD(n, opt)
	case vendors[Intel]:
		return c.matchIntel(n)
	}
	return none("the catalogue knows no driver for "+ids(n.Physical()), "install the vendor's driver and device plugin on the node, and leave it out here")
}

func none(because, fix string) Payload { return Payload{Kind: None, Because: because, Fix: fix} }

func (g GPU) passed() bool { return g.Bound == "vfio-pci" }

// needsDriver leaves out what virtual machines have, and displays of AMD's and
// Intel's that the catalogue does not know: most are part of a processor.
func (g GPU) needsDriver() bool {
	display := g.Class == "0300" && g.Vendor != NVIDIA && !g.Known()
	return !g.Virtual && !g.passed() && !display
}

func ids(gpus []GPU) string {
	var out []string
	for _, g := range gpus {
		out = append(out, g.ID())
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(out))), ", ")
}

func (c *Catalogue) matchNVIDIA(n Node, opt Options) Payload {
	var devices []Device
	for _, g := range n.Physical() {
		if !g.needsDriver() {
			continue
		}
		d, ok := c.device(g)
		if !ok {
			return c.unknown(g)
		}
		devices = append(devices, d)
	}
	p := c.payload(n, devices, opt)
	if p.Kind != None {
		p.Notes = append(append(p.Notes, c.support(p, opt)...), c.notes(n, devices, p)...)
	}
	return p
}

func (c *Catalogue) payload(n Node, devices []Device, opt Options) Payload {
	if n.Driver.State == DriverInstalled && !n.Driver.Contained {
		return c.installed(n, devices)
	}
	o, ok := c.Drivers.Operator(opt.Operator)
	if !ok {
		return none(fmt.Sprintf("the catalogue does not know the tags of gpu-operator %s", opt.Operator), "use gpu-operator "+c.Drivers.Operators[0].From)
	}
	version, modules, ok := c.Drivers.choose(o, devices, opt.Month)
	if opt.Driver != "" {
		if version, modules, ok = c.Drivers.pinned(o, devices, opt.Driver); !ok {
			return none(fmt.Sprintf("driver %s is wanted, and gpu-operator %s has none of it that drives %s", opt.Driver, o.From, products(devices)), "remove the pin gpu.policy.driver, or name another driver")
		}
	}
	if !ok {
		return none("no driver with support drives all of "+products(devices), "put these GPUs into different nodes, or install a driver on the host")
	}
	return c.image(n, o, version, modules)
}

// unknown says why a GPU cannot be matched.
func (c *Catalogue) unknown(g GPU) Payload {
	if g.Device == "" {
		return none("nothing says which NVIDIA GPU the node has", "run caisson nodes --local on the node, or let GPU feature discovery label it")
	}
	return none("the catalogue does not know the GPU "+g.ID(), "install a driver that knows it on the host, or use a newer caisson")
}

// device is what the catalogue knows of a GPU; one that only labels tell of has
// its architecture's rules.
func (c *Catalogue) device(g GPU) (Device, bool) {
	if d, ok := c.Device(g.Vendor, g.Device); ok {
		return d, true
	}
	_, ok := c.Drivers.Architecture(g.Architecture)
	return Device{Vendor: g.Vendor, Product: g.Product, Architecture: g.Architecture}, ok
}

func products(devices []Device) string {
	var out []string
	for _, d := range devices {
		out = append(out, d.Product)
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(out))), " and ")
}

// choose finds the driver of an operator's release for devices: its recommended
// one, or the newest long-term one that has support in a month.
func (d *Drivers) choose(o Operator, devices []Device, month string) (version, modules string, ok bool) {
	versions := o.Drivers
	if len(versions) == 0 {
		versions = d.Operators[0].Drivers
	}
	for _, v := range d.inOrder(versions) {
		b, known := d.Branch(branchOf(v))
		if !known || b.Ended(month) {
			continue
		}
		if m := d.modules(b, v, devices); m != "" {
			return v, m, true
		}
	}
	return "", "", false
}

// pinned is the driver that somebody wants: a whole version as it is, of a branch
// the operator's own.
func (d *Drivers) pinned(o Operator, devices []Device, want string) (version, modules string, ok bool) {
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
	modules = d.modules(b, version, devices)
	return version, modules, modules != ""
}

// inOrder puts the recommended driver first, then long-term ones, newest first.
func (d *Drivers) inOrder(versions []string) []string {
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

// modules are the kernel modules of a driver that drive all devices; empty where
// none do.
func (d *Drivers) modules(b Branch, version string, devices []Device) string {
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
		return ProprietaryModules
	}
	return OpenModules
}

// installed judges the driver that the host has.
func (c *Catalogue) installed(n Node, devices []Device) Payload {
	b, ok := c.Drivers.Branch(branchOf(n.Driver.Version))
	if !ok {
		return none(fmt.Sprintf("the host has driver %s, whose branch the catalogue does not know", orUnknown(n.Driver.Version)), "update it to "+c.Drivers.Operators[0].Drivers[0]+", or remove it so that an image can bring one")
	}
	for _, d := range devices {
		if because := c.Drivers.refuses(b, n.Driver, d); because != "" {
			return none(because, c.newer(n, devices))
		}
	}
	return Payload{Kind: Installed, Driver: n.Driver.Version, Modules: n.Driver.Modules, Because: "the host has a driver for its GPUs"}
}

func orUnknown(s string) string {
	if s == "" {
		return "of unknown version"
	}
	return s
}

// refuses says why a driver does not drive a device; empty where it does.
func (d *Drivers) refuses(b Branch, have Driver, dev Device) string {
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

// newer says which driver to put on a host in place of one that does not fit.
func (c *Catalogue) newer(n Node, devices []Device) string {
	version, modules, ok := c.Drivers.choose(c.Drivers.Operators[0], devices, "")
	if !ok {
		return "put these GPUs into different nodes"
	}
	fix := fmt.Sprintf("install driver %s with %s modules on the host", version, modules)
	if _, published := c.system(n.OS); published {
		fix += ", or remove the one there so that an image can bring it"
	}
	return fix
}

// image finds the driver image for a node's system and kernel.
func (c *Catalogue) image(n Node, o Operator, version, modules string) Payload {
	if n.OS.ID == "" || n.OS.Version == "" || n.Kernel == "" {
		return none("nothing says which system and kernel the node runs", "run caisson nodes --local on the node, or install node feature discovery")
	}
	built := c.conventional(n, o, version, modules)
	if !c.precompiled(n, branchOf(version)) {
		return built
	}
	branch := fmt.Sprint(branchOf(version))
	p := Payload{Kind: Precompiled, Driver: branch, Modules: modules,
		Image: fmt.Sprintf("%s:%s-%s-%s", c.Drivers.Images.Repository, branch, n.Kernel, o.Tag(n.OS))}
	if built.Kind != None {
		p.Instead = &built
	}
	return p
}

// precompiled says whether images for the node's kernel are published.
func (c *Catalogue) precompiled(n Node, branch int) bool {
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

// conventional is the image that builds or links its modules when it starts.
func (c *Catalogue) conventional(n Node, o Operator, version, modules string) Payload {
	tag := o.Tag(n.OS)
	s, ok := c.system(n.OS)
	if !ok {
		return none(fmt.Sprintf("no driver image is published for %s %s", n.OS.ID, n.OS.Version),
			fmt.Sprintf("install driver %s with %s modules on the host, or build the image %s:%s-%s", version, modules, c.Drivers.Images.Repository, version, tag))
	}
	p := Payload{Kind: Conventional, Driver: version, Modules: modules, Image: fmt.Sprintf("%s:%s-%s", c.Drivers.Images.Repository, version, tag)}
	for _, name := range s.Packages {
		p.Packages = append(p.Packages, strings.ReplaceAll(name, "{kernel}", n.Kernel))
	}
	if s.Toolkit {
		p.Notes = append(p.Notes, "the Driver Toolkit image of the OpenShift release has to be mirrored with it")
	}
	return p
}

func (c *Catalogue) system(s OS) (System, bool) {
	for _, x := range c.Drivers.Images.Systems {
		if x.ID == s.ID && (slices.Contains(x.Versions, s.Version) || (s.ID == "rhel" && slices.Contains(x.Versions, major(s.Version)))) {
			return x, true
		}
	}
	return System{}, false
}

// support tells of a driver whose branch gets no more fixes.
func (c *Catalogue) support(p Payload, opt Options) []string {
	b, ok := c.Drivers.Branch(branchOf(p.Driver))
	if !ok || !b.Ended(opt.Month) {
		return nil
	}
	return []string{fmt.Sprintf("support of driver branch %d ended in %s", b.Branch, b.EOL)}
}

// notes are what else the node has to have.
func (c *Catalogue) notes(n Node, devices []Device, p Payload) []string {
	var out []string
	fromImage := p.Kind == Precompiled || p.Kind == Conventional
	if len(p.Packages) > 0 {
		out = append(out, "the packages are fetched each time the driver starts, after every reboot too: keep a package repository in reach (driver.repoConfig)")
	}
	if fromImage && n.SecureBoot == "on" {
		out = append(out, "Secure Boot is on: the kernel loads only modules signed with a key it knows")
	}
	if n.Driver.State == DriverNouveau {
		out = append(out, "nouveau holds the GPUs: put \"blacklist nouveau\" into /etc/modprobe.d and boot again")
	}
	if p.Kind == Installed && n.Switches > 0 {
		out = append(out, "NVSwitch: the host has to run nv-fabricmanager of the driver's version")
	}
	for _, d := range devices {
		if a, _ := c.Drivers.Architecture(d.Architecture); a.LastCUDA > 0 {
			out = append(out, fmt.Sprintf("%s runs CUDA %d and older: images built for a later CUDA do not run", d.Product, a.LastCUDA))
		}
		if d.Interconnect == NVLink5 && len(n.RDMA) == 0 && slices.Contains(n.Sources, FromSysfs) {
			out = append(out, d.Product+" with NVLink 5 needs the modules mlx5_core and ib_umad, and no RDMA adapter is there")
		}
	}
	return slices.Compact(out)
}
