package gpu

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/caisson/caisson/internal/api/yamlfile"
	"github.com/caisson/caisson/internal/event"
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

// migResource begins the resources of MIGMixed.
const migResource = "nvidia.com/mig-"

// MIGResource is what the device plugin calls a profile with MIGMixed: a resource
// has no plus sign, 1g.10gb+me is nvidia.com/mig-1g.10gb.me.
func MIGResource(profile string) string { return migResource + strings.ReplaceAll(profile, "+", ".") }

// Empty says whether the policy wants nothing.
func (p Policy) Empty() bool {
	return p.Driver == "" && p.MIG.Strategy == "" && len(p.MIG.Layouts) == 0 && len(p.TimeSlicing) == 0
}

// Of is the strategy, which follows from the layouts where none is named.
func (p MIGPolicy) Of() string {
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
	return labelValue(strings.ReplaceAll(strings.Join(parts, "-"), "+", "."))
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
	return labelValue(fmt.Sprintf("%s-%d", resource, s.Replicas))
}

// allDisabled is the layout that leaves GPUs whole.
const allDisabled = "all-disabled"

// MIGConfig is the configuration of NVIDIA's MIG manager with all layouts.
func (p MIGPolicy) MIGConfig() (string, error) {
	type entry struct {
		Devices string         `yaml:"devices"`
		Enabled bool           `yaml:"mig-enabled"`
		Parts   map[string]int `yaml:"mig-devices,omitempty"`
	}
	configs := map[string][]entry{allDisabled: {{Devices: "all"}}}
	for _, l := range p.Layouts {
		configs[l.Name()] = []entry{{Devices: "all", Enabled: true, Parts: l.Profiles}}
	}
	return text(map[string]any{"version": "v1", "mig-configs": configs})
}

// PluginDefault is the configuration of the device plugin on all other nodes.
const PluginDefault = "default"

