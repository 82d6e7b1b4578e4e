package gpu

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
)

// Kind is one kind of accelerator that pods can ask for: a product, or parts of it, under
// one resource.
type Kind struct {
	// Name is a DNS label, unique among the kinds of a cluster.
	Name string `json:"name"`
	// Vendor in lower case, such as nvidia.
	Vendor string `json:"vendor"`
	// Product as the nodes' labels write it.
	Product string `json:"product"`
	// Resource is what pods ask for, such as nvidia.com/mig-1g.10gb.
	Resource string `json:"resource"`
	// MemoryGiB of one; of the whole GPU where pods take turns; 0 where unknown.
	MemoryGiB int `json:"memoryGiB"`
	// Count of the resource over all nodes, and PerNode the most that one node has.
	Count   int64 `json:"count"`
	Nodes   int   `json:"nodes"`
	PerNode int64 `json:"perNode"`
	// Profile of MIG; empty for whole GPUs.
	Profile string `json:"profile,omitempty"`
	// Shared is how many pods take turns on one; 0 where none do.
	Shared int `json:"shared,omitempty"`
	// NodeLabels choose the nodes; none where no label tells them.
	NodeLabels map[string]string `json:"nodeLabels,omitempty"`

	offered bool // a node's status counts it
}

// Kinds lists what a cluster's nodes come to offer under a policy, sorted by name.
// Assigned says what the policy gives a node. GPUs that nobody can count are left out; the
// names are those of nodes that have such.
func (c *Catalogue) Kinds(nodes []inventory.Node, p site.Policy, assigned map[string]Assigned, operator bool) ([]Kind, []string) {
	k := kindMaker{catalogue: c, policy: p, operator: operator, kinds: map[kindKey]*Kind{}}
	for _, n := range nodes {
		got, ok := assigned[n.Name]
		if !ok {
			got = nothing
		}
		k.addNode(n, got)
	}
	return k.distinct(), k.uncounted
}

