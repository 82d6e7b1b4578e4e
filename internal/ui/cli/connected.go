package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/command/resolve"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/ask"
	"github.com/caisson/caisson/internal/ui/outcome"
	"github.com/caisson/caisson/internal/ui/output"
)

func (a *app) resolveCommand() *cobra.Command {
	var answers ask.Resolve
	return withAnswers(&cobra.Command{
		Use:   "resolve -f STACK.yaml -o LOCK.yaml [flags]",
		Short: "Pin every item of a stack by digest",
		Long: "Resolve a stack: find every image, chart, model, manifest and file it needs,\n" +
			"pin each by digest and size, and write the lock. Equal stacks and equal\n" +
			"upstreams give equal locks. Kustomizations that projects publish are built\n" +
			"here, and by pack again.",
		Example: "  caisson resolve -f stack.yaml -o demo.lock.yaml\n" +
			"  caisson resolve -f stack.yaml -o demo.lock.yaml --upstreams mirrors.yaml",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(a.program())
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "resolve", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := resolve.Run(ctx, opt, sink)
			if err != nil {
				return nil, err
			}
			return pageUnlessFailed(outcome.Resolved(res), nil)
		})
	})
}

func (a *app) packCommand() *cobra.Command {
	var answers ask.Pack
	return withAnswers(&cobra.Command{
		Use:   "pack LOCK.yaml -o DIR [flags]",
		Short: "Fetch what a lock names and write the bundle",
		Long: "Pack a lock: fetch every byte it names, once, into the bundle's volumes, and\n" +
			"seal and sign it. Stopped at any moment, the same command continues.",
		Example: "  caisson pack demo.lock.yaml -o /media/usb --signing-key caisson.key\n" +
			"  caisson pack demo.lock.yaml -o out --volume-size 4000MiB --expires 90d",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(a.program())
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "pack", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := pack.Run(ctx, opt, sink)
			return pageUnlessFailed(outcome.Packed(res, opt.Key), err)
		})
	})
}
