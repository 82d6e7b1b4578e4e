package gpu

import (
	"slices"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
)

// Operator is what brings a vendor's drivers to nodes, and what a plan has to write
// so that it brings the ones that were chosen.
type Operator struct {
	Title string // in sentences, with whose it is
	Chart string // name of its chart
	// NodeLabel is true on the nodes with GPUs that it drives.
	NodeLabel string
	// NodeLabels are those that a plan may put onto nodes for it.
	NodeLabels []string
	// Unchosen are values that it gives such labels itself where nobody has chosen
	// another: they count as nobody's.
	Unchosen map[string]string
	// Group and Resource are of the objects that say which driver goes where, and
	// Kind is their kind.
	Group, Resource, Kind string

	// ChoosesDriver says whether values choose a driver: the site's, or the stack's
	// where they turn it off.
	ChoosesDriver func(stack, site map[string]any) bool
	// Values are those of its release for the drivers of all groups of nodes, in
	// the order of the groups. Where there are none, onHost says that hosts have
	// drivers of their own.
	Values func(drivers []DriverImage, onHost bool, p site.Policy) (map[string]any, error)
	// Object says which driver a group of nodes has, where there are several.
	Object func(inventory.Group, DriverImage) map[string]any
	// Labels are those of a node for what a policy gives it.
	Labels func(p site.Policy, got Assigned) map[string]string
}

// DriverImage is the image of a driver, and from where nodes pull it.
type DriverImage struct {
	Payload    inventory.Payload
	Repository string // empty where the bundle has no such image
	Digest     string
	PullSecret string // its name; empty: none is needed
}

// OperatorOf finds the operator that a chart installs, by the chart's name.
func OperatorOf(chart string) (*Operator, bool) {
	for _, o := range Operators() {
		if o.Chart == chart {
			return o, true
		}
	}
	return nil, false
}

// Operators are those of all vendors.
func Operators() []*Operator {
	var out []*Operator
	for _, v := range Vendors() {
		if v.Operator != nil {
			out = append(out, v.Operator)
		}
	}
	return out
}

// Drives says whether a node has GPUs of the operator's vendor that need a driver.
func (o *Operator) Drives(n inventory.Node) bool {
	return slices.ContainsFunc(vendorsToDrive(n), func(id string) bool {
		v, _ := VendorOf(id)
		return v.Operator != nil && v.Operator.Chart == o.Chart
	})
}

// NodeLabels are the labels that a plan may put onto nodes.
func NodeLabels() []string {
	out := []string{inventory.LabelDriver}
	for _, o := range Operators() {
		out = append(out, o.NodeLabels...)
	}
	slices.Sort(out)
	return out
}

// IsUnchosen says whether a label of a node has the value that an operator gives
// it where nobody has chosen another.
func IsUnchosen(label, value string) bool {
	return slices.ContainsFunc(Operators(), func(o *Operator) bool {
		unchosen, has := o.Unchosen[label]
		return has && unchosen == value
	})
}
