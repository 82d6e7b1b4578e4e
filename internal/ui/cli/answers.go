package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/ui/ask"
)

// withAnswers makes cmd fill answers from its flags and arguments, then run.
// Mistakes in them are those of the call.
func withAnswers(cmd *cobra.Command, answers ask.Answers, run func(cmd *cobra.Command) error) *cobra.Command {
	form := answers.Form()
	ask.Bind(cmd.Flags(), form)
	if cmd.Args == nil {
		cmd.Args = func(cmd *cobra.Command, given []string) error {
			form.Arguments.Set(given)
			return checkArgs(0, form.Arguments.Most, form.Arguments.Words)(cmd, given)
		}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return asWrongCall(cmd, run(cmd)) }
	return cmd
}

// asWrongCall makes a usageError of mistakes in the answers, and leaves other
// errors alone.
func asWrongCall(cmd *cobra.Command, err error) error {
	var wrong *ask.Error
	if !errors.As(err, &wrong) {
		return err
	}
	text := wrong.Error()
	if strings.HasPrefix(text, ask.NeedsPrefix) {
		text = cmd.CommandPath() + " " + text
	}
	return usagef(cmd, "%s", text)
}

// program is what the answers are completed with.
func (a *app) program() ask.Program {
	return ask.Program{Version: version, Renderer: a.worker, Builder: a.builder, Lookup: a.lookup, Password: a.askPassword}
}
