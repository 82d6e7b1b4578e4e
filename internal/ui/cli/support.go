package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/command/report"
	"github.com/caisson/caisson/internal/command/support"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/ask"
	"github.com/caisson/caisson/internal/ui/outcome"
	"github.com/caisson/caisson/internal/ui/output"
)

func (a *app) reportCommand() *cobra.Command {
	var answers ask.Report
	return withAnswers(&cobra.Command{
		Use:   "report -o DIR [flags]",
		Short: "Write what is installed and where it came from",
		Long: "Write report.html and report.json: what is installed, where each byte came\n" +
			"from, who verified what, and how the installation went.",
		Example: "  caisson report -o report",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(a.program())
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "report", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := report.Run(ctx, opt, sink)
			return pageUnlessFailed(outcome.Reported(res), err)
		})
	})
}

func (a *app) supportCommand() *cobra.Command {
	var answers ask.Support
	return withAnswers(&cobra.Command{
		Use:   "support -o FILE.tar.gz [flags]",
		Short: "Pack what a support ticket needs",
		Long: "Pack versions, plans, journals, events, the state of pods and the logs of those\n" +
			"that fail. Values of Secrets and of charts are not in it.",
		Example: "  caisson support -o ticket.tar.gz",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(a.program())
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "support", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := support.Run(ctx, opt, sink)
			return pageUnlessFailed(outcome.Supported(res), err)
		})
	})
}
