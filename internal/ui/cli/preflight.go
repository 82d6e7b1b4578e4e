package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/command/preflight"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/output"
)

func (a *app) preflight() *cobra.Command {
	var opt preflight.Options
	var c cluster
	cmd := &cobra.Command{
		Use:   "preflight PATH... --key FILE.pub --site SITE.yaml",
		Short: "Check whether a site can take a bundle",
		Long: "Look at the cluster, its nodes, the registry and the operator's rights, and list\n" +
			"all that stands in the way of an installation, each with what settles it.\n" +
			"Nothing is written. It ends with 5 when something must be settled first.",
		Example: "  caisson preflight /media/usb --key caisson.pub --site site.yaml",
		Args:    args(1, -1, "at least one PATH that holds a bundle"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Paths, opt.Kubeconfig, opt.Context = args, c.kubeconfig, c.context
			return a.do(cmd, "preflight", func(ctx context.Context, sink event.Sink) (func(*page), error) {
				opt.Renderer = a.worker
				res, err := preflight.Preflight(ctx, opt, sink)
				if err != nil {
					return nil, err
				}
				return func(p *page) { p.checked(res) }, nil
			})
		},
	}
	f := cmd.Flags()
	keyFlag(f, &opt.Keys)
	f.StringVar(&opt.Site, "site", "", "what the site is like: `SITE.yaml`")
	expiredFlag(f, &opt.AllowExpired)
	c.connectFlags(f)
	require(cmd, "key", "site")
	return cmd
}

// checked says that nothing stands in the way.
func (p *page) checked(c preflight.Checked) {
	rest := "nothing stands in the way"
	if n := c.Warnings + c.Notices; n > 0 {
		rest = "nothing forbids it; " + output.Count(n, "finding") + " above to look at"
	}
	p.line("%s: %s %s onto %s: %s", p.style.Green("met"), p.style.Bold(c.Stack), c.Version, output.Clean(c.Server), rest)
	p.next("caisson plan PATH... --key FILE.pub --site SITE.yaml -o PLAN.json")
}
