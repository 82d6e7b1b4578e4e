package cli

import (
	"os/exec"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kustomize"
)

// Bounds of a process that renders a chart or builds a manifest.
const (
	renderStack  = 64 << 20 // bytes of one goroutine's stack
	renderHeap   = 1 << 30  // from where memory is given back eagerly
	renderMemory = 2 << 30  // where the process ends
	renderCPU    = 120      // seconds
)

// agentBuildCommand builds one manifest for a caisson that asks on standard input, in a
// process that a hostile kustomization may bring down.
func (a *app) agentBuildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "build",
		Short: "Build a manifest for another caisson",
		Long: "Build the manifest of a kustomization that another caisson sends, within bounds of\n" +
			"memory and time, without a network and without any other program.",
		Example: "  caisson agent build <question.json",
		Args:    checkArgs(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			if err := boundProcess(); err != nil {
				return err
			}
			return kustomize.Work(a.streams.In, a.streams.Out)
		},
	}
}

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
			if err := boundProcess(); err != nil {
				return err
			}
			return helm.Work(cmd.Context(), a.streams.In, a.streams.Out)
		},
	}
}

// boundProcess bounds what this process may use from now on.
func boundProcess() error {
	debug.SetMaxStack(renderStack)
	debug.SetMemoryLimit(renderHeap)
	return limitProcess()
}

// ownFile is the file of this program, for processes that do hostile work. Where it is not
// known, as err says, it is the one that was called: charts are never rendered in the
// process that installs them.
func ownFile(self string, err error, called string) string {
	if err != nil {
		return calledFile(called)
	}
	return self
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
