package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/bytesize"
	"github.com/caisson/caisson/internal/command/support"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/output"
)

func (a *app) support() *cobra.Command {
	var opt support.Options
	var c cluster
	cmd := &cobra.Command{
		Use:   "support -o FILE.tar.gz [flags]",
		Short: "Pack what a support ticket needs",
		Long: "Pack versions, plans, journals, events, the state of pods and the logs of those\n" +
			"that fail. Values of Secrets and of charts are not in it.",
		Example: "  caisson support -o ticket.tar.gz",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt.Kubeconfig, opt.Context, opt.StateDir, opt.Tool = c.kubeconfig, c.context, c.stateDir, version
			return a.do(cmd, "support", func(ctx context.Context, sink event.Sink) (func(*page), error) {
				res, err := support.Run(ctx, opt, sink)
				if err != nil {
					return nil, err
				}
				return func(p *page) { p.supported(res) }, nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&opt.Output, "out", "o", "", "the archive to write: `FILE.tar.gz`")
	c.flags(f)
	require(cmd, "out")
	return cmd
}

func (p *page) supported(r support.Result) {
	p.line("%s: %s in %s", r.Path, output.Count(len(r.Files), "file"), bytesize.Text(r.Bytes))
	p.next("tar tzf %s", r.Path)
}
