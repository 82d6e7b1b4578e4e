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
	Operators     []Release         `yaml:"operators"` // newest first
	Images        Images            `yaml:"images"`
	InTree        []InTree          `yaml:"inTree"`
}

// InTree is a vendor whose driver is the kernel's own.
type InTree struct {
	Vendor string `yaml:"vendor"`
	Plugin string `yaml:"plugin"` // image of the device plugin
	Source string `yaml:"source"`
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
