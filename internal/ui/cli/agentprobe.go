package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/client/host"
	"github.com/caisson/caisson/internal/rules/gpu"
	"github.com/caisson/caisson/internal/ui/ask"
)

// agentProbeCommand prints what a node's own files say, for caisson nodes --probe.
func (a *app) agentProbeCommand() *cobra.Command {
	var answers ask.AgentProbe
	return withAnswers(&cobra.Command{
		Use:   "probe --host DIR [flags]",
		Short: "Say what the node's own files say",
		Long: "Print one line of JSON: what the files of the node below --host (sys and etc) and\n" +
			"this container's proc say of its GPUs and its system. Then wait to be ended.",
		Example: "  caisson agent probe --host / --once",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(a.program())
		if err != nil {
			return err
		}
		if err := a.printProbe(opt); err != nil || opt.Once {
			return err
		}
		<-cmd.Context().Done()
		return context.Cause(cmd.Context())
	})
}

func (a *app) printProbe(opt ask.AgentProbeOptions) error {
	c, err := gpu.Read()
	if err != nil {
		return err
	}
	var p host.Parts
	for _, part := range []struct {
		dir  string
		root **os.Root
	}{{filepath.Join(opt.Host, "sys"), &p.Sys}, {"/proc", &p.Proc}, {filepath.Join(opt.Host, "etc"), &p.Etc}} {
		if *part.root, err = os.OpenRoot(part.dir); err != nil {
			return fmt.Errorf("reading the node: %w", err)
		}
		defer (*part.root).Close()
	}
	line, err := gpu.ProbeLine(host.ReadParts(c, p, opt.Name))
	if err != nil {
		return err
	}
	_, err = a.streams.Out.Write(line)
	return err
}
