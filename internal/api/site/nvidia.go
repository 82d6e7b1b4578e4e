package site

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Policy is what a site wants of its GPUs.
type Policy struct {
	// Driver pins NVIDIA's driver: a branch such as 580, or a whole version.
	Driver string `yaml:"driver,omitempty" json:"driver,omitempty" jsonschema:"pattern=^[0-9]{3}(\\.[0-9]{1\\,4}){0\\,2}$"`
	// MIG cuts GPUs into several.
	MIG MIGPolicy `yaml:"mig,omitempty" json:"mig,omitzero"`
	// TimeSlicing lets pods take turns on a GPU.
	TimeSlicing []Slicing `yaml:"timeSlicing,omitempty" json:"timeSlicing,omitempty"`
}

// Strategies of MIG.
const (
	MIGNone   = "none"
	MIGSingle = "single" // all instances of a node are alike, and are nvidia.com/gpu
	MIGMixed  = "mixed"  // each profile is a resource of its own
)

// MIGPolicy says how GPUs are cut.
type MIGPolicy struct {
	// Strategy is none, single or mixed; where absent it follows from the layouts.
	Strategy string `yaml:"strategy,omitempty" json:"strategy,omitempty" jsonschema:"enum=none,enum=single,enum=mixed"`
	// Layouts say what becomes of which GPUs. One that names nodes goes before
	// one that names a product.
	Layouts []Layout `yaml:"layouts,omitempty" json:"layouts,omitempty"`
}

// Layout says what each GPU of some nodes is cut into.
type Layout struct {
	// Product is the catalogue's name of the GPU, or the driver's.
	Product string `yaml:"product,omitempty" json:"product,omitempty"`
	// Nodes names the nodes instead.
	Nodes []string `yaml:"nodes,omitempty" json:"nodes,omitempty"`
	// Profiles say how many of each there are on one GPU: {1g.5gb: 2}.
	Profiles map[string]int `yaml:"profiles" json:"profiles" jsonschema:"required"`
}

// Slicing says how many pods share each GPU of some nodes.
type Slicing struct {
	// Product is the catalogue's name of the GPU, or the driver's.
	Product string `yaml:"product,omitempty" json:"product,omitempty"`
	// Nodes names the nodes instead.
	Nodes []string `yaml:"nodes,omitempty" json:"nodes,omitempty"`
	// Resource that is shared; nvidia.com/gpu where absent.
	Resource string `yaml:"resource,omitempty" json:"resource,omitempty"`
	// Replicas is how many pods share one.
	Replicas int `yaml:"replicas" json:"replicas" jsonschema:"required,minimum=2,maximum=100"`
}

// MaxReplicas bounds how many pods share a GPU.
const MaxReplicas = 100

// WholeGPU is the resource that stands for a GPU, or with MIGSingle for a part.
const WholeGPU = "nvidia.com/gpu"

// Labels of nodes that say which layout, and which slicing, a node has.
const (
	LabelMIG    = "nvidia.com/mig.config"
	LabelPlugin = "nvidia.com/device-plugin.config"
)

// Empty says whether the policy wants nothing.
func (p Policy) Empty() bool {
	return p.Driver == "" && p.MIG.Strategy == "" && len(p.MIG.Layouts) == 0 && len(p.TimeSlicing) == 0
}

// EffectiveStrategy is the strategy, which follows from the layouts where none is named.
func (p MIGPolicy) EffectiveStrategy() string {
	switch {
	case p.Strategy != "":
		return p.Strategy
	case len(p.Layouts) == 0:
		return MIGNone
	case slices.ContainsFunc(p.Layouts, func(l Layout) bool { return len(l.Profiles) > 1 }):
		return MIGMixed
	}
	return MIGSingle
}

// Name of a layout follows from its profiles, so that equal ones are one:
// 1g.5gb.2-2g.10gb.1. It is a label's value, which has no plus sign.
func (l Layout) Name() string {
	var parts []string
	for _, profile := range slices.Sorted(maps.Keys(l.Profiles)) {
		parts = append(parts, fmt.Sprintf("%s.%d", profile, l.Profiles[profile]))
	}
	return LabelValue(strings.ReplaceAll(strings.Join(parts, "-"), "+", "."))
}

// Words writes a layout for people: 2 x 1g.5gb, 1 x 2g.10gb.
func (l Layout) Words() string {
	var parts []string
	for _, profile := range slices.Sorted(maps.Keys(l.Profiles)) {
		parts = append(parts, fmt.Sprintf("%d x %s", l.Profiles[profile], profile))
	}
	return strings.Join(parts, ", ")
}

// Shared is the resource that is shared.
func (s Slicing) Shared() string { return cmp.Or(s.Resource, WholeGPU) }

// Name of a slicing follows from what it says: gpu-4, mig-1g.5gb-2.
func (s Slicing) Name() string {
	_, resource, _ := strings.Cut(s.Shared(), "/")
	return LabelValue(fmt.Sprintf("%s-%d", resource, s.Replicas))
}

// ProfileRule is how profiles are written.
var ProfileRule = regexp.MustCompile(`^([1-9])g\.([1-9][0-9]{0,3})gb(\+me(\.all)?|-me|\+gfx)?$`)

// driverRule is how a driver is pinned, and sharedRule which resources can be shared.
var (
	driverRule = regexp.MustCompile(`^[0-9]{3}(\.[0-9]{1,4}){0,2}$`)
	sharedRule = regexp.MustCompile(`^nvidia\.com/(gpu|mig-[1-9]g\.[1-9][0-9]{0,3}gb(\.me(\.all)?|-me|\.gfx)?)$`)
)

// sharedForms are words for sharedRule.
const sharedForms = "neither nvidia.com/gpu nor such as nvidia.com/mig-1g.5gb"

// LabelValue cuts a name to the 63 bytes that a label may have, a hash in place of
// the rest.
func LabelValue(name string) string {
	if len(name) <= 63 {
		return name
	}
	return fmt.Sprintf("%s-%.4x", name[:54], sha256.Sum256([]byte(name)))
}

var notInLabels = regexp.MustCompile(`[^a-z0-9]+`)

// DNSLabel makes a DNS label of a text: lower-case letters, digits and dashes.
func DNSLabel(text string) string {
	return LabelValue(strings.Trim(notInLabels.ReplaceAllString(strings.ToLower(text), "-"), "-"))
}
