package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/command/resolve"
	"github.com/caisson/caisson/internal/event"
)

func (a *app) resolve() *cobra.Command {
	var opt resolve.Options
	cmd := &cobra.Command{
		Use:   "resolve -f STACK.yaml -o LOCK.yaml [flags]",
		Short: "Pin every item of a stack by digest",
		Long: "Resolve a stack: find every image, chart, model and file it needs, pin each by\n" +
			"digest and size, and write the lock. Equal stacks and equal upstreams give\n" +
			"equal locks.",
		Example: "  caisson resolve -f stack.yaml -o demo.lock.yaml\n" +
			"  caisson resolve -f stack.yaml -o demo.lock.yaml --upstreams mirrors.yaml",
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.do(cmd, "resolve", func(ctx context.Context, sink event.Sink) (func(*page), error) {
				opt.Renderer = a.worker
				res, err := resolve.Run(ctx, opt, sink)
				if err != nil {
					return nil, err
				}
				return func(p *page) { p.resolved(res) }, nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&opt.Stack, "file", "f", "", "the stack: `STACK.yaml`")
	f.StringVarP(&opt.Output, "out", "o", "", "the lock to write: `LOCK.yaml`")
	upstreamsFlag(f, &opt.Upstreams)
	f.BoolVar(&opt.AllPlatforms, "all-platforms", false, "carry every platform of each image, for a registry that takes no index with parts missing")
	f.StringSliceVar(&opt.Platforms, "platform", nil, "`OS/ARCH` to carry in place of the stack's; repeat for more")
	f.StringVar(&opt.Site, "site", "", "`SITE-NODES.yaml` that caisson nodes export wrote: carry these nodes' drivers and platforms")
	workersFlag(f, &opt.Workers, "items")
	require(cmd, "file", "out")
	return cmd
}

func (a *app) pack() *cobra.Command {
	var opt pack.Options
	size, expires := byteSize(bundle.DefaultVolumeSize), span(0)
	cmd := &cobra.Command{
		Use:   "pack LOCK.yaml -o DIR [flags]",
		Short: "Fetch what a lock names and write the bundle",
		Long: "Pack a lock: fetch every byte it names, once, into the bundle's volumes, and\n" +
			"seal and sign it. Stopped at any moment, the same command continues.",
		Example: "  caisson pack demo.lock.yaml -o /media/usb --key caisson.key\n" +
			"  caisson pack demo.lock.yaml -o out --volume-size 4000MiB --expires 90d",
		Args: args(1, 1, "one LOCK.yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Lock, opt.VolumeSize, opt.Expires = args[0], int64(size), time.Duration(expires)
			opt.Password = a.password(false)
			return a.do(cmd, "pack", func(ctx context.Context, sink event.Sink) (func(*page), error) {
				res, err := pack.Run(ctx, opt, sink)
				if err != nil {
					return nil, err
				}
				return func(p *page) { p.packed(res, opt.Key) }, nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&opt.Output, "out", "o", "", "`DIR` for the bundle's files")
	f.StringVar(&opt.Key, "key", "", "private key `FILE` to sign with; without it the bundle is not signed")
	upstreamsFlag(f, &opt.Upstreams)
	f.Var(&size, "volume-size", "`SIZE` of a volume file, a multiple of 1MiB")
	workersFlag(f, &opt.Workers, "blobs")
	f.Int64Var(&opt.Sequence, "sequence", 0, "release number `N`, which grows with each release (default: the time)")
	f.Var(&expires, "expires", "how long the signature counts, such as 90d (default: for ever)")
	f.StringArrayVar(&opt.Tool, "tool", nil, "caisson binary `FILE` to put beside the bundle; repeat for more")
	require(cmd, "out")
	return cmd
}
