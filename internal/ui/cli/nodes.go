package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/command/nodes"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/ask"
	"github.com/caisson/caisson/internal/ui/outcome"
	"github.com/caisson/caisson/internal/ui/output"
)

func (a *app) nodesCommand() *cobra.Command {
	var answers ask.Nodes
	cmd := withAnswers(&cobra.Command{
		Use:   "nodes [flags]",
		Short: "Show the GPUs of nodes and the driver each needs",
		Long: "Show what accelerators nodes have and which driver fits them: a cluster's nodes\n" +
			"by their labels and status, this host with --local, or a captured tree. Nothing\n" +
			"is changed, but that --probe puts a pod on every node of the cluster, reads the\n" +
			"node's own files with it and takes it away again: for nodes without labels.\n" +
			"caisson nodes export -o FILE writes the same to carry it elsewhere.",
		Example: "  caisson nodes\n  caisson nodes --probe --site site.yaml\n  caisson nodes --local -o yaml\n" +
			"  caisson nodes export -o site-nodes.yaml --hash-names",
		Args: a.unknownCommand,
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(time.Now())
		document := answers.Format != "" && answers.Format != ask.FormatTable
		switch {
		case err != nil:
			return err
		case document && a.json():
			return usagef(cmd, "--format and --output json both say how to print: give one")
		case document:
			return a.printNodes(cmd, opt, answers.Format)
		}
		return a.showNodes(cmd, opt)
	})
	cmd.AddCommand(a.nodesExportCommand())
	return cmd
}

func (a *app) nodesExportCommand() *cobra.Command {
	var answers ask.NodesExport
	return withAnswers(&cobra.Command{
		Use:   "export -o SITE-NODES.yaml [flags]",
		Short: "Write what the nodes are like, to choose drivers elsewhere",
		Long: "Write a NodeInventory: systems, kernels, GPUs and drivers of nodes, and nothing\n" +
			"that identifies more. Carry it back to where the stack is resolved.",
		Example: "  caisson nodes export -o site-nodes.yaml --hash-names",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(time.Now())
		if err != nil {
			return err
		}
		return a.showNodes(cmd, opt)
	})
}

func (a *app) showNodes(cmd *cobra.Command, opt nodes.Options) error {
	return a.runVerb(cmd, nodes.Verb, func(ctx context.Context, sink event.Sink) (*output.Page, error) {
		res, err := nodes.Run(ctx, opt, sink)
		if err != nil {
			return nil, err
		}
		return pageUnlessFailed(outcome.Nodes(res), nil)
	})
}

// printNodes prints one document, and all else on the error stream.
func (a *app) printNodes(cmd *cobra.Command, opt nodes.Options, format string) error {
	out := a.streams.Out
	a.streams.Out = a.streams.Err
	return a.runVerb(cmd, nodes.Verb, func(ctx context.Context, sink event.Sink) (*output.Page, error) {
		res, err := nodes.Run(ctx, opt, sink)
		if err != nil {
			return nil, err
		}
		write := res.YAML
		if format == ask.FormatJSON {
			write = res.JSON
		}
		text, err := write()
		if err == nil {
			_, err = out.Write(text)
		}
		return nil, err
	})
}
