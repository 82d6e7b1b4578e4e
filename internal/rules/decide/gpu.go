package decide

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/listing"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// GPUFacts are what was found of the nodes with GPUs.
type GPUFacts struct {
	Month string           // today's, 2026-11
	Nodes []inventory.Node // all nodes of the cluster
	// Taken are labels of plan.NodeLabels that somebody else has set, by node.
	Taken map[string]map[string]string
	// Found is what reading the nodes came upon.
	Found []event.Finding
}

// IsOperator says whether a chart is one that brings drivers of GPUs.
func IsOperator(chart imageref.Ref) bool { return operatorOf(chart) != nil }

// operatorOf is the operator that a chart installs; nil where it is none.
func operatorOf(chart imageref.Ref) *gpu.Operator {
	o, _ := gpu.OperatorOf(chart.Name())
	return o
}

// DriverObjects say which driver each group of nodes has; nothing where the
// operator's own values say all.
func DriverObjects(p *plan.Plan) ([]map[string]any, error) {
	o := operatorIn(p)
	if o == nil || !p.GPU.Drivers() {
		return nil, nil
	}
	var out []map[string]any
	for _, g := range p.GPU.Groups {
		im, err := plannedImage(p, g)
		if err != nil {
			return nil, err
		}
		out = append(out, o.Object(g, im))
	}
	return out, nil
}

// operatorIn is the operator whose release a plan has values for; nil where the
// stack brings none.
func operatorIn(p *plan.Plan) *gpu.Operator {
	if p.GPU == nil {
		return nil
	}
	c, ok := p.Component(p.GPU.Component)
	if !ok {
		return nil
	}
	for _, r := range c.Releases {
		if r.Name == p.GPU.Release {
			return operatorOf(r.Chart)
		}
	}
	return nil
}

// plannedImage is the image of a group's driver, where the plan puts it.
func plannedImage(p *plan.Plan, g inventory.Group) (gpu.DriverImage, error) {
	i := slices.IndexFunc(p.Images, func(i plan.Image) bool { return i.Ref == g.Payload.Image })
	if i < 0 {
		return gpu.DriverImage{}, fmt.Errorf("the plan has no image %s", g.Payload.Image)
	}
	image := p.Images[i]
	repository := pulledRepository(p.Site, image.Ref, image.Site)
	return driverImage(p.Site, g.Payload, repository, image.Digest.String()), nil
}

// driverImage is an image of a driver as a site's nodes pull it.
func driverImage(s plan.Site, p inventory.Payload, repository, digest string) gpu.DriverImage {
	out := gpu.DriverImage{Payload: p, Repository: repository, Digest: digest}
	if ref := s.Registry.PullSecretRef; ref != nil {
		out.PullSecret = ref.Name
	}
	return out
}

// pulledRepository is the repository from which nodes pull, without tag or digest.
func pulledRepository(s plan.Site, ref, site imageref.Ref) string {
	if !s.Rewrites() {
		site = ref
	}
	return site.Repository()
}

// Configure decides what becomes of GPU nodes and lays the values that follow
// beneath the site's. It comes before the selection is rendered; what it finds,
// Make tells.
func (s *Selection) Configure(f GPUFacts) error {
	d, err := newGPUMaker(s.lock, s.site, func(component string) bool {
		return slices.ContainsFunc(s.Components, func(c Chosen) bool { return c.Component.Name == component })
	})
	if err != nil {
		return err
	}
	g := d.decide(f.Month, f.Nodes)
	s.gpu, s.operator, s.gpuFound, s.offers = g, d.operator, d.found, d.offers(f.Nodes)
	s.kinds, s.uncounted = d.c.Kinds(f.Nodes, d.policy, d.assigned, d.component != "")
	if g != nil || HasErrors(f.Found) { // of other nodes it does not matter what sources say
		s.gpuFound = append(slices.Clone(f.Found), d.found...)
	}
	if g == nil || g.Component == "" {
		return nil
	}
	d.found = nil
	d.taken(g, f.Taken)
	s.gpuFound = append(s.gpuFound, d.found...)
	for i := range s.Components {
		for k := range s.Components[i].Releases {
			if r := &s.Components[i].Releases[k]; s.Components[i].Component.Name == g.Component && r.Name == g.Release {
				r.Values = d.values(g)
			}
		}
	}
	return nil
}

// GPU is what Configure decided; nil where nothing has to do with GPUs.
func (s *Selection) GPU() *plan.GPU { return s.gpu }

// Operator is the one that Configure has written values for; nil where there is
// none.
func (s *Selection) Operator() *gpu.Operator { return s.operator }

