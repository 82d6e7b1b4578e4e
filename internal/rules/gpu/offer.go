package gpu

import (
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
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

// OfferOf is what a node comes to offer under a policy. GPUs whose vendor has an
// operator are offered by it, or else as the node's status says already.
func OfferOf(n inventory.Node, p site.Policy, got Assigned, operator bool) Offer {
	o := Offer{Resources: map[string]int64{}}
	for _, r := range n.Resources {
		if IsAccelerator(r.Name) && !(operator && got != nothing && isPlanned(r.Name)) {
			o.Resources[r.Name] = r.Allocatable
		}
	}
	made := map[string]int64{}
	known := true
	for _, g := range n.Physical() {
		v := vendorOffering(g)
		if v.Graphics && !g.Known() {
			continue
		}
		o.GPUs = true
		parts := partsOf(g, p, got)
		switch {
		case v.Offer == nil:
			for _, name := range v.Resources.Whole {
				addResource(made, name, int64(g.Count), g.Count)
			}
		case operator:
			for name, n := range v.Offer(p, parts) {
				addResource(made, name, n*int64(g.Count), g.Count)
			}
		}
		known = known && o.addMemory(g, parts)
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

// isPlanned says whether a policy decides how much there is of a resource.
func isPlanned(resource string) bool {
	return slices.ContainsFunc(Vendors(), func(v Vendor) bool {
		return v.Offer != nil && strings.HasPrefix(resource, v.Resources.Prefix)
	})
}

// vendorOffering is the vendor whose device plugin offers a GPU. Of one without an
// id only labels tell, which are those of the vendor with a policy.
func vendorOffering(g inventory.GPU) Vendor {
	for _, v := range Vendors() {
		if v.ID == g.Vendor || g.Vendor == "" && v.Offer != nil {
			return v
		}
	}
	return Vendor{}
}

// partsOf are those that one GPU is cut into; nil where it stays whole.
func partsOf(g inventory.GPU, p site.Policy, got Assigned) map[string]int {
	if got.Layout < 0 || !g.MIG {
		return nil
	}
	return p.MIG.Layouts[got.Layout].Profiles
}

// addResource adds n of a resource; a count of 0 GPUs means that it is unknown.
func addResource(made map[string]int64, name string, n int64, count int) {
	if count == 0 || made[name] == Some {
		made[name] = Some
		return
	}
	made[name] += n
}

// addMemory adds what a kind of GPU has; false where that is unknown. A pod does
// not get several parts to work as one.
func (o *Offer) addMemory(g inventory.GPU, parts map[string]int) bool {
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
