package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/bytesize"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/ui/output"
)

func (a *app) planShow() *cobra.Command {
	var rate byteSize
	var objects bool
	cmd := &cobra.Command{
		Use:   "show PLAN.json [flags]",
		Short: "Show what a plan says",
		Long: "Show a plan: the order, what changes in each component and what going back\n" +
			"would do, images, definitions, bytes, time, findings. It reads the file alone.\n" +
			"(A bundle in a directory named show is planned with: caisson plan ./show)",
		Example: "  caisson plan show plan.json\n  caisson plan show plan.json --rate 40MiB --objects",
		Args:    args(1, 1, "one PLAN.json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.do(cmd, "plan show", func(_ context.Context, sink event.Sink) (func(*page), error) {
				p, err := plan.Read(args[0])
				if err != nil {
					return nil, err
				}
				e := decide.EstimateOf(p, int64(rate))
				sink.Emit(event.Event{Verb: "plan show", Kind: event.Result, Message: p.Name + " " + p.Version, Bytes: p.Bytes.Missing, Total: p.Bytes.Total,
					Fields: map[string]any{"plan": p, "seconds": int64(e.Total().Seconds()), "rate": e.Rate}})
				return func(show *page) { show.plan(p, e, args[0], objects) }, nil
			})
		},
	}
	cmd.Flags().Var(&rate, "rate", "how fast a node pulls, in bytes per second: `SIZE` (default 112MiB, 1 Gbit/s)")
	cmd.Flags().BoolVar(&objects, "objects", false, "name every object that is added, changed or removed")
	return cmd
}

// plan shows a whole plan, and every object that changes where they are asked for.
func (p *page) plan(m *plan.Plan, e decide.Estimate, path string, objects bool) {
	p.line("%s: %s %s for site %s", path, p.style.Bold(output.Clean(m.Name)), output.Clean(m.Version), output.Clean(m.Site.Name))
	p.facts(
		[2]string{"cluster", fmt.Sprintf("%s, Kubernetes %s", m.Cluster.Server, m.Cluster.Version)},
		[2]string{"registry", m.Site.Registry.Base()},
		[2]string{"references", strings.Join(m.Site.References, ", ") + whyReferences(m.Site)},
		[2]string{"bundle", m.Index.Encoded()[:12] + sequence(m.Sequence)},
		[2]string{"signed by", strings.Join(m.KeyIDs, ", ")},
	)
	for i := range m.Components {
		p.planComponent(&m.Components[i], objects)
	}
	p.gpuNodes(m.GPU)
	p.nodeChange(m.Nodes)
	p.planImages(m)
	p.cost(m, e)
	p.planFindings(m.Findings)
	p.next("caisson install %s", path)
}

func sequence(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", sequence %d", n)
}

// planComponent shows one component.
func (p *page) planComponent(c *plan.Component, objects bool) {
	p.blank()
	after := ""
	if len(c.Needs) > 0 {
		after = ", after " + strings.Join(c.Needs, ", ")
	}
	p.wrapped("", 4, fmt.Sprintf("%d. %s in namespace %s%s", c.Level+1, c.Name, c.Namespace, after))
	for _, d := range c.CRDs {
		word := "define"
		if d.Exists {
			word = "update definition"
		}
		p.wrapped("   ", 4, fmt.Sprintf("%s %s (from %s)", word, d.Name, d.Source))
	}
	for _, r := range c.Releases {
		p.planRelease(r)
		p.objectChanges("objects", r.ObjectChanges, objects)
	}
	for _, f := range c.Manifests {
		p.wrapped("   ", 4, fmt.Sprintf("apply %s: %s", fileName(f.Item), output.Count(f.Objects, "object")))
	}
	p.objectChanges(others(c), c.Objects, objects)
	if len(c.Images) > 0 {
		p.line("   images: %d, %s, %s of them not in the registry", len(c.Images), bytesize.Text(c.Bytes.Total), bytesize.Text(c.Bytes.Missing))
	}
	if ready := conditions(c.Ready); ready != "" {
		p.wrapped("   ", 4, "ready: "+ready)
	}
	if len(c.Rollback) > 0 {
		p.wrapped("   ", 4, "going back: "+strings.Join(c.Rollback, "; "))
	}
}

