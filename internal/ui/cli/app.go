package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/explain"
	"github.com/caisson/caisson/internal/ui/output"
)

// kindError is the kind of the last JSON line of a command that failed.
const kindError event.Kind = "error"

// app is one run of the program: its streams, its global flags, and what shows
// events while a verb runs.
type app struct {
	streams Streams
	lookup  func(name string) (string, bool) // finds a variable of the environment
	args    []string                         // the command line
	worker  []string                         // command line of a process that renders charts; nil, in tests alone, renders them here
	builder []string                         // command line of a process that builds manifests; nil, in tests alone: none are built
	format  string                           // text or json
	quiet   bool
	noColor bool
	text    *output.Text // while a verb runs with text output
	verb    string
}

func (a *app) json() bool { return a.format == "json" }

// style is plain unless w is a terminal that may be coloured.
func (a *app) style(w io.Writer) output.Style {
	refused, _ := a.lookup("NO_COLOR")
	return output.Style{On: isTerminal(w) && !a.noColor && !a.isDumb() && refused == ""}
}

// drawsLive says whether a line on the error stream can be drawn again and again.
func (a *app) drawsLive() bool {
	return isTerminal(a.streams.Err) && !a.isDumb()
}

// isDumb says whether the terminal knows no colours and cannot draw over a line.
func (a *app) isDumb() bool {
	name, _ := a.lookup("TERM")
	return name == "dumb"
}

func (a *app) width() int {
	for _, w := range []io.Writer{a.streams.Err, a.streams.Out} {
		if f, ok := w.(*os.File); ok {
			if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
				return n
			}
		}
	}
	return 80
}

// work is what a command does: it emits events and returns its outcome for
// people, which may be nil.
type work func(ctx context.Context, sink event.Sink) (*output.Page, error)

// pageUnlessFailed is the outcome of work that has one unless it fails.
func pageUnlessFailed(page output.Page, err error) (*output.Page, error) {
	if err != nil {
		return nil, err
	}
	return &page, nil
}

// runVerb runs a verb between the renderer that the flags ask for. The outcome is
// shown when there is one, even beside an error.
func (a *app) runVerb(cmd *cobra.Command, verb string, f work) error {
	a.verb = verb
	if a.json() {
		return a.runVerbAsJSON(cmd, verb, f)
	}
	a.text = output.NewText(a.streams.Out, a.streams.Err, output.TextOptions{
		Verb: verb, Terminal: a.drawsLive(), Width: a.width, Quiet: a.quiet,
		Style: a.style(a.streams.Err), OutStyle: a.style(a.streams.Out),
	})
	defer a.text.Close()
	page, err := f(cmd.Context(), a.text)
	a.text.Close()
	if page != nil {
		text := page.Text(a.style(a.streams.Out), a.width())
		if _, werr := io.WriteString(a.streams.Out, text); err == nil && werr != nil {
			err = fmt.Errorf("writing the result: %w", werr)
		}
	}
	return err
}

func (a *app) runVerbAsJSON(cmd *cobra.Command, verb string, f work) error {
	sink := output.NewJSON(a.streams.Out, verb)
	_, err := f(cmd.Context(), sink)
	if werr := sink.Err(); err == nil && werr != nil {
		err = fmt.Errorf("writing events: %w", werr)
	}
	return err
}

// explainFailure tells what went wrong and returns the exit code.
func (a *app) explainFailure(err error) int {
	x := explain.Explain(err)
	if a.json() {
		a.explainFailureAsJSON(x)
	}
	s := a.style(a.streams.Err)
	a.printWrapped(s.Red("error:")+" ", x.Sentence, 7)
	for _, line := range strings.Split(x.Why, "\n") {
		if line != "" && line != x.Sentence {
			a.printWrapped("  ", line, 4)
		}
	}
	if x.Hint != "" {
		a.printWrapped(s.Bold("next:")+"  ", x.Hint, 7)
	}
	return x.Code
}

// printWrapped writes text after a head, on a terminal broken into lines that are
// indented.
func (a *app) printWrapped(head, text string, indent int) {
	width := 1 << 20
	if isTerminal(a.streams.Err) {
		width = a.width()
	}
	for i, part := range output.Wrap(output.Clean(text), width-indent) {
		if i > 0 {
			head = strings.Repeat(" ", indent)
		}
		fmt.Fprintln(a.streams.Err, head+part)
	}
}

func (a *app) explainFailureAsJSON(x explain.Explanation) {
	output.NewJSON(a.streams.Out, a.verb).Emit(event.Event{Time: time.Now().UTC(), Kind: kindError, Message: x.Sentence,
		Fields: map[string]any{"why": x.Why, "hint": x.Hint, "exitCode": x.Code}})
}
