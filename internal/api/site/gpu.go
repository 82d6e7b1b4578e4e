package site

import (
	"fmt"
	"maps"
	"slices"

	"github.com/caisson/caisson/internal/api/yamlfile"
)

// GPU is what a site says of its GPU nodes.
type GPU struct {
	// Nodes is a NodeInventory file, with the nodes' own names, that adds to what
	// the cluster's labels say.
	Nodes string `yaml:"nodes,omitempty"`
	// Policy is the driver, MIG and time slicing.
	Policy Policy `yaml:"policy,omitempty"`
}

// Bounds on a policy.
const (
	maxEntries  = 200   // layouts, or entries of time slicing
	maxNames    = 10000 // nodes of one entry
	maxProfiles = 16    // of one layout
	maxParts    = 64    // of one profile
	maxProduct  = 128   // bytes of a name
)

func checkGPU(doc *yamlfile.Document, g *GPU) {
	if g == nil {
		return
	}
	p := g.Policy
	if p.Driver != "" && !driverRule.MatchString(p.Driver) {
		doc.Problemf("gpu.policy.driver", "%q is neither a branch such as 580 nor a version such as 580.95.05", p.Driver)
	}
	known := []string{MIGNone, MIGSingle, MIGMixed}
	if s := p.MIG.Strategy; s != "" && !slices.Contains(known, s) {
		doc.Problemf("gpu.policy.mig.strategy", "unknown strategy %q%s", s, yamlfile.Suggest(s, known))
	}
	if boundEntries(doc, "gpu.policy.mig.layouts", len(p.MIG.Layouts)) {
		for i, l := range p.MIG.Layouts {
			at := fmt.Sprintf("gpu.policy.mig.layouts[%d]", i)
			checkWhom(doc, at, l.Product, l.Nodes)
			checkProfiles(doc, at+".profiles", l.Profiles)
		}
	}
	if boundEntries(doc, "gpu.policy.timeSlicing", len(p.TimeSlicing)) {
		for i, s := range p.TimeSlicing {
			at := fmt.Sprintf("gpu.policy.timeSlicing[%d]", i)
			checkWhom(doc, at, s.Product, s.Nodes)
			if s.Replicas == 0 {
				doc.Missing(at + ".replicas")
			} else if s.Replicas < 2 || s.Replicas > MaxReplicas {
				doc.Problemf(at+".replicas", "%d is not a number from 2 to %d", s.Replicas, MaxReplicas)
			}
			if s.Resource != "" && !sharedRule.MatchString(s.Resource) {
				doc.Problemf(at+".resource", "%q is "+sharedForms, s.Resource)
			}
		}
	}
}

func boundEntries(doc *yamlfile.Document, at string, n int) bool {
	if n > maxEntries {
		doc.Problemf(at, "are %d, more than %d", n, maxEntries)
	}
	return n <= maxEntries
}

// checkWhom wants either a product or nodes.
func checkWhom(doc *yamlfile.Document, at, product string, nodes []string) {
	switch {
	case product == "" && len(nodes) == 0:
		doc.Problemf(at, "says neither product nor nodes")
	case product != "" && len(nodes) > 0:
		doc.Problemf(at, "says both product and nodes; choose one")
	case len(product) > maxProduct:
		doc.Problemf(at+".product", "is longer than %d bytes", maxProduct)
	case len(nodes) > maxNames:
		doc.Problemf(at+".nodes", "are %d, more than %d", len(nodes), maxNames)
	}
	seen := map[string]bool{}
	for i, name := range nodes[:min(len(nodes), maxNames)] {
		switch field := fmt.Sprintf("%s.nodes[%d]", at, i); {
		case len(name) > 253 || !dnsRule.MatchString(name):
			doc.Problemf(field, "%q is not a node's name", name)
		case seen[name]:
			doc.Problemf(field, "%q is there twice", name)
		}
		seen[name] = true
	}
}

func checkProfiles(doc *yamlfile.Document, at string, profiles map[string]int) {
	switch {
	case len(profiles) == 0:
		doc.Missing(at)
	case len(profiles) > maxProfiles:
		doc.Problemf(at, "are %d, more than %d", len(profiles), maxProfiles)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(profiles)) {
		if !ProfileRule.MatchString(name) {
			doc.Problemf(at, "%q is not a MIG profile such as 1g.5gb", name)
		} else if n := profiles[name]; n < 1 || n > maxParts {
			doc.Problemf(at, "%s: %d is not a number from 1 to %d", name, n, maxParts)
		}
	}
}
