package cli

import (
	"os"
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
// program's own file is not known it is the name that it was called by: charts
// are never rendered in the process that installs them.
func renderCommand() []string {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return []string{self, "agent", "render"}
}
