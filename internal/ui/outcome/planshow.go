package outcome

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/bytesize"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/rules/gpu"
	"github.com/caisson/caisson/internal/ui/output"
)

// Plan shows a whole plan from the file at path, and every object that changes
// where objects are asked for.
func Plan(m *plan.Plan, e decide.Estimate, path string, objects bool) (p output.Page) {
	p.Line(output.Say("%s: ", path), output.Name(output.Clean(m.Name)),
		output.Say(" %s for site %s", output.Clean(m.Version), output.Clean(m.Site.Name)))
	p.Add(output.Facts{
		{Label: "cluster", Value: fmt.Sprintf("%s, Kubernetes %s", m.Cluster.Server, m.Cluster.Version)},
		{Label: "registry", Value: m.Site.Registry.Base()},
		{Label: "references", Value: strings.Join(m.Site.References, ", ") + whyReferences(m.Site)},
		{Label: "bundle", Value: m.Index.Encoded()[:12] + figure(int(m.Sequence), ", sequence %d")},
		{Label: "signed by", Value: strings.Join(m.KeyIDs, ", ")},
	})
	for i := range m.Components {
		addComponent(&p, &m.Components[i], objects)
	}
	addGPUNodes(&p, m.GPU)
	addNodeChange(&p, m.Nodes)
	addImages(&p, m.Images)
	addCost(&p, m, e)
	if len(m.Findings) > 0 {
		p.Heading("findings")
		p.Add(output.Found(m.Findings))
	}
	p.Next("caisson install %s", path)
	return p
}

// whyReferences says why images are found the way they are.
func whyReferences(s plan.Site) string {
	if s.ReferencesWhy == "" {
		return " (the site file says so)"
	}
	return " (" + s.ReferencesWhy + ")"
}

// addText adds text at an indentation; lines after the first stand four columns
// further.
func addText(p *output.Page, indent, format string, args ...any) {
	p.Add(output.Paragraph{First: indent, Rest: indent + "    ", Text: fmt.Sprintf(format, args...), Cut: true})
}

func addComponent(p *output.Page, c *plan.Component, objects bool) {
	p.Line()
	after := ""
	if len(c.Needs) > 0 {
		after = ", after " + strings.Join(c.Needs, ", ")
	}
	addText(p, "", "%d. %s in namespace %s%s", c.Level+1, c.Name, c.Namespace, after)
	addDefinitions(p, c.CRDs)
	for _, r := range c.Releases {
		addRelease(p, r)
		if r.Action != plan.Keep {
			addRendering(p, r.Rendering, objects)
		}
		addObjectChanges(p, "objects", r.ObjectChanges, objects)
	}
	for _, f := range c.Manifests {
		addText(p, "   ", "apply %s: %s", baseName(string(f.Item)), output.Count(f.Objects, "object"))
	}
	addObjectChanges(p, otherObjects(c), c.Objects, objects)
	if len(c.Images) > 0 {
		p.Say("   images: %d, %s, %s of them not in the registry",
			len(c.Images), bytesize.Text(c.Bytes.Total), bytesize.Text(c.Bytes.Missing))
	}
	if ready := describeConditions(c.Ready); ready != "" {
		addText(p, "   ", "ready: %s", ready)
	}
	if len(c.Rollback) > 0 {
		addText(p, "   ", "going back: %s", strings.Join(c.Rollback, "; "))
	}
}

// addDefinitions shows what becomes of definitions. Those that stay as they are it
// only counts.
func addDefinitions(p *output.Page, list []plan.CRD) {
	unchanged := 0
	for _, d := range list {
		switch {
		case d.Unchanged:
			unchanged++
		case d.Exists:
			addText(p, "   ", "update definition %s (from %s)", d.Name, d.Source)
		default:
			addText(p, "   ", "define %s (from %s)", d.Name, d.Source)
		}
	}
	switch {
	case unchanged == 1:
		addText(p, "   ", "keep 1 definition as it is")
	case unchanged > 1:
		addText(p, "   ", "keep %d definitions as they are", unchanged)
	}
}