func (p *page) planRelease(r plan.Release) {
	chart := fmt.Sprintf("%s (chart %s %s, %s)", r.Name, chartName(r.Chart), r.ChartVersion, output.Count(r.Objects, "object"))
	switch r.Action {
	case plan.Install:
		p.wrapped("   ", 4, "install "+chart)
	case plan.Keep:
		p.wrapped("   ", 4, fmt.Sprintf("keep %s as it is, revision %d", chart, r.Revision))
	case plan.Upgrade:
		p.wrapped("   ", 4, fmt.Sprintf("upgrade %s from revision %d; changed: %s", chart, r.Revision, strings.Join(r.Changes, ", ")))
	}
	for _, d := range r.Differences {
		p.wrapped("     ", 4, d)
	}
}

// chartName is the last part of a chart's reference.
func chartName(ref string) string {
	name := ref[strings.LastIndexByte(ref, '/')+1:]
	name, _, _ = strings.Cut(name, ":")
	return name
}

// fileName is the file of a manifest's reference.
func fileName(item string) string {
	return chartName(item)
}

func conditions(list []lock.Condition) string {
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

func (p *page) nodeChange(n *plan.NodeChange) {
	if n == nil {
		return
	}
	p.blank()
	p.line("%s", p.style.Bold("on every node"))
	p.wrapped("   ", 4, fmt.Sprintf("strategy %s: pulls from %s go to the site's registry", n.Strategy, strings.Join(n.Hosts, ", ")))
	for _, f := range n.Files {
		p.wrapped("   ", 4, "write "+f.Path)
	}
	if n.CA != "" {
		p.wrapped("   ", 4, "put the CA of the registry beside them, unless a node has its own for it: "+n.CA.String())
	}
}

func (p *page) planImages(m *plan.Plan) {
	if len(m.Images) == 0 {
		return
	}
	p.blank()
	p.line("%s", p.style.Bold("images"))
	rows := make([][]string, len(m.Images))
	for i, image := range m.Images {
		there := "in the registry"
		if !image.Present {
			there = "to be loaded"
		}
		rows[i] = []string{image.Ref, image.Digest.Encoded()[:12], there}
	}
	p.table(rows)
}

// cost says what it takes, and by which rates.
func (p *page) cost(m *plan.Plan, e decide.Estimate) {
	p.blank()
	p.line("%s", p.style.Bold("cost"))
	p.wrapped("  ", 2, fmt.Sprintf("%s of images, %s of them not in the registry yet.", bytesize.Text(m.Bytes.Total), bytesize.Text(m.Bytes.Missing)))
	p.wrapped("  ", 2, fmt.Sprintf("About %s: %s for a node to pull all of it at %s/s, and %s to apply (2s for each release, 1s for definitions or manifests of a component, a reckoning and no measurement of this site). What programs need to start comes on top.",
		output.Duration(e.Total()), output.Duration(e.Pull), bytesize.Text(e.Rate), output.Duration(e.Apply)))
}

func (p *page) planFindings(found []event.Finding) {
	if len(found) == 0 {
		return
	}
	p.blank()
	p.line("%s", p.style.Bold("findings"))
	for _, f := range found {
		for _, line := range output.Finding(f, p.style, p.width-2) {
			p.line("  %s", line)
		}
	}
}

// wrapped writes text in lines of the page's width; those after the first are
// indented further.
func (p *page) wrapped(head string, further int, text string) {
	width := p.width - len(head) - further
	for i, part := range output.Wrap(output.Clean(text), width) {
		part = output.Fit(part, width)
		if i == 0 {
			p.line("%s%s", head, part)
		} else {
			p.line("%s%s%s", head, strings.Repeat(" ", further), part)
		}
	}
}
