package gpu

import (
	"bytes"
	"embed"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed data/devices.yaml data/drivers.yaml
var data embed.FS

// Catalogue is what the program knows about accelerators and their drivers.
type Catalogue struct {
	Devices Devices
	Drivers Drivers
}

// Source is where a row was read and when: 2026-08 or 2026-08-21.
type Source struct {
	Where string `yaml:"where"`
	Date  string `yaml:"date"`
}

// Devices is data/devices.yaml.
type Devices struct {
	Sources  map[string]Source `yaml:"sources"`
	Switches []Switch          `yaml:"switches"`
	MIG      map[string]MIG    `yaml:"mig"`
	Devices  []Device          `yaml:"devices"`
}

// Switch is a bridge between GPUs.
type Switch struct {
	Vendor  string `yaml:"vendor"`
	Device  string `yaml:"device"`
	Product string `yaml:"product"`
	Source  string `yaml:"source"`
}

// MIG says how many of each profile fit on one GPU.
type MIG struct {
	Profiles map[string]int `yaml:"profiles"`
	Source   string         `yaml:"source"`
}

// Interconnects that need services beside the driver.
const (
	NVSwitch = "nvswitch" // fabric manager, where the switches are there
	NVLink5  = "nvlink5"  // fabric manager, subnet manager, RDMA modules
)

// Device is what one PCI id stands for.
type Device struct {
	Vendor       string   `yaml:"vendor"`
	Device       string   `yaml:"device"`
	Product      string   `yaml:"product"`
	Architecture string   `yaml:"architecture"`
	Compute      string   `yaml:"compute"`
	MemoryGiB    int      `yaml:"memoryGiB"`    // 0: unknown
	MIG          string   `yaml:"mig"`          // key of Devices.MIG; empty: none
	Interconnect string   `yaml:"interconnect"` // nvswitch, nvlink5 or empty
	Modules      string   `yaml:"modules"`      // narrows the architecture's
	DriverMin    string   `yaml:"driverMin"`    // first driver that knows it
	Names        []string `yaml:"names"`        // as the driver writes them
	Virtual      bool     `yaml:"virtual"`      // an SR-IOV function
	Shared       bool     `yaml:"shared"`       // memory is the machine's
	Source       string   `yaml:"source"`
	Facts        []string `yaml:"facts"` // sources of what Source does not say
}

// Drivers is data/drivers.yaml.
type Drivers struct {
	Sources       map[string]Source `yaml:"sources"`
	Architectures []Architecture    `yaml:"architectures"` // oldest first
	Branches      []Branch          `yaml:"branches"`
	Operators     []Operator        `yaml:"operators"` // newest first
	Images        Images            `yaml:"images"`
	InTree        []InTree          `yaml:"inTree"`
}

// Modules of NVIDIA's driver.
const (
	OpenModules        = "open"
	ProprietaryModules = "proprietary"
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

// Operator is what a release of the operator does and all later ones, up to the
// next row's.
type Operator struct {
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

// InTree is a vendor whose driver is the kernel's own.
type InTree struct {
	Vendor    string   `yaml:"vendor"`
	Modules   []string `yaml:"modules"`
	Plugin    string   `yaml:"plugin"`
	Resources []string `yaml:"resources"`
	Source    string   `yaml:"source"`
}

// Read reads the program's own catalogue.
func Read() (*Catalogue, error) {
	var c Catalogue
	if err := decode("data/devices.yaml", &c.Devices); err != nil {
		return nil, err
	}
	return &c, decode("data/drivers.yaml", &c.Drivers)
}

func decode(name string, out any) error {
	text, err := data.ReadFile(name)
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(out); err != nil {
		return fmt.Errorf("reading the catalogue %s: %w", name, err)
	}
	return nil
}

// Device finds what an id stands for.
func (c *Catalogue) Device(vendor, device string) (Device, bool) {
	i := slices.IndexFunc(c.Devices.Devices, func(d Device) bool { return d.Vendor == vendor && d.Device == device })
	if i < 0 {
		return Device{}, false
	}
	return c.Devices.Devices[i], true
}

// Named finds the one device that the driver calls by a name, whose spaces labels
// write as dashes. A name that several devices have finds none.
func (c *Catalogue) Named(name string) (found Device, ok bool) {
	for _, d := range c.Devices.Devices {
		if !slices.ContainsFunc(d.Names, func(n string) bool { return strings.ReplaceAll(n, " ", "-") == strings.ReplaceAll(name, " ", "-") }) {
			continue
		}
		if ok {
			return Device{}, false
		}
		found, ok = d, true
	}
	return found, ok
}

// IsSwitch says whether an id is a bridge between GPUs.
func (c *Catalogue) IsSwitch(vendor, device string) bool {
	return slices.ContainsFunc(c.Devices.Switches, func(s Switch) bool { return s.Vendor == vendor && s.Device == device })
}

// Profiles are the MIG profiles of an id and how many fit; nil without MIG.
func (c *Catalogue) Profiles(vendor, device string) map[string]int {
	d, _ := c.Device(vendor, device)
	return c.Devices.MIG[d.MIG].Profiles
}

// Operator finds the rules of a release such as v26.7.0; an empty version is the
// newest that is known.
func (d *Drivers) Operator(version string) (Operator, bool) {
	for _, o := range d.Operators {
		if version == "" || !before(version, o.From) {
			return o, true
		}
	}
	return Operator{}, false
}

// Tag is how driver images name a system.
func (o Operator) Tag(s OS) string {
	if slices.Contains(o.MajorOnly, s.ID) {
		return s.ID + major(s.Version)
	}
	return s.ID + s.Version
}

func major(version string) string {
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
