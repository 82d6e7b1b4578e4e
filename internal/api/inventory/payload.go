package inventory

import "github.com/caisson/caisson/internal/api/imageref"

// Kinds of payload.
const (
	NoGPU        = "no-gpu"       // there is nothing to drive
	Installed    = "installed"    // the host has a driver that is new enough
	Precompiled  = "precompiled"  // an image with the modules for the node's kernel
	Conventional = "conventional" // an image that needs packages when it starts
	InTreeDriver = "in-tree"      // the kernel's own driver
	Built        = "built"        // an image that somebody has to build first
	Passthrough  = "passthrough"  // virtual machines have the GPUs
	NoPayload    = "none"         // nothing exists that would drive them
)

// Payload is what a node needs so that its GPUs compute.
type Payload struct {
	Kind     string       `json:"kind"`
	Image    imageref.Ref `json:"image,omitempty"`
	Driver   string       `json:"driver,omitempty"` // version; of precompiled images the branch
	Modules  string       `json:"modules,omitempty"`
	Packages []string     `json:"packages,omitempty"` // from a package repository, each time the driver starts
	Because  string       `json:"because,omitempty"`
	Fix      string       `json:"fix,omitempty"`
	Notes    []string     `json:"notes,omitempty"`
	Instead  *Payload     `json:"instead,omitempty"` // where the image does not exist
}

// DriverImage says whether the payload is an image that an operator starts on the
// node to bring its driver.
func (p Payload) DriverImage() bool { return p.Kind == Precompiled || p.Kind == Conventional }

// LabelDriver is put onto nodes that nothing else tells apart, since labels that
// name the GPU exist only once its driver runs.
const LabelDriver = "caisson.dev/gpu-driver"

// Group is a number of nodes that one driver image serves, and what selects them.
type Group struct {
	Name         string            `json:"name"`
	Nodes        []string          `json:"nodes"`
	Payload      Payload           `json:"payload"`
	NodeSelector map[string]string `json:"nodeSelector"`
	Labelled     bool              `json:"labelled,omitempty"` // the nodes need LabelDriver: Name
}
