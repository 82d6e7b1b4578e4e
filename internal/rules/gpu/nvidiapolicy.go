package gpu

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/api/yamlfile"
	"github.com/caisson/caisson/internal/event"
)

// Assigned is what a policy gives a node: indexes into its lists, -1 for none.
type Assigned struct{ Layout, Slicing int }

// nothing is what a policy gives a node that it is not for.
var nothing = Assigned{-1, -1}

// Assign gives each node of a list what a policy has for it, in the same order,
// and finds all that the policy gets wrong.
func (c *Catalogue) Assign(p site.Policy, nodes []inventory.Node) ([]Assigned, []event.Finding) {
	a := &assigner{c: c, p: p, nodes: nodes, out: make([]Assigned, len(nodes))}
	for i := range a.out {
		a.out[i] = nothing
	}
	a.checkPin()
	a.checkStrategy()
	for i, l := range p.MIG.Layouts {
		a.checkLayout(fmt.Sprintf("gpu.policy.mig.layouts[%d]", i), l)
	}
	layouts := make([]chosen, len(p.MIG.Layouts))
	for i, l := range p.MIG.Layouts {
		layouts[i] = chosen{fmt.Sprintf("gpu.policy.mig.layouts[%d]", i), l.Product, l.Nodes}
	}
	a.giveEach(layouts, func(node, at int) { a.out[node].Layout = at })
	shares := make([]chosen, len(p.TimeSlicing))
	for i, s := range p.TimeSlicing {
		shares[i] = chosen{fmt.Sprintf("gpu.policy.timeSlicing[%d]", i), s.Product, s.Nodes}
	}
	a.giveEach(shares, func(node, at int) { a.out[node].Slicing = at })
	for i := range nodes {
		a.checkNode(i)
	}
	return a.out, a.found
}

type assigner struct {
	c     *Catalogue
	p     site.Policy
	nodes []inventory.Node
	out   []Assigned
	found []event.Finding
}

// chosen is whom an entry of the policy is for, and where it is written.
type chosen struct {
	at, product string
	nodes       []string
}

func (a *assigner) report(f event.Finding) { a.found = append(a.found, f) }

// checkPin checks that the pinned driver is of a branch that the catalogue knows.
func (a *assigner) checkPin() {
	if a.p.Driver == "" {
		return
	}
	if _, ok := a.c.Drivers.Branch(branchOf(a.p.Driver)); ok {
		return
	}
	var known []string
	for _, b := range a.c.Drivers.Branches {
		known = append(known, strconv.Itoa(b.Branch))
	}
	a.report(event.Finding{
		Severity: event.Error, Code: event.CodeDriverPin, Item: "gpu.policy.driver",
		What: fmt.Sprintf("gpu.policy.driver: no branch of NVIDIA's driver is %q", a.p.Driver),
		Why:  "a driver of an unknown branch cannot be held against the GPUs",
		Hint: "name one of: " + strings.Join(known, ", ") + "; or remove the pin",
	})
}

func (a *assigner) checkStrategy() {
	mig := a.p.MIG
	switch {
	case mig.Strategy == site.MIGNone && len(mig.Layouts) > 0:
		a.report(event.Finding{
			Severity: event.Error, Code: event.CodeMIGStrategy, Item: "gpu.policy.mig",
			What: "gpu.policy.mig: strategy none, and layouts are given",
			Why:  "with none no GPU is cut",
			Hint: "set strategy to single or mixed, or remove the layouts",
		})
	case mig.Strategy == site.MIGSingle:
		for i, l := range mig.Layouts {
			if len(l.Profiles) > 1 {
				at := fmt.Sprintf("gpu.policy.mig.layouts[%d]", i)
				a.report(event.Finding{
					Severity: event.Error, Code: event.CodeMIGStrategy, Item: at,
					What: fmt.Sprintf("%s: strategy single, and the layout has several profiles: %s", at, l.Words()),
					Why:  "with single all parts of a node have to be alike",
					Hint: "set gpu.policy.mig.strategy to mixed, or keep one profile",
				})
			}
		}
	}
}

// devicesNamed are the devices that a name can mean.
func (c *Catalogue) devicesNamed(product string) []Device {
	var out []Device
	for _, d := range c.Devices.Devices {
		if d.Vendor == NVIDIA && slices.ContainsFunc(append([]string{d.Product}, d.Names...), func(n string) bool { return sameName(n, product) }) {
			out = append(out, d)
		}
	}
	return out
}