// gpuMaker decides, from nothing but the lock, the site and the nodes.
type gpuMaker struct {
	c         *gpu.Catalogue
	set       imageSet
	site      plan.Site
	policy    site.Policy
	component string
	release   lock.Release // of the operator
	operator  *gpu.Operator
	version   string                  // of the operator
	assigned  map[string]gpu.Assigned // of the policy, by node
	found     []event.Finding
}

func newGPUMaker(l *lock.Lock, s plan.Site, on func(component string) bool) (*gpuMaker, error) {
	c, err := gpu.Read()
	if err != nil {
		return nil, err
	}
	d := &gpuMaker{c: c, set: newImageSet(l), site: s, assigned: map[string]gpu.Assigned{}}
	if s.GPU != nil {
		d.policy = *s.GPU
	}
	for _, comp := range l.Components {
		for _, r := range comp.Releases {
			if o := operatorOf(r.Chart); d.component == "" && on(comp.Name) && o != nil {
				d.component, d.release, d.operator = comp.Name, r, o
				d.version = r.Chart.Tag()
			}
		}
	}
	return d, nil
}

func (d *gpuMaker) find(f event.Finding) { d.found = append(d.found, f) }

// decide is nil where neither nodes nor the stack have to do with GPUs.
func (d *gpuMaker) decide(month string, all []inventory.Node) *plan.GPU {
	nodes := d.chosen(all)
	if len(nodes) == 0 && d.component == "" {
		d.warnOfIdlePolicy()
		return nil
	}
	g := &plan.GPU{
		Component: d.component, Release: d.release.Name, Operator: d.version, Month: month, BySite: d.choosesItself(),
	}
	payloads := make([]inventory.Payload, len(nodes))
	for i, n := range nodes {
		payloads[i] = d.payload(n, month)
		d.checkPayload(n, payloads[i])
	}
	assigned, found := d.c.Assign(d.policy, nodes)
	d.found = append(d.found, found...)
	g.Groups = gpu.Groups(nodes, payloads)
	for i, n := range nodes {
		g.Nodes = append(g.Nodes, d.node(g, n, payloads[i], assigned[i]))
	}
	if d.component == "" {
		d.warnOfIdlePolicy()
		return g
	}
	if !d.policy.Empty() && (d.policy.MIG.Strategy != "" || len(d.policy.MIG.Layouts) > 0) {
		g.Strategy = d.policy.MIG.EffectiveStrategy()
	}
	d.images(g)
	g.Values = d.generateValues(g)
	d.overridden(g)
	if len(nodes) == 0 {
		d.find(event.Finding{Severity: event.Notice, Code: event.CodeNoGPUNodes, Item: d.component,
			What: "no node is known to have a GPU, so no driver was chosen for " + d.component,
			Hint: inventoryHint})
	}
	return g
}

// offers are what the nodes come to offer, by name; after decide.
func (d *gpuMaker) offers(nodes []inventory.Node) map[string]gpu.Offer {
	out := map[string]gpu.Offer{}
	for _, n := range nodes {
		got, ok := d.assigned[n.Name]
		if !ok {
			got = gpu.Assigned{Layout: -1, Slicing: -1}
		}
		out[n.Name] = gpu.OfferOf(n, d.policy, got, d.component != "")
	}
	return out
}

// warnOfIdlePolicy tells of a policy that nothing carries out.
func (d *gpuMaker) warnOfIdlePolicy() {
	if d.component != "" || d.policy.Empty() {
		return
	}
	var names []string
	for _, o := range gpu.Operators() {
		names = append(names, o.Chart)
	}
	charts := strings.Join(names, " or ")
	d.find(event.Finding{
		Severity: event.Warn, Code: event.CodeGPUPolicyUnused, Item: "gpu.policy",
		What: "the site file has gpu.policy, and no component of the plan holds the chart " + charts,
		Why:  "nothing would carry the policy out",
		Hint: "remove gpu.policy from the site file, or enable the component with " + charts,
	})
}

