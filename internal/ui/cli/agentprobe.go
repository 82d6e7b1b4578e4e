package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/rules/gpu"
)

// agentProbe prints what a node's own files say, for caisson nodes --probe.
func (a *app) agentProbe() *cobra.Command {
	var host string
	var once bool
	cmd := &cobra.Command{
		Use:   "probe --host DIR [flags]",
		Short: "Say what the node's own files say",
		Long: "Print one line of JSON: what the files of the node below --host (sys and etc) and\n" +
			"this container's proc say of its GPUs and its system. Then wait to be ended.",
		Example: "  caisson agent probe --host / --once",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.probe(host); err != nil || once {
				return err
			}
			<-cmd.Context().Done()
			return context.Cause(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&host, "host", "", "`DIR` below which the node's sys and etc lie")
	cmd.Flags().BoolVar(&once, "once", false, "end after the line")
	require(cmd, "host")
	return cmd
}

func (a *app) probe(host string) error {
	c, err := gpu.Read()
	if err != nil {
		return err
	}
	var p gpu.Parts
	for _, part := range []struct {
		dir  string
		root **os.Root
	}{{filepath.Join(host, "sys"), &p.Sys}, {"/proc", &p.Proc}, {filepath.Join(host, "etc"), &p.Etc}} {
		if *part.root, err = os.OpenRoot(part.dir); err != nil {
			return fmt.Errorf("reading the node: %w", err)
		}
		defer (*part.root).Close()
	}
	line, err := gpu.ProbeLine(gpu.ReadParts(c, p, os.Getenv("NODE_NAME")))
	if err != nil {
		return err
	}
	_, err = a.streams.Out.Write(line)
	return err
}
