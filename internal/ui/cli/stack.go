package cli

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/command/stacks"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/ask"
	"github.com/caisson/caisson/internal/ui/outcome"
	"github.com/caisson/caisson/internal/ui/output"
)

func (a *app) stackCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "stack", Short: "Look at stacks, and begin one of your own",
		Long: "Look at the stacks that come with caisson and at your own, and begin one: your\n" +
			"stack.yaml extends a stack of ours, and says what differs.",
		Args: a.unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.stackListCommand(), a.stackShowCommand(), a.stackInitCommand(), a.stackLintCommand(), a.stackUpgradeCommand())
	return cmd
}

func (a *app) stackListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the stacks that come with caisson",
		Args: checkArgs(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runVerb(cmd, stacks.Verb, func(_ context.Context, sink event.Sink) (*output.Page, error) {
				list, err := stacks.List(sink)
				return pageUnlessFailed(outcome.Stacks(list), err)
			})
		},
	}
}

func (a *app) stackShowCommand() *cobra.Command {
	var answers ask.StackShow
	return withAnswers(&cobra.Command{
		Use:     "show STACK [flags]",
		Short:   "Show what a stack is made of",
		Long:    "Show the components of a stack, with all that it extends: charts, declared images,\nmodels, order, and the profiles that cut it.",
		Example: "  caisson stack show sovereign-ai\n  caisson stack show stack.yaml --profile core,training",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options()
		if err != nil {
			return err
		}
		return a.runVerb(cmd, stacks.Verb, func(_ context.Context, sink event.Sink) (*output.Page, error) {
			s, err := stacks.Show(opt.Stack, opt.Profiles, sink)
			if err != nil {
				return nil, err
			}
			return pageUnlessFailed(outcome.Stack(s, opt.Stack, opt.Profiles), nil)
		})
	})
}

func (a *app) stackLintCommand() *cobra.Command {
	var answers ask.StackLint
	return withAnswers(&cobra.Command{
		Use:   "lint STACK",
		Short: "Check a stack without a network",
		Long: "Check a stack: every mistake in it, and what is unwise, such as tags that move.\n" +
			"What its charts would do is found by caisson resolve.",
		Example: "  caisson stack lint stack.yaml",
	}, &answers, func(cmd *cobra.Command) error {
		name, err := answers.Options()
		if err != nil {
			return err
		}
		return a.runVerb(cmd, stacks.Verb, func(_ context.Context, sink event.Sink) (*output.Page, error) {
			found, err := stacks.Lint(name, sink)
			return pageUnlessFailed(outcome.StackLinted(name, found), err)
		})
	})
}

func (a *app) stackInitCommand() *cobra.Command {
	var answers ask.StackInit
	return withAnswers(&cobra.Command{
		Use:   "init --name NAME [flags]",
		Short: "Begin a stack of your own",
		Long: "Write a stack.yaml that extends a stack which comes with caisson. At a terminal,\n" +
			"what no flag says is asked.",
		Example: "  caisson stack init\n  caisson stack init --name clinic --profile core,serving",
	}, &answers, func(cmd *cobra.Command) error {
		if err := a.askStack(&answers); err != nil {
			return err
		}
		opt, err := answers.Options()
		if err != nil {
			return err
		}
		return a.runVerb(cmd, stacks.Verb, func(_ context.Context, sink event.Sink) (*output.Page, error) {
			created, err := stacks.Init(opt, sink)
			if err != nil {
				return nil, err
			}
			return pageUnlessFailed(outcome.StackCreated(created), nil)
		})
	})
}

// askStack asks at a terminal for the name of a stack that has none, and for its profiles.
func (a *app) askStack(answers *ask.StackInit) error {
	in, ok := a.streams.In.(*os.File)
	if answers.Name != "" || !ok || !isTerminal(in) || a.format != "text" {
		return nil
	}
	lines := bufio.NewScanner(in)
	question := func(text string) string {
		fmt.Fprint(a.streams.Err, text)
		lines.Scan()
		return strings.TrimSpace(lines.Text())
	}
	answers.Name = question("Name of the stack, such as clinic: ")
	if len(answers.Profile) > 0 {
		return lines.Err()
	}
	s, err := stacks.Show(cmp.Or(answers.Extends, ask.DefaultStack), nil, event.Discard)
	if err != nil {
		return err
	}
	for _, p := range s.Profiles {
		fmt.Fprintf(a.streams.Err, "  %-14s %s\n", p.Name, p.About)
	}
	answers.Profile = strings.FieldsFunc(question("Profiles, with commas between (Enter: all): "), func(r rune) bool { return r == ',' || r == ' ' })
	return lines.Err()
}

func (a *app) stackUpgradeCommand() *cobra.Command {
	var answers ask.StackUpgrade
	return withAnswers(&cobra.Command{
		Use:   "upgrade STACK --lock LOCK.yaml [flags]",
		Short: "Show what changes against the last lock",
		Long: "Compare a stack with the lock that was last resolved from it: what a newer stack of\n" +
			"ours, or your own edits, change in charts, values, images, order and licences. Nothing\n" +
			"is fetched and nothing is written.",
		Example: "  caisson stack upgrade stack.yaml --lock demo.lock.yaml",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options()
		if err != nil {
			return err
		}
		return a.runVerb(cmd, stacks.Verb, func(_ context.Context, sink event.Sink) (*output.Page, error) {
			u, err := stacks.Compare(opt.Stack, opt.Lock, opt.Profiles, sink)
			if err != nil {
				return nil, err
			}
			return pageUnlessFailed(outcome.StackUpgraded(u, opt.Stack), nil)
		})
	})
}
