package gpu

import (
	"slices"
	"strings"
)

// Offer is what pods can have of one node's accelerators.
type Offer struct {
	// Resources by name; Some where nobody knows how many.
	Resources map[string]int64
	// GPUs says that there are any.
	GPUs bool
	// LargestGiB is the memory of the largest accelerator, or part of one, and
	// TotalGiB what one pod can have of them together. 0: unknown, where there
	// are GPUs.
	LargestGiB, TotalGiB int
}

// Some stands for an unknown number that is not 0.
const Some = -1

// plugged are the resources that the device plugins of other vendors register
// for whole accelerators.
var plugged = map[string][]string{
	AMD:    {"amd.com/gpu"},
	Intel:  {"gpu.intel.com/i915", "gpu.intel.com/xe"},
	Habana: {"habana.ai/gaudi"},
}

// IsAccelerator says whether a resource of pods stands for accelerators.
func IsAccelerator(resource string) bool {
	if resource == WholeGPU || resource == WholeGPU+".shared" || strings.HasPrefix(resource, migResource) {
		return true
	}
	for _, names := range plugged {
		if slices.Contains(names, resource) {
			return true
		}
	}
	return false
}

// Offer is what the node comes to offer under a policy. NVIDIA's GPUs are
// offered by the operator, or else as the node's status says already.
func (p Policy) Offer(n Node, got Assigned, operator bool) Offer {
	o := Offer{Resources: map[string]int64{}}
	for _, r := range n.Resources {
		if IsAccelerator(r.Name) {
			o.Resources[r.Name] = r.Allocatable
		}
	}
	if operator && got != (Assigned{-1, -1}) {
		for name := range o.Resources { // the policy takes their place
			if strings.HasPrefix(name, "nvidia.com/") {
				delete(o.Resources, name)
			}
		}
	}
	made := map[string]int64{}
	known := true
	for _, g := range n.Physical() {
		if g.display() {
			continue
		}
		o.GPUs = true
		parts := p.parts(g, got)
		switch {
		case g.Vendor == NVIDIA || g.Vendor == "": // only labels tell of it, which are NVIDIA's
			if operator {
				p.offerNVIDIA(g, parts, made)
			}
		default:
			for _, name := range plugged[g.Vendor] {
				add(made, name, int64(g.Count), g.Count)
			}
		}
		known = known && o.memory(g, parts)
	}
	if !known {
		o.LargestGiB, o.TotalGiB = 0, 0
	}
	if got.Slicing >= 0 {
		s := p.TimeSlicing[got.Slicing]
		if n := made[s.Shared()]; n > 0 {
			made[s.Shared()] = n * int64(s.Replicas)
		}
	}
	for name, count := range made {
		if have := o.Resources[name]; count == Some || count > have && have != Some {
			o.Resources[name] = count
		}
	}
	return o
}

// display says whether it is a processor's own graphics, as far as that can be
// told: Intel's, that the catalogue does not know.
func (g GPU) display() bool { return g.Vendor == Intel && !g.Known() }

// parts are those that one GPU is cut into; nil where it stays whole.
func (p Policy) parts(g GPU, got Assigned) map[string]int {
	if got.Layout < 0 || !g.MIG {
		return nil
	}
	return p.MIG.Layouts[got.Layout].Profiles
}

func (p Policy) offerNVIDIA(g GPU, parts map[string]int, made map[string]int64) {
	if len(parts) == 0 {
		add(made, WholeGPU, int64(g.Count), g.Count)
	}
	for profile, n := range parts {
		name := MIGResource(profile)
		if p.MIG.Of() == MIGSingle {
			name = WholeGPU
		}
		add(made, name, int64(n)*int64(g.Count), g.Count)
	}
}

// add adds n of a resource; a count of 0 GPUs means that it is unknown.
func add(made map[string]int64, name string, n int64, count int) {
	if count == 0 || made[name] == Some {
		made[name] = Some
		return
	}
	made[name] += n
}

// memory adds what a kind of GPU has; false where that is unknown. A pod does
// not get several parts to work as one.
func (o *Offer) memory(g GPU, parts map[string]int) bool {
	largest, total := g.MemoryGiB, g.MemoryGiB*g.Count
	if len(parts) > 0 {
		largest = 0
		for profile := range parts {
			_, gb := profileSize(profile)
			largest = max(largest, gb)
		}
		total = largest
	}
	o.LargestGiB, o.TotalGiB = max(o.LargestGiB, largest), max(o.TotalGiB, total)
	return largest > 0 && total > 0
}
