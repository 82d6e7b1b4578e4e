package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/command/install"
	"github.com/caisson/caisson/internal/command/preflight"
	"github.com/caisson/caisson/internal/command/report"
	"github.com/caisson/caisson/internal/event"
)

func (c *cluster) target(stack string) install.Target {
	return install.Target{Kubeconfig: c.kubeconfig, Context: c.context, StateDir: c.stateDir, Stack: stack}
}

func (a *app) plan() *cobra.Command {
	var opt preflight.Options
	var c cluster
	cmd := &cobra.Command{
		Use:   "plan PATH... --key FILE.pub --site SITE.yaml -o PLAN.json",
		Short: "Say what an installation would change",
		Long: "Look at the site and write a plan: every change, its order and its cost.\n" +
			"Nothing is touched. What stands in the way is listed, all of it.",
		Example: "  caisson plan /media/usb --key caisson.pub --site site.yaml -o plan.json",
		Args:    args(1, -1, "at least one PATH that holds a bundle"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Paths, opt.Kubeconfig, opt.Context = args, c.kubeconfig, c.context
			return a.do(cmd, "plan", func(ctx context.Context, sink event.Sink) (func(*page), error) {
				opt.Renderer = a.worker
				made, err := preflight.Run(ctx, opt, sink)
				if err != nil {
					return nil, err
				}
				return func(p *page) { p.planned(made, opt.Output) }, nil
			})
		},
	}
	f := cmd.Flags()
	keyFlag(f, &opt.Keys)
	f.StringVar(&opt.Site, "site", "", "what the site is like: `SITE.yaml`")
	expiredFlag(f, &opt.AllowExpired)
	f.StringVarP(&opt.Output, "out", "o", "", "the plan to write: `PLAN.json`")
	c.flags(f)
	require(cmd, "key", "site", "out")
	cmd.AddCommand(a.planShow())
	return cmd
}

func (a *app) install() *cobra.Command {
	var opt install.Options
	var c cluster
	cmd := &cobra.Command{
		Use:   "install PLAN.json [flags]",
		Short: "Carry a plan out",
		Long: "Install what a plan says, component by component, each until it is ready. A\n" +
			"component that fails goes back to what it was; run again to continue.",
		Example: "  caisson install plan.json\n  caisson install plan.json --bundle /srv/bundle",
		Args:    args(1, 1, "one PLAN.json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Plan, opt.Target, opt.Tool = args[0], c.target(""), version
			return a.do(cmd, "install", func(ctx context.Context, sink event.Sink) (func(*page), error) {
				res, err := install.Run(ctx, opt, sink)
				return changed(res, err, "caisson status"), err
			})
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&opt.Bundles, "bundle", nil, "`PATH` that holds the bundle now; repeat for more (default: as planned)")
	f.StringArrayVar(&opt.Keys, "key", nil, "public key `FILE.pub` (default: those the plan was made with)")
	workersFlag(f, &opt.Workers, "components")
	f.DurationVar(&opt.Timeout, "timeout", 0, "`DUR` to wait for a component to become ready (default 15m)")
	expiredFlag(f, &opt.AllowExpired)
	f.BoolVar(&opt.AllowOlder, "allow-older", false, "install although a newer bundle was installed before")
	c.flags(f)
	return cmd
}

// changed shows what a verb did to a cluster, if it did anything.
func changed(res install.Result, err error, next string) func(*page) {
	if res.Stack == "" || (err != nil && !errors.Is(err, install.ErrComponent)) {
		return nil
	}
	return func(p *page) { p.changed(res, next) }
}

// stackFlag adds the choice among several installed stacks.
func (c *cluster) stackFlag(cmd *cobra.Command, stack *string) {
	cmd.Flags().StringVar(stack, "stack", "", "`NAME` of the stack, where several are installed")
	c.flags(cmd.Flags())
}

// onStack makes a command of work on one installed stack; component is its
// argument, if it has one.
func (a *app) onStack(cmd *cobra.Command, f func(ctx context.Context, at install.Target, component string, sink event.Sink) (func(*page), error)) *cobra.Command {
	var c cluster
	var stack string
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.do(cmd, cmd.Name(), func(ctx context.Context, sink event.Sink) (func(*page), error) {
			return f(ctx, c.target(stack), first(args), sink)
		})
	}
	c.stackFlag(cmd, &stack)
	return cmd
}

