package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/command/install"
	"github.com/caisson/caisson/internal/command/preflight"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/ui/ask"
	"github.com/caisson/caisson/internal/ui/outcome"
	"github.com/caisson/caisson/internal/ui/output"
)

func (a *app) preflightCommand() *cobra.Command {
	var answers ask.Preflight
	return withAnswers(&cobra.Command{
		Use:   "preflight PATH... --key FILE.pub --site SITE.yaml",
		Short: "Check whether a site can take a bundle",
		Long: "Look at the cluster, its nodes, the registry and the operator's rights, and list\n" +
			"all that stands in the way of an installation, each with what settles it.\n" +
			"Nothing is written. It ends with 5 when something must be settled first.",
		Example: "  caisson preflight /media/usb --key caisson.pub --site site.yaml",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(a.program())
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "preflight", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := preflight.Preflight(ctx, opt, sink)
			return pageUnlessFailed(outcome.Checked(res), err)
		})
	})
}

func (a *app) planCommand() *cobra.Command {
	var answers ask.Plan
	cmd := withAnswers(&cobra.Command{
		Use:   "plan PATH... --key FILE.pub --site SITE.yaml -o PLAN.json",
		Short: "Say what an installation would change",
		Long: "Look at the site and write a plan: every change, its order and its cost.\n" +
			"Nothing is touched. What stands in the way is listed, all of it.",
		Example: "  caisson plan /media/usb --key caisson.pub --site site.yaml -o plan.json",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(a.program())
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "plan", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			made, err := preflight.Run(ctx, opt, sink)
			if err != nil {
				return nil, err
			}
			return pageUnlessFailed(outcome.Planned(made, opt.Output), nil)
		})
	})
	cmd.AddCommand(a.planShowCommand())
	return cmd
}

func (a *app) planShowCommand() *cobra.Command {
	var answers ask.PlanShow
	return withAnswers(&cobra.Command{
		Use:   "show PLAN.json [flags]",
		Short: "Show what a plan says",
		Long: "Show a plan: the order, what changes in each component and what going back\n" +
			"would do, images, definitions, bytes, time, findings. It reads the file alone.\n" +
			"(A bundle in a directory named show is planned with: caisson plan ./show)",
		Example: "  caisson plan show plan.json\n  caisson plan show plan.json --rate 40MiB --objects",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options()
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "plan show", func(_ context.Context, sink event.Sink) (*output.Page, error) {
			p, err := plan.Read(opt.Plan)
			if err != nil {
				return nil, err
			}
			e := decide.EstimateOf(p, opt.Rate)
			sink.Emit(event.Event{
				Verb: "plan show", Kind: event.Result, Message: p.Name + " " + p.Version, Bytes: p.Bytes.Missing, Total: p.Bytes.Total,
				Fields: map[string]any{"plan": p, "seconds": int64(e.Total().Seconds()), "rate": e.Rate},
			})
			return pageUnlessFailed(outcome.Plan(p, e, opt.Plan, opt.Objects), nil)
		})
	})
}

func (a *app) installCommand() *cobra.Command {
	var answers ask.Install
	return withAnswers(&cobra.Command{
		Use:   "install PLAN.json [flags]",
		Short: "Carry a plan out",
		Long: "Install what a plan says, component by component, each until it is ready. A\n" +
			"component that fails goes back to what it was; run again to continue.",
		Example: "  caisson install plan.json\n  caisson install plan.json --bundle /srv/bundle",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(a.program())
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "install", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := install.Run(ctx, opt, sink)
			return showChange(res, err, "caisson status")
		})
	})
}

// showChange shows what a verb did to a cluster, if it did anything.
func showChange(res install.Result, err error, next string) (*output.Page, error) {
	if res.Stack == "" || (err != nil && !errors.Is(err, install.ErrComponent)) {
		return nil, err
	}
	page := outcome.Changed(res, next)
	return &page, err
}

func (a *app) statusCommand() *cobra.Command {
	var answers ask.Stack
	return withAnswers(&cobra.Command{
		Use:   "status [flags]",
		Short: "Show what is installed and whether it is ready",
		Long: "Compare what is installed with what was installed. It ends with 6 when\n" +
			"something is not ready or was changed.",
		Example: "  caisson status",
	}, &answers, func(cmd *cobra.Command) error {
		target, err := answers.Options()
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "status", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := install.Status(ctx, target, sink)
			if res.Stack == "" {
				return nil, err
			}
			page := outcome.Status(res)
			return &page, err
		})
	})
}

func (a *app) historyCommand() *cobra.Command {
	var answers ask.Stack
	return withAnswers(&cobra.Command{
		Use:     "history [flags]",
		Short:   "Show what was done, by whom and when",
		Long:    "Show the journal of a stack: every run that changed the cluster, oldest first.",
		Example: "  caisson history",
	}, &answers, func(cmd *cobra.Command) error {
		target, err := answers.Options()
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "history", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := install.History(ctx, target, sink)
			return pageUnlessFailed(outcome.History(res), err)
		})
	})
}

func (a *app) rollbackCommand() *cobra.Command {
	var answers ask.Rollback
	return withAnswers(&cobra.Command{
		Use:   "rollback [COMPONENT] [flags]",
		Short: "Go back to what was there before",
		Long: "Take a component, or all that the last installation changed, back to what it\n" +
			"was before. Doing it again goes forward again.",
		Example: "  caisson rollback web",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(a.program())
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "rollback", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := install.Rollback(ctx, opt, sink)
			return showChange(res, err, "caisson status")
		})
	})
}

func (a *app) uninstallCommand() *cobra.Command {
	var answers ask.Uninstall
	return withAnswers(&cobra.Command{
		Use:   "uninstall [COMPONENT] [flags]",
		Short: "Remove what was installed",
		Long: "Remove a component, or the whole stack: what caisson made, and nothing else.\n" +
			"What stays is listed. Objects that users made, and that what goes serves, are\n" +
			"not left alone without a word: say what becomes of them.",
		Example: "  caisson uninstall --preview\n  caisson uninstall web\n  caisson uninstall --remove-user-objects --purge",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(a.program())
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "uninstall", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			if answers.Preview {
				res, err := install.PreviewUninstall(ctx, opt, sink)
				return pageUnlessFailed(outcome.Removal(res), err)
			}
			res, err := install.Uninstall(ctx, opt, sink)
			next := "caisson history"
			if opt.Purge && opt.Component == "" {
				next = "caisson plan BUNDLE" // the history is gone
			}
			return showChange(res, err, next)
		})
	})
}

func (a *app) pruneCommand() *cobra.Command {
	var answers ask.Prune
	return withAnswers(&cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove what is kept of old generations",
		Long: "List what the cluster keeps of generations that nothing can go back to, and\n" +
			"the images that only they needed. With --yes it is removed, but for the images.",
		Example: "  caisson prune\n  caisson prune --yes",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options()
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "prune", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := install.Prune(ctx, opt, sink)
			return pageUnlessFailed(outcome.Pruned(res), err)
		})
	})
}
