package gpu

import (
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
)

// Vendor is all that is known of a maker of accelerators. To add one, write a file
// like habana.go, name it in Vendors, and give its devices to data/devices.yaml.
type Vendor struct {
	ID   string // of PCI, in four hexadecimal digits
	Name string // for people
	// Lines begin names of its products, and are left out of narrow columns.
	Lines []string

	// Displays says that its PCI functions of a display's class are GPUs.
	Displays bool
	// Discrete says that none of its displays is part of a processor.
	Discrete bool
	// Graphics says that those that the catalogue does not know are graphics of
	// processors, of which pods get nothing.
	Graphics bool
	// SwitchClass is the PCI class of its bridges between GPUs; empty: it has none.
	SwitchClass string

	Resources Resources

	// Modules are the kernel modules that can hold its GPUs.
	Modules []Module
	// HostFiles are files of a host, beside its modules, that HostDriver reads.
	HostFiles []string
	// HostDriver reads which driver a host has that the kernel did not bring; nil
	// where the vendor has none.
	HostDriver func(HostFiles) inventory.Driver

	// LabelGPUs reads the GPUs of a node from its labels and resources.
	LabelGPUs func(*Catalogue, Observed) []inventory.GPU
	// LabelDriver reads the driver from labels and resources; a module of the
	// kernel's own counts only on a node with GPUs of the vendor.
	LabelDriver func(Observed) inventory.Driver
	// ProductLabel is the label in which its labeller names the product; empty: none does.
	ProductLabel string
	// CountLabel says how many GPUs there are, and LabelOffer how many the node
	// therefore offers as Whole and Shared, where that can be told.
	CountLabel string
	LabelOffer func(Observed) (n int64, known bool)

	// Match says what a node with GPUs of this vendor alone needs.
	Match func(*Catalogue, inventory.Node, Options) inventory.Payload
	// Offer is what one GPU comes to offer where the operator is there: whole,
	// or cut into parts. Where it is nil, GPUs are offered whole without one.
	Offer func(p site.Policy, parts map[string]int) map[string]int64

	// Operator brings drivers to nodes; where it is nil, NoOperator says why a plan
	// has nothing to do with one.
	Operator   *Operator
	NoOperator string
	// Ready says when objects of the vendor's kinds are ready, where the object's
	// own conditions do not.
	Ready []Readiness
}

// Resources are the names under which pods ask for a vendor's GPUs.
type Resources struct {
	Prefix string   // begins all of them
	Whole  []string // stand for a GPU each
	Shared []string // stand for a turn on a GPU each
	Parts  string   // begins those that stand for a part; empty: it has none
	// PerNode counts all GPUs of a node, or a multiple where they are shared;
	// empty where several resources count some each.
	PerNode string
}

func (r Resources) has(name string) bool {
	return slices.Contains(r.Whole, name) || slices.Contains(r.Shared, name) ||
		r.Parts != "" && strings.HasPrefix(name, r.Parts)
}

// Module is a kernel module that holds GPUs.
type Module struct {
	Name  string
	State string // of a node's driver where it is loaded
}

// Readiness says when an object is ready.
type Readiness struct {
	Group, Kind string
	Field       []string // that has to hold Value
	Value       string
	Counts      []string // of status, each of which has availableNumber and desiredNumber
	Unfit       []string // reasons of a true condition Ready that mean the opposite
}

// Vendors are those whose GPUs are told apart, in the order in which nodes are
// read.
func Vendors() []Vendor { return []Vendor{nvidia(), amd(), intel(), habana()} }

// VendorOf finds a vendor by its PCI id.
func VendorOf(id string) (Vendor, bool) {
	for _, v := range Vendors() {
		if v.ID == id {
			return v, true
		}
	}
	return Vendor{}, false
}

// Readinesses are those of all vendors.
func Readinesses() []Readiness {
	var out []Readiness
	for _, v := range Vendors() {
		out = append(out, v.Ready...)
	}
	return out
}

// IsAccelerator says whether a resource of pods stands for accelerators.
func IsAccelerator(resource string) bool {
	return slices.ContainsFunc(Vendors(), func(v Vendor) bool { return v.Resources.has(resource) })
}

// ShortProduct is a product's name without the name of the product line.
func ShortProduct(product string) string {
	for _, v := range Vendors() {
		for _, line := range v.Lines {
			product = strings.TrimPrefix(product, line)
		}
	}
	return product
}
