package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// showHelp writes a command's help, at most 80 columns wide.
func (a *app) showHelp(cmd *cobra.Command, _ []string) {
	w := cmd.OutOrStdout()
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintln(w, text)
	s := a.style(w)
	fmt.Fprintf(w, "\n%s\n  %s\n", s.Bold("Usage:"), useLine(cmd))
	for _, g := range cmd.Groups() {
		helpCommands(w, s.Bold(g.Title), cmd, g.ID)
	}
	if len(cmd.Groups()) == 0 && cmd.HasAvailableSubCommands() {
		helpCommands(w, s.Bold("Commands:"), cmd, "")
	}
	if cmd.Example != "" {
		fmt.Fprintf(w, "\n%s\n%s\n", s.Bold("Examples:"), cmd.Example)
	}
	helpFlags(w, s.Bold("Flags:"), cmd.LocalNonPersistentFlags())
	helpFlags(w, s.Bold("Everywhere:"), cmd.Root().PersistentFlags())
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n%s COMMAND --help says more about a command.\n", cmd.CommandPath())
	}
}

func useLine(cmd *cobra.Command) string {
	switch {
	case cmd.HasAvailableSubCommands() && !strings.Contains(cmd.Use, " "):
		return cmd.CommandPath() + " COMMAND"
	case cmd.Parent() != nil:
		return cmd.Parent().CommandPath() + " " + cmd.Use
	}
	return cmd.Use
}

func helpCommands(w io.Writer, title string, cmd *cobra.Command, group string) {
	fmt.Fprintf(w, "\n%s\n", title)
	for _, c := range inOrder(cmd.Commands()) {
		if c.GroupID == group && (c.IsAvailableCommand() || c.Name() == "help") {
			fmt.Fprintf(w, "  %-11s %s\n", c.Name(), c.Short)
		}
	}
}

// inOrder sorts commands as they follow each other in use.
func inOrder(cmds []*cobra.Command) []*cobra.Command {
	cmds = slices.Clone(cmds)
	slices.SortStableFunc(cmds, func(a, b *cobra.Command) int {
		return strings.Compare(a.Annotations[annotationOrder], b.Annotations[annotationOrder])
	})
	return cmds
}

func helpFlags(w io.Writer, title string, flags *pflag.FlagSet) {
	if text := flags.FlagUsagesWrapped(79); strings.TrimSpace(text) != "" {
		fmt.Fprintf(w, "\n%s\n%s", title, text)
	}
}

// nearestFlag is the flag of cmd that name is most likely a misspelling of.
func nearestFlag(cmd *cobra.Command, name string) string {
	probe := &cobra.Command{Use: "flags", SuggestionsMinimumDistance: 2}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		probe.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	if near := probe.SuggestionsFor(name); len(near) > 0 {
		return near[0]
	}
	return ""
}