func addRelease(p *output.Page, r plan.Release) {
	chart := fmt.Sprintf("%s (chart %s %s, %s)", r.Name, baseName(string(r.Chart)), r.ChartVersion, output.Count(r.Objects, "object"))
	switch r.Action {
	case plan.Install:
		addText(p, "   ", "install %s", chart)
	case plan.Keep:
		addText(p, "   ", "keep %s as it is, revision %d", chart, r.Revision)
	case plan.Upgrade:
		addText(p, "   ", "upgrade %s from revision %d; changed: %s", chart, r.Revision, strings.Join(r.Changes, ", "))
	}
	for _, d := range r.Differences {
		addText(p, "     ", "%s", d)
	}
}

// addRendering shows what the templates of a release ask the cluster, what of it
// chance decides, and what runs as a hook: in one line each, or, where all is asked
// for, one by one.
func addRendering(p *output.Page, r *plan.Rendering, all bool) {
	if r == nil {
		return
	}
	var asked, chance, hooks []string
	for _, l := range r.Lookups {
		asked = append(asked, l.String())
	}
	for _, o := range r.Objects {
		ref := object.Ref{APIVersion: o.APIVersion, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
		for _, field := range o.Chance {
			chance = append(chance, ref.String()+" "+field)
		}
		if o.Hook != "" {
			hooks = append(hooks, ref.String()+" at "+o.Hook)
		}
	}
	addCounted(p, "looks up %s in the cluster", output.Count(len(asked), "object"), asked, all)
	addCounted(p, "makes up %s anew when it is installed", output.Count(len(chance), "field"), chance, all)
	addCounted(p, "runs %s", output.Count(len(hooks), "hook"), hooks, all)
}

func addCounted(p *output.Page, format, count string, list []string, all bool) {
	if len(list) == 0 {
		return
	}
	addText(p, "     ", format, count)
	if !all {
		return
	}
	for _, s := range list {
		addText(p, "       ", "%s", s)
	}
}

// baseName is the last part of a reference, without a tag.
func baseName(ref string) string {
	name := ref[strings.LastIndexByte(ref, '/')+1:]
	name, _, _ = strings.Cut(name, ":")
	return name
}

// otherObjects is how the objects are called that belong to no release of a
// component.
func otherObjects(c *plan.Component) string {
	if len(c.Releases) == 0 {
		return "objects"
	}
	return "other objects"
}

// addObjectChanges shows what becomes of objects: in one line, or, where all is
// asked for, one by one.
func addObjectChanges(p *output.Page, of string, list []plan.ObjectChange, all bool) {
	added, changed, removed := decide.Tally(list)
	var parts []string
	for _, c := range []struct {
		n    int
		word string
	}{{added, "added"}, {changed, "changed"}, {removed, "removed"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.word))
		}
	}
	if len(parts) == 0 {
		return
	}
	addText(p, "     ", "%s: %s", of, strings.Join(parts, ", "))
	if !all {
		return
	}
	marks := map[string]string{plan.Add: "+ ", plan.Change: "~ ", plan.Remove: "- "}
	for _, c := range list {
		addText(p, "       "+marks[c.Action], "%s", c.Object)
		for _, f := range c.Fields {
			addText(p, "           ", "%s", f)
		}
	}
}