func (a *app) status() *cobra.Command {
	return a.onStack(&cobra.Command{
		Use:   "status [flags]",
		Short: "Show what is installed and whether it is ready",
		Long: "Compare what is installed with what was installed. It ends with 6 when\n" +
			"something is not ready or was changed.",
		Example: "  caisson status",
		Args:    args(0, 0, ""),
	}, func(ctx context.Context, at install.Target, _ string, sink event.Sink) (func(*page), error) {
		res, err := install.Status(ctx, at, sink)
		if res.Stack == "" {
			return nil, err
		}
		return func(p *page) { p.status(res) }, err
	})
}

func (a *app) history() *cobra.Command {
	return a.onStack(&cobra.Command{
		Use:     "history [flags]",
		Short:   "Show what was done, by whom and when",
		Long:    "Show the journal of a stack: every run that changed the cluster, oldest first.",
		Example: "  caisson history",
		Args:    args(0, 0, ""),
	}, func(ctx context.Context, at install.Target, _ string, sink event.Sink) (func(*page), error) {
		res, err := install.History(ctx, at, sink)
		if err != nil {
			return nil, err
		}
		return func(p *page) { p.history(res) }, nil
	})
}

func (a *app) rollback() *cobra.Command {
	var opt install.RollbackOptions
	return a.onStack(&cobra.Command{
		Use:   "rollback [COMPONENT] [flags]",
		Short: "Go back to what was there before",
		Long: "Take a component, or all that the last installation changed, back to what it\n" +
			"was before. Doing it again goes forward again.",
		Example: "  caisson rollback web",
		Args:    args(0, 1, "one COMPONENT"),
	}, func(ctx context.Context, at install.Target, component string, sink event.Sink) (func(*page), error) {
		opt.Target, opt.Tool, opt.Component = at, version, component
		res, err := install.Rollback(ctx, opt, sink)
		return changed(res, err, "caisson status"), err
	})
}

func (a *app) uninstall() *cobra.Command {
	var opt install.UninstallOptions
	cmd := a.onStack(&cobra.Command{
		Use:   "uninstall [COMPONENT] [flags]",
		Short: "Remove what was installed",
		Long: "Remove a component, or the whole stack: what caisson made, and nothing else.\n" +
			"What stays is listed.",
		Example: "  caisson uninstall web\n  caisson uninstall --purge",
		Args:    args(0, 1, "one COMPONENT"),
	}, func(ctx context.Context, at install.Target, component string, sink event.Sink) (func(*page), error) {
		opt.Target, opt.Tool, opt.Component = at, version, component
		res, err := install.Uninstall(ctx, opt, sink)
		return changed(res, err, "caisson history"), err
	})
	cmd.Flags().BoolVar(&opt.Purge, "purge", false, "forget the stack's journal in the cluster as well; caisson-system goes with the last one")
	return cmd
}

func (a *app) report() *cobra.Command {
	var opt report.Options
	var c cluster
	cmd := &cobra.Command{
		Use:   "report -o DIR [flags]",
		Short: "Write what is installed and where it came from",
		Long: "Write report.html and report.json: what is installed, where each byte came\n" +
			"from, who verified what, and how the installation went.",
		Example: "  caisson report -o report",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt.Kubeconfig, opt.Context, opt.StateDir, opt.Tool = c.kubeconfig, c.context, c.stateDir, version
			return a.do(cmd, "report", func(ctx context.Context, sink event.Sink) (func(*page), error) {
				res, err := report.Run(ctx, opt, sink)
				if err != nil {
					return nil, err
				}
				return func(p *page) { p.line("%s\n%s", res.HTML, res.JSON) }, nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&opt.Output, "out", "o", "", "`DIR` for report.html and report.json")
	f.StringArrayVar(&opt.Bundles, "bundle", nil, "`PATH` that holds the bundle, for its ledger; repeat for more")
	f.StringArrayVar(&opt.Keys, "key", nil, "public key `FILE.pub` that it is trusted by")
	c.stackFlag(cmd, &opt.Stack)
	require(cmd, "out")
	return cmd
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
