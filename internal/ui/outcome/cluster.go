package outcome

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/bytesize"
	"github.com/caisson/caisson/internal/command/install"
	"github.com/caisson/caisson/internal/command/preflight"
	"github.com/caisson/caisson/internal/command/report"
	"github.com/caisson/caisson/internal/command/support"
	"github.com/caisson/caisson/internal/ui/output"
)

// Planned shows the order of installation and what each component costs. path is
// the plan's file.
func Planned(m *plan.Plan, path string) (p output.Page) {
	p.Line(output.Say("%s: ", path), output.Name(m.Name), output.Say(" %s onto %s", m.Version, output.Clean(m.Cluster.Server)))
	rows := [][]string{{"component", "namespace", "what", "images"}}
	for _, c := range m.Components {
		rows = append(rows, []string{c.Name, c.Namespace, countActions(c), bytesize.Text(c.Bytes.Total)})
	}
	p.Add(output.Table{Rows: rows, Right: []int{3}})
	p.Add(output.Facts{
		{Label: "images", Value: fmt.Sprintf("%d, %s in all, %s not in the registry yet",
			len(m.Images), bytesize.Text(m.Bytes.Total), bytesize.Text(m.Bytes.Missing))},
		{Label: "registry", Value: m.Site.Registry.Base()},
	})
	if n := m.Nodes; n != nil {
		p.Add(output.Facts{{Label: "nodes", Value: describeNodeChange(n)}})
	}
	if g := m.GPU; g != nil && g.Component != "" && len(g.Nodes) > 0 {
		p.Add(output.Facts{{Label: "GPU nodes", Value: countGPUNodes(g)}})
	}
	p.Next("caisson install %s", path)
	return p
}

// describeNodeChange says what happens on every node.
func describeNodeChange(n *plan.NodeChange) string {
	what := "mirror sets"
	if n.Strategy == plan.Mirror {
		what = output.Count(len(n.Files), "file") + " for " + strings.Join(n.Runtimes, " and ")
	}
	text := fmt.Sprintf("%s: %s, leading %s to the registry", n.Strategy, what, strings.Join(n.Hosts, ", "))
	if n.Login != "" {
		text += fmt.Sprintf("; nodes log in to the registry by Secret %s, also for namespaces that come later", n.Login)
	}
	return text
}

// countActions says what happens to a component: install 2 charts, upgrade 1
// chart, 3 CRDs.
func countActions(c plan.Component) string {
	counts := map[plan.Action]int{}
	for _, r := range c.Releases {
		counts[r.Action]++
	}
	var parts []string
	for _, a := range []plan.Action{plan.Install, plan.Upgrade, plan.Keep} {
		if n := counts[a]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", a, output.Count(n, "chart")))
		}
	}
	if n := len(c.CRDs); n > 0 {
		parts = append(parts, output.Count(n, "CRD"))
	}
	if n := len(c.Manifests); n > 0 {
		parts = append(parts, output.Count(n, "manifest"))
	}
	return strings.Join(parts, ", ")
}

// Checked says that nothing forbids an installation.
func Checked(c preflight.Checked) (p output.Page) {
	rest := "nothing stands in the way"
	if n := c.Warnings + c.Notices; n > 0 {
		rest = "nothing forbids it; " + output.Count(n, "finding") + " above to look at"
	}
	p.Line(output.Span{Text: "met", Look: output.Good}, output.Say(": "), output.Name(c.Stack),
		output.Say(" %s onto %s: %s", c.Version, output.Clean(c.Server), rest))
	p.Next("caisson plan PATH... --key FILE.pub --site SITE.yaml -o PLAN.json")
	return p
}

// Changed shows what a verb did to a cluster, and the command that follows.
func Changed(r install.Result, next string) (p output.Page) {
	addStack(&p, r.Stack, r.Version, r.Generation)
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(r.Components)) {
		rows = append(rows, []string{name, string(r.Components[name])})
	}
	p.Add(output.Table{Rows: rows}, output.Facts{{Label: "journal", Value: r.StatePath}})
	p.Next("%s", next)
	return p
}

func addStack(p *output.Page, stack, version string, generation int) {
	if version != "" {
		version = " " + version
	}
	p.Line(output.Name(stack), output.Say("%s, generation %d", version, generation))
}

// Status shows each component, and why it is not as it should be.
func Status(r install.StatusResult) (p output.Page) {
	addStack(&p, r.Stack, r.Version, r.Generation)
	if u := r.Unfinished; u != nil {
		p.Say("  %s of %s is %s", u.Verb, output.Clean(u.Version), u.State)
	}
	kept, longest := 0, 20
	for _, c := range r.Components {
		longest = max(longest, len(output.Clean(c.Name)))
	}
	for _, c := range r.Components {
		p.Line(output.Say("  %-*s ", longest, output.Clean(c.Name)), healthOf(c), output.Say("  %s", sizeOf(c, r.Version)))
		for _, why := range c.Why {
			p.Add(output.Paragraph{First: "    ", Rest: "      ", Text: why})
		}
		kept += countKept(c)
	}
	if kept > 0 {
		p.Say("  %s kept by controllers not compared; --output json names them", output.Count(kept, "field"))
	}
	return p
}

