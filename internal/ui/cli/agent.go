package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/client/keeper"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/ask"
	"github.com/caisson/caisson/internal/ui/output"
)

// agentCommand holds what runs on nodes, in containers of this binary. It is for the
// manifests that caisson installs, not for people.
func (a *app) agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:    "agent COMMAND",
		Short:  "What runs on nodes",
		Long:   "What runs on nodes, in a container of this binary. The manifests that caisson\ninstalls call it.",
		Hidden: true,
		Args:   a.unknownCommand,
		RunE:   func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.agentMirrorCommand(), a.agentProbeCommand(), a.agentBuildCommand(), a.agentRenderCommand(), a.agentStatusCommand())
	return cmd
}

func (a *app) agentMirrorCommand() *cobra.Command {
	var answers ask.AgentMirror
	return withAnswers(&cobra.Command{
		Use:   "mirror --config FILE [flags]",
		Short: "Keep the node's registry mirrors",
		Long: "Keep the files that tell a container runtime where upstream images are, until\n" +
			"told to end; the files stay then. --remove takes them away instead.",
		Example: "  caisson agent mirror --config mirror.json --containerd /etc/containerd/certs.d --once",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options()
		if err != nil {
			return err
		}
		return a.runVerb(cmd, keeper.Verb, func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			return nil, keeper.Run(ctx, opt, sink)
		})
	})
}

func (a *app) agentStatusCommand() *cobra.Command {
	var answers ask.AgentStatus
	return withAnswers(&cobra.Command{
		Use:     "status --status FILE",
		Short:   "Say what an agent last saw",
		Long:    "Read what a running agent wrote. It ends with 1 when something is in the way.",
		Example: "  caisson agent status --status /run/caisson/status.json",
	}, &answers, func(*cobra.Command) error {
		path, err := answers.Options()
		if err != nil {
			return err
		}
		s, err := keeper.ReadStatus(path)
		if err != nil {
			return err
		}
		return s.Err()
	})
}