// chosen are the nodes that matter, with what of them matters: those with GPUs,
// and those that the policy names.
func (d *gpuMaker) chosen(all []inventory.Node) []inventory.Node {
	named := map[string]bool{}
	for _, l := range d.policy.MIG.Layouts {
		for _, n := range l.Nodes {
			named[n] = true
		}
	}
	for _, s := range d.policy.TimeSlicing {
		for _, n := range s.Nodes {
			named[n] = true
		}
	}
	var out []inventory.Node
	for _, n := range all {
		if len(n.Physical()) == 0 && !named[n.Name] {
			continue
		}
		n.Resources, n.HugePages, n.Runtime, n.Cgroup, n.IOMMUGroups = nil, nil, "", 0, 0
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b inventory.Node) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// payload is what a node needs; among images that would do, one that the bundle
// has.
func (d *gpuMaker) payload(n inventory.Node, month string) inventory.Payload {
	best := d.match(n, month)
	for _, p := range []inventory.Payload{best, d.match(n, "")} {
		for q := &p; q != nil; q = q.Instead {
			if it := d.item(q.Image); it != nil {
				q.Image, q.Instead = it.Ref, nil
				return *q
			}
		}
	}
	best.Instead = nil
	return best
}

func (d *gpuMaker) match(n inventory.Node, month string) inventory.Payload {
	return gpu.Match(d.c, n, gpu.Options{Operator: d.version, Month: month, Driver: d.policy.Driver})
}

func (d *gpuMaker) item(image imageref.Ref) *lock.Item {
	if image == "" {
		return nil
	}
	it, _ := d.set.findItem(image)
	return it
}

// checkPayload finds what a node lacks: an error where the operator is there to
// bring it.
func (d *gpuMaker) checkPayload(n inventory.Node, p inventory.Payload) {
	ours := slices.ContainsFunc(n.Physical(), func(g inventory.GPU) bool {
		v, _ := gpu.VendorOf(g.Vendor)
		return v.Operator != nil
	})
	severity := event.Error
	switch {
	case d.component == "":
		severity = event.Notice
	case !ours || d.choosesItself():
		severity = event.Warn
	}
	d.found = append(d.found, gpu.PayloadFindings([]inventory.Node{n}, []inventory.Payload{p}, severity)...)
}

// node puts together what becomes of one node.
func (d *gpuMaker) node(g *plan.GPU, n inventory.Node, p inventory.Payload, got gpu.Assigned) plan.GPUNode {
	d.assigned[n.Name] = got
	out := plan.GPUNode{Facts: n, Payload: p}
	labels := map[string]string{}
	if d.operator != nil {
		labels = d.operator.Labels(d.policy, got)
	}
	if got.Layout >= 0 {
		out.Layout = d.policy.MIG.Layouts[got.Layout].Words()
	}
	if got.Slicing >= 0 {
		s := d.policy.TimeSlicing[got.Slicing]
		out.Sharing = fmt.Sprintf("%s by %d", s.Shared(), s.Replicas)
	}
	for _, group := range g.Groups {
		if group.Labelled && slices.Contains(group.Nodes, n.Name) && !g.BySite {
			labels[inventory.LabelDriver] = group.Name
		}
	}
	if d.component != "" && len(labels) > 0 {
		out.Labels = labels
	}
	return out
}

// images finds drivers that the bundle lacks.
func (d *gpuMaker) images(g *plan.GPU) {
	for _, group := range g.Groups {
		if d.item(group.Payload.Image) != nil || g.BySite {
			continue
		}
		d.find(event.Finding{Severity: event.Error, Code: event.CodeDriverNotInBundle, Item: string(group.Payload.Image),
			What: fmt.Sprintf("the bundle has no driver image %s, which %s needs", group.Payload.Image, nodeWords(group.Nodes)),
			Why:  "without it the GPUs there stay without a driver",
			Hint: "caisson nodes export -o site-nodes.yaml here; on the connected side caisson resolve --nodes site-nodes.yaml, and pack again"})
	}
}

func nodeWords(names []string) string {
	const most = 3
	if len(names) > most {
		return listing.Some(names, most) + " nodes"
	}
	return listing.Some(names, most)
}

// choosesItself says whether values choose the driver already: the site's, or the
// stack's where they turn it off.
func (d *gpuMaker) choosesItself() bool {
	if d.operator == nil {
		return false
	}
	return d.operator.ChoosesDriver(d.release.Values, d.site.Components[d.component].Values[d.release.Name])
}

// generateValues makes the values of the operator's release.
func (d *gpuMaker) generateValues(g *plan.GPU) map[string]any {
	var drivers []gpu.DriverImage
	onHost := false
	if !g.BySite {
		for _, group := range g.Groups {
			drivers = append(drivers, d.carriedImage(group.Payload))
		}
		onHost = slices.ContainsFunc(g.Nodes, func(n plan.GPUNode) bool { return n.Payload.Kind == inventory.Installed })
	}
	out, err := d.operator.Values(drivers, onHost, d.policy)
	if err != nil {
		d.find(event.Finding{Severity: event.Error, Code: event.CodeValues, Item: d.component, What: err.Error()})
	}
	return out
}

// carriedImage is the image of a driver, as the bundle has it and nodes pull it.
func (d *gpuMaker) carriedImage(p inventory.Payload) gpu.DriverImage {
	it := d.item(p.Image)
	if it == nil {
		return gpu.DriverImage{Payload: p}
	}
	repository := it.Ref.Repository()
	if p.Kind == inventory.Precompiled && d.site.Rewrites() { // a tag alone finds nothing to be rewritten
		repository = d.site.Registry.Place(it.Ref, it.Digest).Repository()
	}
	return driverImage(d.site, p, repository, it.Digest.String())
}

// values are those of the operator's release: the stack's, what is generated,
// the site's.
func (d *gpuMaker) values(g *plan.GPU) map[string]any {
	return lock.MergeValues(lock.MergeValues(d.release.Values, g.Values), d.site.Components[d.component].Values[d.release.Name])
}

// overridden says where the site's values go before what is generated.
func (d *gpuMaker) overridden(g *plan.GPU) {
	site := d.site.Components[d.component].Values[d.release.Name]
	for _, at := range contradictions("", g.Values, site) {
		d.find(event.Finding{Severity: event.Notice, Code: event.CodeGPUBySite, Item: d.component,
			What: fmt.Sprintf("the site file sets %s of release %s otherwise than its GPU nodes call for; it counts", at, d.release.Name)})
	}
	if g.BySite {
		d.find(event.Finding{Severity: event.Notice, Code: event.CodeGPUBySite, Item: d.component,
			What: fmt.Sprintf("values of release %s choose the GPU driver, so none was chosen for its nodes", d.release.Name)})
	}
}

// contradictions are the paths at which over has something else than base.
func contradictions(at string, base, over map[string]any) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(base)) {
		v, has := over[k]
		if !has {
			continue
		}
		below, isMap := base[k].(map[string]any)
		if m, ok := v.(map[string]any); ok && isMap {
			out = append(out, contradictions(at+k+".", below, m)...)
		} else if encodeJSON(v) != encodeJSON(base[k]) {
			out = append(out, at+k)
		}
	}
	return out
}