func describeConditions(list []lock.Condition) string {
	var out []string
	for _, c := range list {
		s := c.Kind + " " + c.Name
		if c.Condition != "" {
			s += " is " + c.Condition
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

// addGPUNodes shows what becomes of the nodes with GPUs.
func addGPUNodes(p *output.Page, g *plan.GPU) {
	if g == nil || len(g.Nodes) == 0 {
		return
	}
	p.Heading("nodes with GPUs")
	for _, n := range g.Nodes {
		addGPUNode(p, n)
	}
	switch {
	case g.Component == "":
		addText(p, "   ", "No component of the plan drives them.")
	case g.BySite:
		addText(p, "   ", "Which driver %s brings, its values say.", g.Component)
	case g.Drivers():
		for _, group := range g.Groups {
			addText(p, "   ", "%s %s, for %s", gpu.DriverKind, group.Name, output.Count(len(group.Nodes), "node"))
		}
	}
}

func addGPUNode(p *output.Page, n plan.GPUNode) {
	gpus := n.GPUs()
	if gpus == "" {
		gpus = "no GPU is known"
	}
	addText(p, "   ", "%s: %s", n.Facts.Name, gpus)
	addText(p, "     ", "driver: %s", describeDriver(n.Payload))
	if n.Layout != "" {
		addText(p, "     ", "MIG, of each GPU: %s", n.Layout)
	}
	if n.Sharing != "" {
		addText(p, "     ", "time slicing: %s", n.Sharing)
	}
	for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
		addText(p, "     ", "label %s=%s", key, n.Labels[key])
	}
}

// describeDriver says what a node needs: precompiled 580, open modules.
func describeDriver(p inventory.Payload) string {
	parts := []string{p.Kind}
	if p.Driver != "" {
		parts[0] += " " + p.Driver
	}
	if p.Modules != "" {
		parts = append(parts, p.Modules+" modules")
	}
	if p.Image != "" {
		parts = append(parts, string(p.Image))
	}
	if p.Because != "" {
		parts = append(parts, p.Because)
	}
	return strings.Join(parts, ", ")
}

// countGPUNodes counts the nodes with GPUs by what drives them: 3: 1 installed,
// 2 precompiled; 2 labelled.
func countGPUNodes(g *plan.GPU) string {
	kinds, labelled := map[string]int{}, 0
	for _, n := range g.Nodes {
		kinds[n.Payload.Kind]++
		if len(n.Labels) > 0 {
			labelled++
		}
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		parts = append(parts, fmt.Sprintf("%d %s", kinds[kind], kind))
	}
	out := fmt.Sprintf("%d: %s", len(g.Nodes), strings.Join(parts, ", "))
	if labelled > 0 {
		out += fmt.Sprintf("; %d labelled", labelled)
	}
	return out
}

func addNodeChange(p *output.Page, n *plan.NodeChange) {
	if n == nil {
		return
	}
	p.Heading("on every node")
	addText(p, "   ", "strategy %s: pulls from %s go to the site's registry", n.Strategy, strings.Join(n.Hosts, ", "))
	for _, f := range n.Files {
		with := ""
		if f.Login {
			with = ", with the login, for root's eyes only"
		}
		addText(p, "   ", "write %s%s", f.Path, with)
	}
	if n.Login != "" {
		addText(p, "   ", "log in to the registry by Secret %s, also for namespaces that come later", n.Login)
		addText(p, "   ", "the login is on the nodes alone: digests of files are of what they are without it")
	}
	if n.CA != "" {
		addText(p, "   ", "put the CA of the registry beside them, unless a node has its own for it: %s", n.CA)
	}
}

func addImages(p *output.Page, images []plan.Image) {
	if len(images) == 0 {
		return
	}
	p.Heading("images")
	rows := make([][]string, len(images))
	for i, image := range images {
		there := "in the registry"
		if !image.Present {
			there = "to be loaded"
		}
		rows[i] = []string{string(image.Ref), image.Digest.Encoded()[:12], there}
	}
	p.Add(output.Table{Rows: rows})
}

// addCost says what an installation takes, and by which rates.
func addCost(p *output.Page, m *plan.Plan, e decide.Estimate) {
	p.Heading("cost")
	for _, text := range []string{
		fmt.Sprintf("%s of images, %s of them not in the registry yet.",
			bytesize.Text(m.Bytes.Total), bytesize.Text(m.Bytes.Missing)),
		fmt.Sprintf("About %s: %s for a node to pull all of it at %s/s, and %s to apply "+
			"(2s for each release, 1s for definitions or manifests "+
			"of a component, a reckoning and no measurement of this site). What programs need to start comes on top.",
			output.Duration(e.Total()), output.Duration(e.Pull), bytesize.Text(e.Rate), output.Duration(e.Apply)),
	} {
		p.Add(output.Paragraph{First: "  ", Rest: "    ", Text: text, Cut: true})
	}
}
