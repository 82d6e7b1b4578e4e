package cli

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
	"github.com/caisson/caisson/internal/ui/output"
)

// planned shows the order of installation and what each component costs.
func (p *page) planned(m *plan.Plan, path string) {
	p.line("%s: %s %s onto %s", path, p.style.Bold(m.Name), m.Version, output.Clean(m.Cluster.Server))
	rows := [][]string{{"component", "namespace", "what", "images"}}
	for _, c := range m.Components {
		rows = append(rows, []string{c.Name, c.Namespace, actions(c), bytesize.Text(c.Bytes.Total)})
	}
	p.table(rows, 3)
	p.facts(
		[2]string{"images", fmt.Sprintf("%d, %s in all, %s not in the registry yet", len(m.Images), bytesize.Text(m.Bytes.Total), bytesize.Text(m.Bytes.Missing))},
		[2]string{"registry", m.Site.Registry.Base()},
	)
	if n := m.Nodes; n != nil {
		p.facts([2]string{"nodes", nodeChange(n)})
	}
	if g := m.GPU; g != nil && g.Component != "" && len(g.Nodes) > 0 {
		p.facts([2]string{"GPU nodes", gpuSummary(g)})
	}
	p.next("caisson install %s", path)
}

// nodeChange says what happens on every node.
func nodeChange(n *plan.NodeChange) string {
	what := "mirror sets"
	if n.Strategy == plan.Mirror {
		what = output.Count(len(n.Files), "file") + " for " + strings.Join(n.Runtimes, " and ")
	}
	return fmt.Sprintf("%s: %s, leading %s to the registry", n.Strategy, what, strings.Join(n.Hosts, ", "))
}

// actions says what happens to a component: install 2, upgrade 1, 3 CRDs.
func actions(c plan.Component) string {
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

func (p *page) changed(r install.Result, next string) {
	p.line("%s %s, generation %d", p.style.Bold(r.Stack), r.Version, r.Generation)
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(r.Components)) {
		rows = append(rows, []string{name, string(r.Components[name])})
	}
	p.table(rows)
	p.facts([2]string{"journal", r.StatePath})
	p.next("%s", next)
}

func (p *page) status(r install.StatusResult) {
	p.line("%s %s, generation %d", p.style.Bold(r.Stack), r.Version, r.Generation)
	for _, c := range r.Components {
		p.line("  %-20s %s  %s", output.Clean(c.Name), p.health(c), output.Count(c.Objects, "object"))
		for _, why := range c.Why {
			for i, part := range output.Wrap(output.Clean(why), p.width-6) {
				p.line("    %s%s", strings.Repeat("  ", min(i, 1)), part)
			}
		}
	}
}

func (p *page) health(c install.ComponentStatus) string {
	switch {
	case !c.Ready:
		return p.style.Red(fmt.Sprintf("%-9s", "not ready"))
	case c.Drifted:
		return p.style.Yellow(fmt.Sprintf("%-9s", "drifted"))
	}
	return p.style.Green(fmt.Sprintf("%-9s", "ready"))
}

func (p *page) history(r install.HistoryResult) {
	p.line("%s", p.style.Bold(r.Stack))
	var rows [][]string
	for _, e := range r.Entries {
		rows = append(rows, []string{fmt.Sprint(e.Generation), e.Began.UTC().Format(time.DateTime), string(e.Verb), e.Version, string(e.State), took(e), e.Operator})
	}
	p.table(rows)
	for _, e := range r.Entries {
		for _, o := range e.Overrides {
			p.line("  %d: with --%s", e.Generation, o)
		}
		if e.Error != "" {
			p.line("  %d: %s", e.Generation, output.Clean(e.Error))
		}
	}
}

func took(e install.Entry) string {
	if e.Ended.IsZero() || e.State == journal.Running {
		return ""
	}
	return output.Duration(e.Ended.Sub(e.Began))
}