// sizeOf says how much of a component was looked at, and of which version it is where
// the stack's is another.
func sizeOf(c install.ComponentStatus, version string) string {
	if c.Absent {
		return ""
	}
	size := output.Count(c.Objects, "object")
	if c.Version != version {
		size += ", version " + output.Clean(c.Version)
	}
	return size
}

func countKept(c install.ComponentStatus) (n int) {
	for _, o := range c.Kept {
		for _, by := range o.By {
			n += len(by.Fields)
		}
	}
	return n
}

func healthOf(c install.ComponentStatus) output.Span {
	switch {
	case c.Absent:
		return output.Span{Text: "absent   ", Look: output.Bad}
	case !c.Ready:
		return output.Span{Text: "not ready", Look: output.Bad}
	case c.Drifted:
		return output.Span{Text: "drifted  ", Look: output.Caution}
	}
	return output.Span{Text: "ready    ", Look: output.Good}
}

// History lists the runs that changed a stack, oldest first.
func History(r install.HistoryResult) (p output.Page) {
	p.Line(output.Name(r.Stack))
	var rows [][]string
	for _, e := range r.Entries {
		rows = append(rows, []string{
			fmt.Sprint(e.Generation), e.Began.UTC().Format(time.DateTime), string(e.Verb), e.Version, string(e.State), timeTaken(e), e.Operator,
		})
	}
	p.Add(output.Table{Rows: rows})
	for _, e := range r.Entries {
		for _, o := range e.Overrides {
			p.Say("  %d: with --%s", e.Generation, o)
		}
		if e.Error != "" {
			p.Say("  %d: %s", e.Generation, output.Clean(e.Error))
		}
	}
	return p
}

func timeTaken(e install.Entry) string {
	if e.Ended.IsZero() || e.State == journal.Running {
		return ""
	}
	return output.Duration(e.Ended.Sub(e.Began))
}

// Removal shows what uninstalling would do.
func Removal(r install.Removal) (p output.Page) {
	p.Line(output.Name(r.Stack), output.Say(": %s would be removed, in this order", output.Count(len(r.Components), "component")))
	for _, c := range r.Components {
		p.Say("  %-20s %s", output.Clean(c.Name), output.Count(len(c.Objects), "object"))
		for _, k := range c.Keys {
			p.Add(output.Paragraph{First: "    and ", Rest: "      ", Text: k.String()})
		}
	}
	if len(r.Shared) > 0 {
		p.Say("then, once nothing is in them or uses them:")
	}
	for _, o := range r.Shared {
		p.Say("  %s", output.Clean(o.String()))
	}
	if len(r.Users) == 0 {
		return p
	}
	p.Say("objects that users made would lose what serves them:")
	for _, u := range r.Users {
		p.Add(output.Paragraph{First: "  ", Rest: "    ", Text: u.Heading()})
		for _, o := range u.Objects[:min(len(u.Objects), mostObjects)] {
			p.Say("    %s", output.Clean(o.String()))
		}
		if more := len(u.Objects) - mostObjects; more > 0 {
			p.Say("    and %d more; --output json names them", more)
		}
	}
	p.Say("uninstall asks for one of --remove-user-objects, which deletes them first, and --leave-user-objects")
	return p
}

// mostObjects of one kind are named one by one.
const mostObjects = 100

// Pruned lists what nothing needs any more.
func Pruned(r install.PruneResult) (p output.Page) {
	if len(r.Documents) == 0 {
		p.Line(output.Name(r.Stack), output.Say(": everything that is kept is needed"))
		return p
	}
	what := "would be removed"
	if r.Removed {
		what = "removed"
	}
	p.Line(output.Name(r.Stack), output.Say(": %s %s", output.Count(len(r.Documents), "document"), what))
	var rows [][]string
	for _, d := range r.Documents {
		rows = append(rows, []string{d.Kind, d.Digest.Encoded()[:12], "generation " + strings.Trim(fmt.Sprint(d.Generations), "[]")})
	}
	p.Add(output.Table{Rows: rows})
	if len(r.Images) > 0 {
		p.Say("%s in the registry that nothing here needs any more:", output.Count(len(r.Images), "image"))
	}
	for _, i := range r.Images {
		p.Say("  %s", output.Clean(i))
	}
	if !r.Removed {
		p.Next("caisson prune --yes")
	}
	return p
}

// Reported names the files of a report.
func Reported(r report.Result) (p output.Page) {
	p.Say("%s", r.HTML)
	p.Say("%s", r.JSON)
	return p
}

// Supported says what is in a support archive.
func Supported(r support.Result) (p output.Page) {
	p.Say("%s: %s in %s", r.Path, output.Count(len(r.Files), "file"), bytesize.Text(r.Bytes))
	p.Next("tar tzf %s", r.Path)
	return p
}