// sameName compares names of products, whose spaces labels write as dashes.
func sameName(a, b string) bool {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "-")) }
	return plain(a) == plain(b)
}

// devicesOf are what the catalogue can mean by a GPU.
func (c *Catalogue) devicesOf(g inventory.GPU) []Device {
	if d, ok := c.Device(g.Vendor, g.Device); ok {
		return []Device{d}
	}
	return c.devicesNamed(g.Product)
}

// IsCalled says whether a GPU has a name, the catalogue's or the driver's.
func (c *Catalogue) IsCalled(g inventory.GPU, product string) bool {
	same := func(a, b Device) bool { return a.Vendor == b.Vendor && a.Device == b.Device }
	return sameName(g.Product, product) || slices.ContainsFunc(c.devicesNamed(product), func(d Device) bool {
		return slices.ContainsFunc(c.devicesOf(g), func(x Device) bool { return same(x, d) })
	})
}

// checkLayout checks one that names a product against the catalogue; one that names
// nodes is checked against their GPUs.
func (a *assigner) checkLayout(at string, l site.Layout) {
	before := a.found
	for _, d := range a.c.devicesNamed(l.Product) {
		if a.found = slices.Clip(before); a.checkFit(at, l, d) {
			return // one row that fits is enough: a name can have several ids
		}
	}
}

// checkFit holds a layout against a device and finds what is wrong.
func (a *assigner) checkFit(at string, l site.Layout, d Device) bool {
	have := a.c.Devices.MIG[d.MIG].Profiles
	if have == nil {
		var able []string
		for _, x := range a.c.Devices.Devices {
			if x.MIG != "" && !slices.Contains(able, x.Product) {
				able = append(able, x.Product)
			}
		}
		a.report(event.Finding{
			Severity: event.Error, Code: event.CodeNoMIG, Item: at,
			What: fmt.Sprintf("%s: the catalogue has no MIG profiles of %s", at, d.Product),
			Why:  "the MIG manager would fail on the node",
			Hint: "remove the layout, or use timeSlicing; with MIG: " + strings.Join(able, ", "),
		})
		return false
	}
	good := true
	for _, profile := range slices.Sorted(maps.Keys(l.Profiles)) {
		most, ok := have[profile]
		switch n := l.Profiles[profile]; {
		case !ok:
			known := slices.Sorted(maps.Keys(have))
			a.report(event.Finding{
				Severity: event.Error, Code: event.CodeMIGProfile, Item: at,
				What: fmt.Sprintf("%s: %s has no profile %s%s", at, d.Product, profile, yamlfile.Suggest(profile, known)),
				Why:  "the MIG manager would refuse the layout",
				Hint: "name profiles of it: " + strings.Join(known, ", "),
			})
			good = false
		case n > most:
			a.report(event.Finding{
				Severity: event.Error, Code: event.CodeMIGDoesNotFit, Item: at,
				What: fmt.Sprintf("%s: %d of %s, and at most %d fit on one %s", at, n, profile, most, d.Product),
				Why:  "the MIG manager would refuse the layout",
				Hint: fmt.Sprintf("lower it to %d", most),
			})
			good = false
		}
	}
	if good {
		good = a.checkTogether(at, l, d, have)
	}
	return good
}

// checkTogether checks that a layout's parts fit beside each other.
func (a *assigner) checkTogether(at string, l site.Layout, d Device, have map[string]int) bool {
	unit := 0
	for profile := range have {
		if _, gb := profileSize(profile); unit == 0 || gb < unit {
			unit = gb
		}
	}
	compute, memory, computeMax, memoryMax := 0, 0, 0, 0
	for profile, most := range have {
		g, m := countSlices(profile, unit)
		computeMax, memoryMax = max(computeMax, g*most), max(memoryMax, m*most)
		compute, memory = compute+g*l.Profiles[profile], memory+m*l.Profiles[profile]
	}
	if compute <= computeMax && memory <= memoryMax {
		return true
	}
	a.report(event.Finding{
		Severity: event.Error, Code: event.CodeMIGDoesNotFit, Item: at,
		What: fmt.Sprintf("%s: %s do not fit together on one %s", at, l.Words(), d.Product),
		Why:  fmt.Sprintf("they take %d of %d compute slices and %d of %d memory slices", compute, computeMax, memory, memoryMax),
		Hint: "take fewer or smaller parts",
	})
	return false
}