// PluginConfigs are the configurations of NVIDIA's device plugin by name, nil
// where nothing is shared.
func (p Policy) PluginConfigs() (map[string]string, error) {
	if len(p.TimeSlicing) == 0 {
		return nil, nil
	}
	type shared struct {
		Name     string `yaml:"name"`
		Replicas int    `yaml:"replicas"`
	}
	out := map[string]string{}
	var err error
	if out[PluginDefault], err = text(map[string]any{"version": "v1"}); err != nil {
		return nil, err
	}
	for _, s := range p.TimeSlicing {
		sharing := map[string]any{"timeSlicing": map[string]any{"resources": []shared{{s.Shared(), s.Replicas}}}}
		if out[s.Name()], err = text(map[string]any{"version": "v1", "sharing": sharing}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func text(v any) (string, error) {
	b, err := yaml.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("writing the configuration of GPUs: %w", err)
	}
	return string(b), nil
}

// Assigned is what a policy gives a node: indexes into its lists, -1 for none.
type Assigned struct{ Layout, Slicing int }

// Assign gives each node of a list what a policy has for it, in the same order,
// and finds all that the policy gets wrong.
func (c *Catalogue) Assign(p Policy, nodes []Node) ([]Assigned, []event.Finding) {
	a := &assigner{c: c, p: p, nodes: nodes, out: make([]Assigned, len(nodes))}
	for i := range a.out {
		a.out[i] = Assigned{-1, -1}
	}
	a.pin()
	a.strategy()
	for i, l := range p.MIG.Layouts {
		a.layout(fmt.Sprintf("gpu.policy.mig.layouts[%d]", i), l)
	}
	layouts := make([]chosen, len(p.MIG.Layouts))
	for i, l := range p.MIG.Layouts {
		layouts[i] = chosen{fmt.Sprintf("gpu.policy.mig.layouts[%d]", i), l.Product, l.Nodes}
	}
	a.each(layouts, func(node, at int) { a.out[node].Layout = at })
	shares := make([]chosen, len(p.TimeSlicing))
	for i, s := range p.TimeSlicing {
		shares[i] = chosen{fmt.Sprintf("gpu.policy.timeSlicing[%d]", i), s.Product, s.Nodes}
	}
	a.each(shares, func(node, at int) { a.out[node].Slicing = at })
	for i := range nodes {
		a.node(i)
	}
	return a.out, a.found
}

type assigner struct {
	c     *Catalogue
	p     Policy
	nodes []Node
	out   []Assigned
	found []event.Finding
}

// chosen is whom an entry of the policy is for, and where it is written.
type chosen struct {
	at, product string
	nodes       []string
}

func (a *assigner) find(severity event.Severity, code, item, what, why, hint string) {
	a.found = append(a.found, event.Finding{Severity: severity, Code: code, Item: item, What: what, Why: why, Hint: hint})
}

// pin checks that the pinned driver is of a branch that the catalogue knows.
func (a *assigner) pin() {
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
	a.find(event.Error, event.CodeDriverPin, "gpu.policy.driver", fmt.Sprintf("gpu.policy.driver: no branch of NVIDIA's driver is %q", a.p.Driver),
		"a driver of an unknown branch cannot be held against the GPUs", "name one of: "+strings.Join(known, ", ")+"; or remove the pin")
}

func (a *assigner) strategy() {
	mig := a.p.MIG
	switch {
	case mig.Strategy == MIGNone && len(mig.Layouts) > 0:
		a.find(event.Error, event.CodeMIGStrategy, "gpu.policy.mig", "gpu.policy.mig: strategy none, and layouts are given",
			"with none no GPU is cut", "set strategy to single or mixed, or remove the layouts")
	case mig.Strategy == MIGSingle:
		for i, l := range mig.Layouts {
			if len(l.Profiles) > 1 {
				at := fmt.Sprintf("gpu.policy.mig.layouts[%d]", i)
				a.find(event.Error, event.CodeMIGStrategy, at, fmt.Sprintf("%s: strategy single, and the layout has several profiles: %s", at, l.Words()),
					"with single all parts of a node have to be alike", "set gpu.policy.mig.strategy to mixed, or keep one profile")
			}
		}
	}
}

// rows are the devices that a name can mean.
func (c *Catalogue) rows(product string) []Device {
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

// devices are what the catalogue can mean by a GPU.
func (c *Catalogue) devices(g GPU) []Device {
	if d, ok := c.Device(g.Vendor, g.Device); ok {
		return []Device{d}
	}
	return c.rows(g.Product)
}

// Called says whether a GPU has a name, the catalogue's or the driver's.
func (c *Catalogue) Called(g GPU, product string) bool {
	same := func(a, b Device) bool { return a.Vendor == b.Vendor && a.Device == b.Device }
	return sameName(g.Product, product) || slices.ContainsFunc(c.rows(product), func(d Device) bool {
		return slices.ContainsFunc(c.devices(g), func(x Device) bool { return same(x, d) })
	})
}

// layout checks one that names a product against the catalogue; one that names
// nodes is checked against their GPUs.
func (a *assigner) layout(at string, l Layout) {
	before := a.found
	for _, d := range a.c.rows(l.Product) {
		if a.found = slices.Clip(before); a.fits(at, l, d) {
			return // one row that fits is enough: a name can have several ids
		}
	}
}

// fits holds a layout against a device and finds what is wrong.
func (a *assigner) fits(at string, l Layout, d Device) bool {
	have := a.c.Devices.MIG[d.MIG].Profiles
	if have == nil {
		var able []string
		for _, x := range a.c.Devices.Devices {
			if x.MIG != "" && !slices.Contains(able, x.Product) {
				able = append(able, x.Product)
			}
		}
		a.find(event.Error, event.CodeNoMIG, at, fmt.Sprintf("%s: the catalogue has no MIG profiles of %s", at, d.Product),
			"the MIG manager would fail on the node", "remove the layout, or use timeSlicing; with MIG: "+strings.Join(able, ", "))
		return false
	}
	good := true
	for _, profile := range slices.Sorted(maps.Keys(l.Profiles)) {
		most, ok := have[profile]
		switch n := l.Profiles[profile]; {
		case !ok:
			known := slices.Sorted(maps.Keys(have))
			a.find(event.Error, event.CodeMIGProfile, at, fmt.Sprintf("%s: %s has no profile %s%s", at, d.Product, profile, yamlfile.Suggest(profile, known)),
				"the MIG manager would refuse the layout", "name profiles of it: "+strings.Join(known, ", "))
			good = false
		case n > most:
			a.find(event.Error, event.CodeMIGDoesNotFit, at, fmt.Sprintf("%s: %d of %s, and at most %d fit on one %s", at, n, profile, most, d.Product),
				"the MIG manager would refuse the layout", fmt.Sprintf("lower it to %d", most))
			good = false
		}
	}
	if good {
		good = a.together(at, l, d, have)
	}
	return good
}

// together checks that a layout's parts fit beside each other.
func (a *assigner) together(at string, l Layout, d Device, have map[string]int) bool {
	unit := 0
	for profile := range have {
		if _, gb := profileSize(profile); unit == 0 || gb < unit {
			unit = gb
		}
	}
	compute, memory, computeMax, memoryMax := 0, 0, 0, 0
	for profile, most := range have {
		g, m := slicesOf(profile, unit)
		computeMax, memoryMax = max(computeMax, g*most), max(memoryMax, m*most)
		compute, memory = compute+g*l.Profiles[profile], memory+m*l.Profiles[profile]
	}
	if compute <= computeMax && memory <= memoryMax {
		return true
	}
	a.find(event.Error, event.CodeMIGDoesNotFit, at, fmt.Sprintf("%s: %s do not fit together on one %s", at, l.Words(), d.Product),
		fmt.Sprintf("they take %d of %d compute slices and %d of %d memory slices", compute, computeMax, memory, memoryMax), "take fewer or smaller parts")
	return false
}

// ProfileRule is how profiles are written.
var ProfileRule = regexp.MustCompile(`^([1-9])g\.([1-9][0-9]{0,3})gb(\+me(\.all)?|-me|\+gfx)?$`)

// profileSize takes 2g.10gb apart.
func profileSize(profile string) (g, gb int) {
	if m := ProfileRule.FindStringSubmatch(profile); m != nil {
		g, _ = strconv.Atoi(m[1])
		gb, _ = strconv.Atoi(m[2])
	}
	return g, gb
}

// slicesOf are the compute and memory slices of a profile; unit is the memory of
// one slice in GB.
func slicesOf(profile string, unit int) (compute, memory int) {
	g, gb := profileSize(profile)
	return g, int(math.Round(float64(gb) / float64(max(unit, 1))))
}

// each gives every node the entry that is for it: one that names the node, or
// else one that names its product.
func (a *assigner) each(entries []chosen, give func(node, at int)) {
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
				a.find(event.Error, event.CodeGPUPolicyNode, e.at, fmt.Sprintf("%s: node %s is in %s as well", e.at, name, entries[other].at), "a node can have one of them", "name it once")
			case !ok:
				a.find(event.Warn, event.CodeGPUPolicyNode, e.at, fmt.Sprintf("%s: the cluster has no node %s", e.at, name), "the entry does nothing there", "correct the name; caisson nodes lists them")
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
			if _, by := named[n.Name]; !slices.ContainsFunc(n.Physical(), func(g GPU) bool { return a.c.Called(g, e.product) }) {
				continue
			} else if used[at] = true; by {
				continue
			}
			if other, twice := byProduct[i]; twice {
				a.find(event.Error, event.CodeGPUPolicyNode, e.at, fmt.Sprintf("%s: node %s is in %s as well", e.at, n.Name, entries[other].at), "a node can have one of them", "name the node under nodes: in one of them")
				continue
			}
			byProduct[i] = at
			give(i, at)
		}
		a.unused(e, used[at])
	}
}

// unused finds an entry whose product is unknown, or nowhere.
func (a *assigner) unused(e chosen, used bool) {
	if used {
		return
	}
	if len(a.c.rows(e.product)) > 0 {
		a.find(event.Warn, event.CodeGPUPolicyUnused, e.at, fmt.Sprintf("%s: no node has a %s", e.at, e.product), "the entry does nothing", "correct the product, or remove the entry; caisson nodes shows what there is")
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
	a.find(event.Error, event.CodeGPUPolicyProduct, e.at, fmt.Sprintf("%s: the catalogue knows no product %q%s", e.at, e.product, near), "nothing says which nodes are meant", "write it as caisson nodes does, or name the nodes")
}

// node checks what a node was given against its GPUs.
func (a *assigner) node(i int) {
	n, got := a.nodes[i], a.out[i]
	if got.Layout >= 0 {
		a.cut(n, got.Layout)
	}
	if got.Slicing >= 0 && len(n.Physical()) == 0 {
		at := fmt.Sprintf("gpu.policy.timeSlicing[%d]", got.Slicing)
		a.find(event.Warn, event.CodeGPUPolicyUnused, at, fmt.Sprintf("%s: node %s has no GPU that is known", at, n.Name), "the entry does nothing there", "take the node out of it")
	}
	if got.Layout < 0 && got.Slicing >= 0 && strings.HasPrefix(a.p.TimeSlicing[got.Slicing].Shared(), migResource) || got.Layout >= 0 && got.Slicing >= 0 {
		a.shared(n, got)
	}
}

// cut holds a layout against the GPUs of a node.
func (a *assigner) cut(n Node, layout int) {
	l, at := a.p.MIG.Layouts[layout], fmt.Sprintf("gpu.policy.mig.layouts[%d]", layout)
	var kinds []string
	for _, g := range n.Physical() {
		if g.Vendor != NVIDIA {
			continue
		}
		if name := gpuName(g); !slices.Contains(kinds, name) {
			kinds = append(kinds, name)
		}
		if len(l.Nodes) > 0 {
			a.cutGPU(n, g, at, l)
		}
	}
	switch {
	case len(kinds) == 0:
		a.find(event.Warn, event.CodeGPUPolicyUnused, at, fmt.Sprintf("%s: node %s has no NVIDIA GPU that is known", at, n.Name), "the layout does nothing there", "take the node out of it")
	case len(kinds) > 1:
		a.find(event.Error, event.CodeMIGDoesNotFit, at, fmt.Sprintf("%s: node %s has GPUs of several products: %s", at, n.Name, strings.Join(kinds, ", ")),
			"a layout is for all GPUs of a node", "name other nodes")
	}
}

// cutGPU checks a layout that names nodes; what it finds of a product it says
// once.
func (a *assigner) cutGPU(n Node, g GPU, at string, l Layout) {
	rows := a.c.devices(g)
	if len(rows) == 0 {
		a.find(event.Error, event.CodeNoMIG, at, fmt.Sprintf("%s: the catalogue does not know the GPU %s of node %s", at, gpuName(g), n.Name), "which profiles it has cannot be checked", "take the node out of the layout")
		return
	}
	before := a.found
	a.fits(at, l, rows[0])
	for _, f := range a.found[len(before):] {
		if slices.Contains(before, f) {
			a.found = before
			return
		}
	}
}

// shared checks time slicing beside MIG.
func (a *assigner) shared(n Node, got Assigned) {
	s, at := a.p.TimeSlicing[got.Slicing], fmt.Sprintf("gpu.policy.timeSlicing[%d]", got.Slicing)
	var parts map[string]int
	if got.Layout >= 0 {
		parts = a.p.MIG.Layouts[got.Layout].Profiles
	}
	isPart := strings.HasPrefix(s.Shared(), migResource)
	mixed := a.p.MIG.Of() == MIGMixed
	switch {
	case isPart && (!mixed || !slices.Contains(resourcesOf(parts), s.Shared())):
		a.find(event.Error, event.CodeMIGTimeSlicing, at, fmt.Sprintf("%s: node %s offers no %s", at, n.Name, s.Shared()), "its GPUs are not cut so, or strategy is not mixed", "share a resource that the layout gives, or remove the entry")
	case !isPart && mixed:
		a.find(event.Error, event.CodeMIGTimeSlicing, at, fmt.Sprintf("%s: node %s offers no %s: its GPUs are cut, and strategy is mixed", at, n.Name, s.Shared()),
			"with mixed each profile is a resource of its own", "set resource to one of: "+strings.Join(resourcesOf(parts), ", "))
	}
}

func resourcesOf(parts map[string]int) []string {
	var out []string
	for _, profile := range slices.Sorted(maps.Keys(parts)) {
		out = append(out, MIGResource(profile))
	}
	return out
}