// taken finds labels that somebody else has set otherwise.
func (d *gpuMaker) taken(g *plan.GPU, by map[string]map[string]string) {
	for _, n := range g.Nodes {
		name := n.Facts.Name
		for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
			there, has := by[name][key]
			if !has || there == n.Labels[key] {
				continue
			}
			d.find(event.Finding{Severity: event.Error, Code: event.CodeNodeLabelTaken, Item: name,
				What: fmt.Sprintf("node %s has label %s=%s, which somebody else set; the plan would set %s", name, key, there, n.Labels[key]),
				Why:  "caisson changes no label that is not its own",
				Hint: fmt.Sprintf("kubectl label node %s %s-, or take the node out of gpu.policy in the site file", name, key)})
		}
	}
}

var errGPU = errors.New("what it does with GPU nodes is not what the site, the bundle and the nodes give")

// fitGPU derives once more what becomes of GPU nodes, and the values of the
// operator's release.
func fitGPU(p *plan.Plan, l *lock.Lock) error {
	d, err := newGPUMaker(l, p.Site, func(component string) bool { _, ok := p.Component(component); return ok })
	if err != nil {
		return err
	}
	var month string
	var nodes []inventory.Node
	if p.GPU != nil {
		month = p.GPU.Month
		for _, n := range p.GPU.Nodes {
			nodes = append(nodes, n.Facts)
		}
	}
	want := d.decide(month, nodes)
	if encodeJSON(want) != encodeJSON(p.GPU) {
		return errGPU
	}
	if want == nil || want.Component == "" {
		return nil
	}
	if HasErrors(d.found) {
		return errGPU
	}
	c, _ := p.Component(want.Component)
	i := slices.IndexFunc(c.Releases, func(r plan.Release) bool { return r.Name == want.Release })
	if i < 0 {
		return errGPU
	}
	if dg, err := plan.DigestValues(d.values(want)); err != nil || dg != c.Releases[i].ValuesDigest {
		return errGPU
	}
	return nil
}

// takeOverGPU takes over what was decided.
func (m *maker) takeOverGPU() {
	g := m.selection.gpu
	m.found = slices.Concat(m.found, m.selection.gpuFound, m.selection.told.found)
	if g == nil {
		return
	}
	m.plan.GPU = g
	for _, group := range g.Groups {
		if it, _ := m.set.findItem(group.Payload.Image); it != nil && g.Component != "" && !g.BySite {
			m.useImage(map[imageref.Ref]bool{}, it, "", it.Ref)
		}
	}
}