// profileSize takes 2g.10gb apart.
func profileSize(profile string) (g, gb int) {
	if m := site.ProfileRule.FindStringSubmatch(profile); m != nil {
		g, _ = strconv.Atoi(m[1])
		gb, _ = strconv.Atoi(m[2])
	}
	return g, gb
}

// countSlices are the compute and memory slices of a profile; unit is the memory of
// one slice in GB.
func countSlices(profile string, unit int) (compute, memory int) {
	g, gb := profileSize(profile)
	return g, int(math.Round(float64(gb) / float64(max(unit, 1))))
}

// giveEach gives every node the entry that is for it: one that names the node, or
// else one that names its product.
func (a *assigner) giveEach(entries []chosen, give func(node, at int)) {
	index := map[string]int{}
	for i, n := range a.nodes {
		index[n.Name] = i
	}
	named := map[string]int{}
	used := make([]bool, len(entries))
	for at, e := range entries {
		for _, name := range e.nodes {
			i, ok := index[name]
			other, twice := named[name]
			switch {
			case twice:
				a.report(event.Finding{
					Severity: event.Error, Code: event.CodeGPUPolicyNode, Item: e.at,
					What: fmt.Sprintf("%s: node %s is in %s as well", e.at, name, entries[other].at),
					Why:  "a node can have one of them",
					Hint: "name it once",
				})
			case !ok:
				a.report(event.Finding{
					Severity: event.Warn, Code: event.CodeGPUPolicyNode, Item: e.at,
					What: fmt.Sprintf("%s: the cluster has no node %s", e.at, name),
					Why:  "the entry does nothing there",
					Hint: "correct the name; caisson nodes lists them",
				})
			default:
				give(i, at)
			}
			named[name], used[at] = at, true
		}
	}
	byProduct := map[int]int{}
	for at, e := range entries {
		if e.product == "" {
			continue
		}
		for i, n := range a.nodes {
			if _, by := named[n.Name]; !slices.ContainsFunc(n.Physical(), func(g inventory.GPU) bool { return a.c.IsCalled(g, e.product) }) {
				continue
			} else if used[at] = true; by {
				continue
			}
			if other, twice := byProduct[i]; twice {
				a.report(event.Finding{
					Severity: event.Error, Code: event.CodeGPUPolicyNode, Item: e.at,
					What: fmt.Sprintf("%s: node %s is in %s as well", e.at, n.Name, entries[other].at),
					Why:  "a node can have one of them",
					Hint: "name the node under nodes: in one of them",
				})
				continue
			}
			byProduct[i] = at
			give(i, at)
		}
		a.findUnused(e, used[at])
	}
}

// findUnused finds an entry whose product is unknown, or nowhere.
func (a *assigner) findUnused(e chosen, used bool) {
	if used {
		return
	}
	if len(a.c.devicesNamed(e.product)) > 0 {
		a.report(event.Finding{
			Severity: event.Warn, Code: event.CodeGPUPolicyUnused, Item: e.at,
			What: fmt.Sprintf("%s: no node has a %s", e.at, e.product),
			Why:  "the entry does nothing",
			Hint: "correct the product, or remove the entry; caisson nodes shows what there is",
		})
		return
	}
	var known []string
	for _, d := range a.c.Devices.Devices {
		if d.Vendor == NVIDIA {
			known = append(known, append([]string{d.Product}, d.Names...)...)
		}
	}
	near := yamlfile.Suggest(e.product, known)
	if strings.HasPrefix(near, ";") { // all of them: too many
		near = ""
	}
	a.report(event.Finding{
		Severity: event.Error, Code: event.CodeGPUPolicyProduct, Item: e.at,
		What: fmt.Sprintf("%s: the catalogue knows no product %q%s", e.at, e.product, near),
		Why:  "nothing says which nodes are meant",
		Hint: "write it as caisson nodes does, or name the nodes",
	})
}

