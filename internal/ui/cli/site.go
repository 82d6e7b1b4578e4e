package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/command/load"
	"github.com/caisson/caisson/internal/command/serve"
	"github.com/caisson/caisson/internal/event"
)

func (a *app) serve() *cobra.Command {
	var opt serve.Options
	var unit bool
	cmd := &cobra.Command{
		Use:   "serve PATH... --key FILE.pub --listen HOST:PORT [flags]",
		Short: "Serve a bundle: registry, charts, models, files",
		Long: "Serve bundles straight from their volumes: an OCI registry, a Helm repository, a\n" +
			"model hub and plain files. Every block is proven before it is sent. With TLS\n" +
			"give both --tls-cert and --tls-key.",
		Example: "  caisson serve /media/usb --key caisson.pub --listen 0.0.0.0:5000\n" +
			"  caisson serve /srv/bundle --key caisson.pub --listen :5000 --systemd-unit",
		Args: args(1, -1, "at least one PATH that holds a bundle"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Paths = args
			if unit {
				_, err := io.WriteString(a.streams.Out, serve.Unit(opt))
				return err
			}
			return a.do(cmd, serve.Verb, func(ctx context.Context, sink event.Sink) (func(*page), error) {
				_, err := serve.Run(ctx, opt, sink)
				return nil, err
			})
		},
	}
	f := cmd.Flags()
	keyFlag(f, &opt.Keys)
	f.StringVar(&opt.Listen, "listen", "", "`HOST:PORT` to listen on; port 0 takes a free one")
	f.StringVar(&opt.TLSCert, "tls-cert", "", "certificate `FILE` (PEM)")
	f.StringVar(&opt.TLSKey, "tls-key", "", "its private key `FILE` (PEM)")
	expiredFlag(f, &opt.AllowExpired)
	f.BoolVar(&unit, "systemd-unit", false, "print a systemd unit for this call and exit")
	require(cmd, "key", "listen")
	return cmd
}

func (a *app) load() *cobra.Command {
	var opt load.Options
	var c cluster
	cmd := &cobra.Command{
		Use:   "load PATH... --key FILE.pub --registry HOST[:PORT][/PREFIX]",
		Short: "Push a bundle into the site's own registry",
		Long: "Push the images, charts and models of bundles into a registry. What is there\n" +
			"already is skipped; nothing is extracted to disk; running again continues.",
		Example: "  caisson load /media/usb --key caisson.pub --registry harbor.site:443/mirror",
		Args:    args(1, -1, "at least one PATH that holds a bundle"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Paths = args
			return a.do(cmd, load.Verb, func(ctx context.Context, sink event.Sink) (func(*page), error) {
				res, err := load.Run(ctx, opt, sink)
				if err != nil {
					return nil, err
				}
				return func(p *page) { p.loaded(res, opt) }, nil
			})
		},
	}
	f := cmd.Flags()
	keyFlag(f, &opt.Keys)
	f.StringVar(&opt.Registry, "registry", "", "`HOST[:PORT][/PREFIX]` to push to")
	f.BoolVar(&opt.PlainHTTP, "plain-http", false, "the registry has no TLS (a loopback address never needs it)")
	f.StringVar(&opt.CAFile, "ca-file", "", "certificate authority `FILE` (PEM) of the registry, beside the system's")
	workersFlag(f, &opt.Workers, "requests")
	expiredFlag(f, &opt.AllowExpired)
	c.stateFlag(f)
	_ = f.MarkHidden("state-dir") // load keeps nothing any more; calls that name it go on working
	require(cmd, "key", "registry")
	return cmd
}
