package cli

import (
	"os/exec"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/client/helm"
)

// Bounds of a process that renders a chart.
const (
	renderStack  = 64 << 20 // bytes of one goroutine's stack
	renderHeap   = 1 << 30  // from where memory is given back eagerly
	renderMemory = 2 << 30  // where the process ends
	renderCPU    = 120      // seconds
)

// agentRenderCommand renders one chart for a caisson that asks on standard input, in a
// process that hostile templates may bring down.
func (a *app) agentRenderCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "render",
		Short:   "Render a chart for another caisson",
		Long:    "Render a chart that another caisson sends, within bounds of memory and time.",
		Example: "  caisson agent render <question.json",
		Args:    checkArgs(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			debug.SetMaxStack(renderStack)
			debug.SetMemoryLimit(renderHeap)
			if err := limitProcess(); err != nil {
				return err
			}
			return helm.Work(cmd.Context(), a.streams.In, a.streams.Out)
		},
	}
}

// renderCommand is the command line of a process that renders charts. Where this
// program's own file is not known, as err says, it is the one that was called:
// charts are never rendered in the process that installs them.
func renderCommand(self string, err error, called string) []string {
	if err != nil {
		self = calledFile(called)
	}
	return []string{self, "agent", "render"}
}

// calledFile is the whole path of the program called by that name, for the process
// that renders starts in another directory.
func calledFile(called string) string {
	found, err := exec.LookPath(called)
	if err != nil {
		found = called
	}
	whole, err := filepath.Abs(found)
	if err != nil {
		return found
	}
	return whole
}