// checkNode checks what a node was given against its GPUs.
func (a *assigner) checkNode(i int) {
	n, got := a.nodes[i], a.out[i]
	if got.Layout >= 0 {
		a.checkLayoutOn(n, got.Layout)
	}
	if got.Slicing >= 0 && len(n.Physical()) == 0 {
		at := fmt.Sprintf("gpu.policy.timeSlicing[%d]", got.Slicing)
		a.report(event.Finding{
			Severity: event.Warn, Code: event.CodeGPUPolicyUnused, Item: at,
			What: fmt.Sprintf("%s: node %s has no GPU that is known", at, n.Name),
			Why:  "the entry does nothing there",
			Hint: "take the node out of it",
		})
	}
	if got.Layout < 0 && got.Slicing >= 0 && strings.HasPrefix(a.p.TimeSlicing[got.Slicing].Shared(), partResource) || got.Layout >= 0 && got.Slicing >= 0 {
		a.checkSharing(n, got)
	}
}

// checkLayoutOn holds a layout against the GPUs of a node.
func (a *assigner) checkLayoutOn(n inventory.Node, layout int) {
	l, at := a.p.MIG.Layouts[layout], fmt.Sprintf("gpu.policy.mig.layouts[%d]", layout)
	var kinds []string
	for _, g := range n.Physical() {
		if g.Vendor != NVIDIA {
			continue
		}
		if name := nameGPU(g); !slices.Contains(kinds, name) {
			kinds = append(kinds, name)
		}
		if len(l.Nodes) > 0 {
			a.checkLayoutOnGPU(n, g, at, l)
		}
	}
	switch {
	case len(kinds) == 0:
		a.report(event.Finding{
			Severity: event.Warn, Code: event.CodeGPUPolicyUnused, Item: at,
			What: fmt.Sprintf("%s: node %s has no NVIDIA GPU that is known", at, n.Name),
			Why:  "the layout does nothing there",
			Hint: "take the node out of it",
		})
	case len(kinds) > 1:
		a.report(event.Finding{
			Severity: event.Error, Code: event.CodeMIGDoesNotFit, Item: at,
			What: fmt.Sprintf("%s: node %s has GPUs of several products: %s", at, n.Name, strings.Join(kinds, ", ")),
			Why:  "a layout is for all GPUs of a node",
			Hint: "name other nodes",
		})
	}
}

// checkLayoutOnGPU checks a layout that names nodes; what it finds of a product it says
// once.
func (a *assigner) checkLayoutOnGPU(n inventory.Node, g inventory.GPU, at string, l site.Layout) {
	rows := a.c.devicesOf(g)
	if len(rows) == 0 {
		a.report(event.Finding{
			Severity: event.Error, Code: event.CodeNoMIG, Item: at,
			What: fmt.Sprintf("%s: the catalogue does not know the GPU %s of node %s", at, nameGPU(g), n.Name),
			Why:  "which profiles it has cannot be checked",
			Hint: "take the node out of the layout",
		})
		return
	}
	before := a.found
	a.checkFit(at, l, rows[0])
	for _, f := range a.found[len(before):] {
		if slices.Contains(before, f) {
			a.found = before
			return
		}
	}
}

// checkSharing checks time slicing beside MIG.
func (a *assigner) checkSharing(n inventory.Node, got Assigned) {
	s, at := a.p.TimeSlicing[got.Slicing], fmt.Sprintf("gpu.policy.timeSlicing[%d]", got.Slicing)
	var parts map[string]int
	if got.Layout >= 0 {
		parts = a.p.MIG.Layouts[got.Layout].Profiles
	}
	isPart := strings.HasPrefix(s.Shared(), partResource)
	mixed := a.p.MIG.EffectiveStrategy() == site.MIGMixed
	switch {
	case isPart && (!mixed || !slices.Contains(namePartResources(parts), s.Shared())):
		a.report(event.Finding{
			Severity: event.Error, Code: event.CodeMIGTimeSlicing, Item: at,
			What: fmt.Sprintf("%s: node %s offers no %s", at, n.Name, s.Shared()),
			Why:  "its GPUs are not cut so, or strategy is not mixed",
			Hint: "share a resource that the layout gives, or remove the entry",
		})
	case !isPart && mixed:
		a.report(event.Finding{
			Severity: event.Error, Code: event.CodeMIGTimeSlicing, Item: at,
			What: fmt.Sprintf("%s: node %s offers no %s: its GPUs are cut, and strategy is mixed", at, n.Name, s.Shared()),
			Why:  "with mixed each profile is a resource of its own",
			Hint: "set resource to one of: " + strings.Join(namePartResources(parts), ", "),
		})
	}
}

func namePartResources(parts map[string]int) []string {
	var out []string
	for _, profile := range slices.Sorted(maps.Keys(parts)) {
		out = append(out, MIGResource(profile))
	}
	return out
}
