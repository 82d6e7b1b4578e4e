package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Groups of commands in the help.
const (
	groupConnected = "connected"
	groupBoth      = "both"
	groupSite      = "site"
	groupOther     = "other"
)

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "caisson",
		Short: "Carry an AI stack across an air gap",
		Long: "Caisson carries an AI stack across an air gap: one signed bundle of images,\n" +
			"charts, models and files, proven on the far side and installed there.\n\n" +
			"  resolve > pack  ...carry...  verify > serve or load > plan > install > report",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              a.unknownCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddGroup(
		&cobra.Group{ID: groupConnected, Title: "Where there is a network:"},
		&cobra.Group{ID: groupBoth, Title: "On either side:"},
		&cobra.Group{ID: groupSite, Title: "At the site:"},
		&cobra.Group{ID: groupOther, Title: "About caisson:"},
	)
	a.globalFlags(root.PersistentFlags())
	a.addGroup(root, groupConnected, a.stackCommand(), a.resolveCommand(), a.packCommand())
	a.addGroup(root, groupBoth, a.keysCommand(), a.signCommand(), a.verifyCommand(), a.inspectCommand(), a.diffCommand())
	a.addGroup(root, groupSite,
		a.serveCommand(), a.loadCommand(), a.nodesCommand(), a.preflightCommand(), a.planCommand(), a.installCommand(), a.statusCommand(),
		a.historyCommand(), a.rollbackCommand(), a.uninstallCommand(), a.pruneCommand(), a.supportCommand(), a.reportCommand())
	a.addGroup(root, groupOther, a.schemaCommand(), a.completionCommand(), a.versionCommand(), a.agentCommand())
	root.SetHelpCommandGroupID(groupOther)
	root.SetHelpFunc(a.showHelp)
	root.SetUsageFunc(func(cmd *cobra.Command) error { a.showHelp(cmd, nil); return nil })
	root.SetFlagErrorFunc(a.flagError)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return a.checkGlobal(cmd) }
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return root
}

func (a *app) addGroup(root *cobra.Command, id string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = id
		c.Annotations = map[string]string{annotationOrder: fmt.Sprintf("%03d", len(root.Commands()))}
		root.AddCommand(c)
	}
}

func (a *app) globalFlags(f *pflag.FlagSet) {
	f.StringVar(&a.format, "output", "text", "`text` for people, json for programs: one event per line")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress: results, findings and warnings only")
	f.BoolVar(&a.noColor, "no-color", false, "no colours (also: NO_COLOR=1)")
}

func (a *app) checkGlobal(cmd *cobra.Command) error {
	if a.format != "text" && a.format != "json" {
		given := a.format
		a.format = "text"
		return usagef(cmd, "--output is text or json, not %q", given)
	}
	a.verb = cmd.Name()
	return nil
}

// unknownCommand is the argument check of commands that only hold others.
func (a *app) unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	e := usagef(cmd, "there is no command %q", cmd.CommandPath()+" "+args[0])
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		e.hint = "did you mean: " + cmd.CommandPath() + " " + near[0]
	}
	return e
}

// usagef makes a usageError that leads to the command's help.
func usagef(cmd *cobra.Command, format string, args ...any) *usageError {
	return &usageError{text: fmt.Sprintf(format, args...), hint: cmd.CommandPath() + " --help shows how it is called"}
}

// flagError explains a flag that pflag refused, in the format that the call asks
// for, be it behind that flag.
func (a *app) flagError(cmd *cobra.Command, err error) error {
	a.verb = cmd.Name()
	if format := askedFormat(a.args); format != "" {
		a.format = format
	}
	return refusedFlag(cmd, err)
}

// askedFormat is the last value of --output in a call that was not read to its
// end; "" for none.
func askedFormat(args []string) (format string) {
	for i, arg := range args {
		value, joined := strings.CutPrefix(arg, "--output=")
		switch {
		case arg == "--":
			return format
		case joined:
			format = value
		case arg == "--output" && i+1 < len(args):
			format = args[i+1]
		}
	}
	return format
}

// refusedFlag names the nearest known flag.
func refusedFlag(cmd *cobra.Command, err error) error {
	e := usagef(cmd, "%s: %s", cmd.CommandPath(), err)
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return e
	}
	e.text = fmt.Sprintf("%s has no flag --%s", cmd.CommandPath(), name)
	if near := nearestFlag(cmd, name); near != "" {
		e.hint = "did you mean: --" + near
	}
	return e
}

// annotationOrder is the place of a command in the help.
const annotationOrder = "caisson_order"

// checkArgs checks the number of positional arguments; names says what they are.
func checkArgs(least, most int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		switch {
		case len(given) < least:
			return usagef(cmd, "%s needs %s", cmd.CommandPath(), names)
		case most >= 0 && len(given) > most && most == 0:
			return usagef(cmd, "%s takes no argument, but got %q", cmd.CommandPath(), given[0])
		case most >= 0 && len(given) > most:
			return usagef(cmd, "%s takes %s and nothing more, but got %q", cmd.CommandPath(), names, given[most])
		}
		return nil
	}
}
