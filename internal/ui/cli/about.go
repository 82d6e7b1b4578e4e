package cli

import (
	"context"
	"crypto/fips140"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/output"
	"github.com/caisson/caisson/manifests"
)

// Set by the linker, see the Makefile.
var (
	version = "dev" // the release
	commit  string  // of the source; empty where the build does not say
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show this program's version",
		Args: checkArgs(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runVerb(cmd, "version", func(_ context.Context, sink event.Sink) (*output.Page, error) {
				b := describeBuild()
				sink.Emit(event.Event{Verb: "version", Kind: event.Result, Message: b.Version, Fields: b.fields()})
				return pageUnlessFailed(b.page(), nil)
			})
		},
	}
}

// buildInfo is what this program is.
type buildInfo struct {
	Version, Commit, Go, Platform string
	FIPS                          bool
	Format                        int
}

func describeBuild() buildInfo {
	return buildInfo{
		Version: version, Commit: sourceCommit(), Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, FIPS: fips140.Enabled(), Format: bundle.FormatVersion,
	}
}

// sourceCommit is the commit that this program was built from: what the linker
// was told, or else what go build found by itself.
func sourceCommit() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

func (b buildInfo) fields() map[string]any {
	return map[string]any{"version": b.Version, "commit": b.Commit, "go": b.Go, "platform": b.Platform, "fips": b.FIPS, "format": b.Format}
}

func (b buildInfo) page() (p output.Page) {
	fips := "off"
	if b.FIPS {
		fips = "on"
	}
	p.Say("caisson %s", b.Version)
	p.Add(output.Facts{
		{Label: "commit", Value: b.Commit}, {Label: "go", Value: b.Go}, {Label: "platform", Value: b.Platform},
		{Label: "FIPS 140-3", Value: fips}, {Label: "bundle format", Value: fmt.Sprint(b.Format)},
	})
	return p
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "schema KIND",
		Short:     "Print the JSON Schema of a file kind",
		Long:      "Print the JSON Schema of a kind of file: " + strings.Join(schemaKinds(), ", ") + ". Editors check and\ncomplete YAML with it.",
		Example:   "  caisson schema stack > stack.schema.json",
		ValidArgs: schemaKinds(),
		Args:      checkArgs(1, 1, "one KIND: "+strings.Join(schemaKinds(), ", ")),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, ok := manifests.Schema(strings.ToLower(args[0]))
			if !ok {
				return usagef(cmd, "there is no kind %q; known: %s", args[0], strings.Join(schemaKinds(), ", "))
			}
			_, err := a.streams.Out.Write(text)
			return err
		},
	}
}

func schemaKinds() []string {
	kinds := manifests.Kinds()
	sort.Strings(kinds)
	return kinds
}

func (a *app) completionCommand() *cobra.Command {
	shells := map[string]func(root *cobra.Command, w io.Writer) error{
		"bash":       func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"zsh":        func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) },
		"fish":       func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
		"powershell": func(root *cobra.Command, w io.Writer) error { return root.GenPowerShellCompletionWithDesc(w) },
	}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the completion script of a shell",
		Long:  "Print what makes a shell complete caisson's commands and flags.",
		Example: "  source <(caisson completion bash)\n" +
			"  caisson completion zsh > \"${fpath[1]}/_caisson\"",
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      checkArgs(1, 1, "one SHELL: bash, zsh, fish or powershell"),
		RunE: func(cmd *cobra.Command, args []string) error {
			write, ok := shells[args[0]]
			if !ok {
				return usagef(cmd, "there is no completion for %q; known: bash, zsh, fish, powershell", args[0])
			}
			return write(cmd.Root(), a.streams.Out)
		},
	}
}
