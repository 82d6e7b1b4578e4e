package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/command/install"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/output"
)

func (a *app) prune() *cobra.Command {
	var opt install.PruneOptions
	var c cluster
	var stack string
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove what is kept of old generations",
		Long: "List what the cluster keeps of generations that nothing can go back to, and\n" +
			"the images that only they needed. With --yes it is removed, but for the images.",
		Example: "  caisson prune\n  caisson prune --yes",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt.Target = c.target(stack)
			return a.do(cmd, "prune", func(ctx context.Context, sink event.Sink) (func(*page), error) {
				res, err := install.Prune(ctx, opt, sink)
				if err != nil {
					return nil, err
				}
				return func(p *page) { p.pruned(res) }, nil
			})
		},
	}
	cmd.Flags().BoolVar(&opt.Remove, "yes", false, "remove what is listed")
	c.stackFlag(cmd, &stack)
	return cmd
}

func (p *page) pruned(r install.PruneResult) {
	if len(r.Documents) == 0 {
		p.line("%s: everything that is kept is needed", p.style.Bold(r.Stack))
		return
	}
	what := "would be removed"
	if r.Removed {
		what = "removed"
	}
	p.line("%s: %s %s", p.style.Bold(r.Stack), output.Count(len(r.Documents), "document"), what)
	var rows [][]string
	for _, d := range r.Documents {
		rows = append(rows, []string{d.Kind, d.Digest.Encoded()[:12], "generation " + strings.Trim(fmt.Sprint(d.Generations), "[]")})
	}
	p.table(rows)
	if len(r.Images) > 0 {
		p.line("%s in the registry that nothing here needs any more:", output.Count(len(r.Images), "image"))
	}
	for _, i := range r.Images {
		p.line("  %s", output.Clean(i))
	}
	if !r.Removed {
		p.next("caisson prune --yes")
	}
}