// distinct lists the kinds, sorted. Where names meet they say more.
func (k *kindMaker) distinct() []Kind {
	names := map[string]int{}
	for key := range k.kinds {
		names[key.name]++
	}
	var out []Kind
	for key, kind := range k.kinds {
		if names[key.name] > 1 {
			_, resource, _ := strings.Cut(kind.Resource, "/")
			more := kind.Name + "-" + resource
			if kind.Shared > 0 {
				more = fmt.Sprintf("%s-by-%d", more, kind.Shared)
			}
			kind.Name = site.DNSLabel(more)
		}
		out = append(out, *kind)
	}
	slices.SortFunc(out, func(a, b Kind) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// kindMaker gathers kinds.
type kindMaker struct {
	catalogue *Catalogue
	policy    site.Policy
	operator  bool
	kinds     map[kindKey]*Kind
	uncounted []string // nodes
}

// addNode adds what one node offers.
func (k *kindMaker) addNode(n inventory.Node, got Assigned) {
	here, told, counted := map[kindKey]Kind{}, map[string]bool{}, true
	for _, g := range n.Physical() {
		v := vendorOffering(g)
		if v.Graphics && !g.Known() {
			continue
		}
		kinds := k.kindsOf(n, g, v, got)
		counted = counted && slices.ContainsFunc(kinds, func(kind Kind) bool { return kind.Count > 0 })
		for _, kind := range kinds {
			if kind.offered && told[kind.Resource] {
				continue // the node's status counts all of its GPUs together
			}
			old := here[kind.key()]
			kind.Count += old.Count
			here[kind.key()] = kind
		}
		for _, r := range n.Resources {
			told[r.Name] = told[r.Name] || v.Resources.has(r.Name)
		}
	}
	for _, kind := range here {
		k.join(kind)
	}
	if !counted {
		k.uncounted = append(k.uncounted, n.Name)
	}
}

// kindKey tells kinds apart.
type kindKey struct {
	name, resource string
	shared         int
}

func (k Kind) key() kindKey { return kindKey{k.Name, k.Resource, k.Shared} }

// join adds one node's share of a kind to what others have.
func (k *kindMaker) join(here Kind) {
	if here.Count <= 0 {
		return
	}
	all := k.kinds[here.key()]
	if all == nil {
		all = &Kind{}
		*all = here
		all.Count = 0
		k.kinds[here.key()] = all
	}
	all.Count += here.Count
	all.Nodes++
	all.PerNode = max(all.PerNode, here.Count)
	if !maps.Equal(all.NodeLabels, here.NodeLabels) {
		all.NodeLabels = nil // no label chooses all of these nodes
	}
}

// kindsOf are those that the like GPUs g of a node come to.
func (k *kindMaker) kindsOf(n inventory.Node, g inventory.GPU, v Vendor, got Assigned) []Kind {
	whole := Kind{
		Vendor: strings.ToLower(v.Name), Product: k.productOf(n, g), MemoryGiB: g.MemoryGiB,
		NodeLabels: k.labelsOf(n, g, v, got),
	}
	if isMiscut(n) && got.Layout < 0 {
		return nil
	}
	if v.Offer == nil || !k.operator || got == nothing && isOffered(n, v) {
		return k.offeredKinds(n, g, v, whole)
	}
	parts := partsOf(g, k.policy, got)
	if len(parts) == 0 {
		whole.Resource, whole.Count = site.WholeGPU, k.countOf(n, g, site.WholeGPU)
		return []Kind{k.share(whole, got)}
	}
	var out []Kind
	for _, profile := range slices.Sorted(maps.Keys(parts)) {
		part := whole
		part.Profile, part.NodeLabels = profile, maps.Clone(whole.NodeLabels)
		_, part.MemoryGiB = profileSize(profile)
		part.Resource, part.Count = MIGResource(profile), k.countParts(n, g, profile, got)
		if k.policy.MIG.EffectiveStrategy() == site.MIGSingle {
			part.Resource = site.WholeGPU
			suffixLabel(part.NodeLabels, "-MIG-"+strings.ReplaceAll(profile, "+", "."))
		}
		out = append(out, k.share(part, got))
	}
	return out
}

// countParts is how many parts of a profile a node comes to have. Where the policy's cut is
// made already, and nobody can see how many GPUs that took, its status says.
func (k *kindMaker) countParts(n inventory.Node, g inventory.GPU, profile string, got Assigned) int64 {
	layout := k.policy.MIG.Layouts[got.Layout]
	if _, now := splitProduct(n.Product); now == profile && g.AtLeast && n.Layout == layout.Name() {
		for _, r := range n.Resources {
			if r.Name == site.WholeGPU && r.Allocatable > 0 {
				return r.Allocatable / int64(max(r.Shared, 1))
			}
		}
	}
	return int64(layout.Profiles[profile] * g.Count)
}

// isMiscut says whether GPU feature discovery found a node cut in a way that its strategy
// does not allow: pods get nothing of it.
func isMiscut(n inventory.Node) bool {
	_, profile := splitProduct(n.Product)
	return profile == "INVALID"
}

// isOffered says whether a device plugin offers anything of a vendor already.
func isOffered(n inventory.Node, v Vendor) bool {
	return slices.ContainsFunc(n.Resources, func(r inventory.Resource) bool { return v.Resources.has(r.Name) && r.Allocatable > 0 })
}

// offeredKinds are those that a device plugin offers already, as the node's status says.
// Where it says nothing yet, the vendor's own resource counts the GPUs.
func (k *kindMaker) offeredKinds(n inventory.Node, g inventory.GPU, v Vendor, whole Kind) []Kind {
	var out []Kind
	for _, r := range n.Resources {
		if !v.Resources.has(r.Name) || r.Allocatable <= 0 {
			continue
		}
		kind := whole
		kind.Resource, kind.Count, kind.Shared, kind.offered = r.Name, r.Allocatable, r.Shared, true
		if kind.Profile = profileOffered(n, v, r.Name); kind.Profile != "" {
			_, kind.MemoryGiB = profileSize(kind.Profile)
		}
		times := r.Allocatable / int64(max(g.Count, 1))
		if kind.Shared == 0 && kind.Profile == "" && g.Count > 0 && times > 1 {
			kind.Shared = int(times)
		}
		out = append(out, named(kind))
	}
	if len(out) == 0 && len(v.Resources.Whole) == 1 {
		whole.Resource, whole.Count = v.Resources.Whole[0], int64(g.Count)
		out = append(out, named(whole))
	}
	return out
}

// profileOffered is the profile of the parts that a resource of a node stands for; empty
// where it stands for whole GPUs. With one profile for all, only the product's label tells.
func profileOffered(n inventory.Node, v Vendor, resource string) string {
	if parts := v.Resources.Parts; parts != "" && strings.HasPrefix(resource, parts) {
		return readProfile(strings.TrimSuffix(strings.TrimPrefix(resource, parts), sharedSuffix))
	}
	if v.ID != NVIDIA {
		return ""
	}
	_, profile := splitProduct(n.Product)
	return profile
}

// countOf is how many GPUs there are: as was read, or else as the node offers.
func (k *kindMaker) countOf(n inventory.Node, g inventory.GPU, resource string) int64 {
	if g.Count > 0 {
		return int64(g.Count)
	}
	for _, r := range n.Resources {
		if r.Name == resource {
			return r.Allocatable
		}
	}
	return 0
}

// share lets pods take turns where the policy says so, and names the kind.
func (k *kindMaker) share(kind Kind, got Assigned) Kind {
	if got.Slicing >= 0 {
		if s := k.policy.TimeSlicing[got.Slicing]; s.Shared() == kind.Resource {
			kind.Shared, kind.Count = s.Replicas, kind.Count*int64(s.Replicas)
			kind.NodeLabels = maps.Clone(kind.NodeLabels)
			if kind.Resource == site.WholeGPU {
				suffixLabel(kind.NodeLabels, "-SHARED")
			}
		}
	}
	return named(kind)
}

// suffixLabel adds to the product that GPU feature discovery writes.
func suffixLabel(labels map[string]string, suffix string) {
	if product, ok := labels[labelNVIDIAProduct]; ok {
		labels[labelNVIDIAProduct] = product + suffix
	}
}

// named gives a kind its name.
func named(kind Kind) Kind {
	words := []string{kind.Product}
	if !strings.HasPrefix(strings.ToLower(kind.Product), kind.Vendor) {
		words = []string{kind.Vendor, kind.Product}
	}
	if kind.Profile != "" {
		words = append(words, "mig", kind.Profile)
	}
	if kind.Shared > 0 {
		words = append(words, "shared")
	}
	kind.Name = site.DNSLabel(strings.Join(words, "-"))
	return kind
}

// productOf is what labels call the product: as the driver does, with dashes.
func (k *kindMaker) productOf(n inventory.Node, g inventory.GPU) string {
	name := g.Product
	if d, ok := k.catalogue.Device(g.Vendor, g.Device); ok && len(d.Names) > 0 {
		name = d.Names[0]
	} else if d, ok := k.catalogue.Named(g.Product); ok {
		name = d.Names[0]
	}
	name = cmp.Or(name, strings.TrimSpace(g.Vendor+" "+g.Device), g.Architecture)
	return strings.ReplaceAll(name, " ", "-")
}

// labelsOf are the labels that choose the nodes with a GPU: what GPU feature discovery
// will write where the policy changes a node, or where the operator is new there; else
// what is there.
func (k *kindMaker) labelsOf(n inventory.Node, g inventory.GPU, v Vendor, got Assigned) map[string]string {
	if v.ID == NVIDIA && k.operator && (got != nothing || n.Product == "") {
		product, _ := splitProduct(n.Product)
		if d, ok := k.catalogue.Device(g.Vendor, g.Device); product == "" && (!ok || len(d.Names) != 1) {
			return nil
		}
		return map[string]string{labelNVIDIAProduct: cmp.Or(product, k.productOf(n, g))}
	}
	if v.ProductLabel == "" || n.Product == "" {
		return nil
	}
	return map[string]string{v.ProductLabel: n.Product}
}
