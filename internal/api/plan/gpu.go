package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
)

// NodeLabels are the labels that a plan may put onto nodes.
var NodeLabels = []string{site.LabelMIG, site.LabelPlugin, inventory.LabelDriver}

// GPU is what becomes of the nodes with GPUs. All of it follows from the lock,
// the site, the month and what is written here of the nodes.
type GPU struct {
	Component string            `json:"component,omitempty"` // that holds the operator; empty: none does
	Release   string            `json:"release,omitempty"`   // of the operator
	Operator  string            `json:"operator,omitempty"`  // its version
	Month     string            `json:"month,omitempty"`
	BySite    bool              `json:"bySite,omitempty"`   // values of the stack or the site choose the driver
	Strategy  string            `json:"strategy,omitempty"` // of MIG, where the site has a policy for it
	Nodes     []GPUNode         `json:"nodes,omitempty"`
	Groups    []inventory.Group `json:"groups,omitempty"` // several: an object each
	Values    map[string]any    `json:"values,omitempty"` // of the operator's release, beneath the site's
}

// GPUNode is one node.
type GPUNode struct {
	Facts   inventory.Node    `json:"facts"`
	Payload inventory.Payload `json:"payload"`
	Layout  string            `json:"layout,omitempty"`  // of MIG, for people
	Sharing string            `json:"sharing,omitempty"` // for people
	Labels  map[string]string `json:"labels,omitempty"`  // to be set
}

// GPUs says in words which GPUs the node has.
func (n GPUNode) GPUs() string {
	var out []string
	for _, g := range n.Facts.Physical() {
		name := g.Product
		if name == "" {
			name = strings.Trim(g.Architecture+" "+strings.Trim(g.ID(), ":"), " ")
		}
		if g.Count > 0 {
			name = fmt.Sprintf("%d x %s", g.Count, name)
		}
		out = append(out, name)
	}
	return strings.Join(out, ", ")
}

// Drivers says whether the operator gets its drivers from objects of their own.
func (g *GPU) Drivers() bool {
	return g != nil && g.Component != "" && !g.BySite && len(g.Groups) > 1
}

// Labels are those that a component's nodes get, by node; nil for any component
// but the operator's.
func (p *Plan) Labels(component string) map[string]map[string]string {
	out := map[string]map[string]string{}
	if p.GPU == nil || p.GPU.Component != component || component == "" {
		return out
	}
	for _, n := range p.GPU.Nodes {
		if len(n.Labels) > 0 {
			out[n.Facts.Name] = n.Labels
		}
	}
	return out
}

// check says what is wrong with nodes that were read.
func (g *GPU) check() error {
	if g == nil {
		return nil
	}
	seen := map[string]bool{}
	for _, n := range g.Nodes {
		if n.Facts.Name == "" || seen[n.Facts.Name] {
			return fmt.Errorf("gpu: node %q is nameless or there twice", n.Facts.Name)
		}
		seen[n.Facts.Name] = true
		for key := range n.Labels {
			if !slices.Contains(NodeLabels, key) {
				return fmt.Errorf("gpu: node %s: a plan sets no label %s", n.Facts.Name, key)
			}
		}
	}
	return nil
}
