package cli

import (
	"context"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/client/keeper"
	"github.com/caisson/caisson/internal/event"
)

// agent holds what runs on nodes, in containers of this binary. It is for the
// manifests that caisson installs, not for people.
func (a *app) agent() *cobra.Command {
	cmd := &cobra.Command{
		Use:    "agent COMMAND",
		Short:  "What runs on nodes",
		Long:   "What runs on nodes, in a container of this binary. The manifests that caisson\ninstalls call it.",
		Hidden: true,
		Args:   a.unknownCommand,
		RunE:   func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.agentMirror(), a.agentProbe(), a.agentRender(), a.agentStatus())
	return cmd
}

func (a *app) agentMirror() *cobra.Command {
	var opt keeper.Options
	var want string
	cmd := &cobra.Command{
		Use:   "mirror --config FILE [flags]",
		Short: "Keep the node's registry mirrors",
		Long: "Keep the files that tell a container runtime where upstream images are, until\n" +
			"told to end; the files stay then. --remove takes them away instead.",
		Example: "  caisson agent mirror --config mirror.json --containerd /etc/containerd/certs.d --once",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt.Digest = digest.Digest(want)
			return a.do(cmd, keeper.Verb, func(ctx context.Context, sink event.Sink) (func(*page), error) {
				return nil, keeper.Run(ctx, opt, sink)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.Config, "config", "", "what to keep: `FILE` of JSON")
	f.StringVar(&want, "config-digest", "", "`DIGEST` that the file must have")
	f.StringVar(&opt.Containerd, "containerd", "", "`DIR` that is containerd's certs.d")
	f.StringVar(&opt.RuntimeDir, "containerd-config", "", "`DIR` that holds containerd's config.toml, to read")
	f.StringVar(&opt.CRIO, "crio", "", "`DIR` that is CRI-O's registries.conf.d")
	f.StringVar(&opt.CRIOCerts, "crio-certs", "", "`DIR` that is CRI-O's certs.d")
	f.StringVar(&opt.Status, "status", "", "`FILE` to write what was seen to")
	f.BoolVar(&opt.Remove, "remove", false, "take the files away and put back what was there")
	f.BoolVar(&opt.Once, "once", false, "look once and end")
	require(cmd, "config")
	return cmd
}

func (a *app) agentStatus() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:     "status --status FILE",
		Short:   "Say what an agent last saw",
		Long:    "Read what a running agent wrote. It ends with 1 when something is in the way.",
		Example: "  caisson agent status --status /run/caisson/status.json",
		Args:    args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			s, err := keeper.ReadStatus(path)
			if err != nil {
				return err
			}
			return s.Err()
		},
	}
	cmd.Flags().StringVar(&path, "status", "", "`FILE` that the agent writes")
	require(cmd, "status")
	return cmd
}
