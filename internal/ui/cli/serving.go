package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/command/load"
	"github.com/caisson/caisson/internal/command/serve"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/ask"
	"github.com/caisson/caisson/internal/ui/outcome"
	"github.com/caisson/caisson/internal/ui/output"
)

func (a *app) serveCommand() *cobra.Command {
	var answers ask.Serve
	return withAnswers(&cobra.Command{
		Use:   "serve PATH... --key FILE.pub --listen HOST:PORT [flags]",
		Short: "Serve a bundle: registry, charts, models, files",
		Long: "Serve bundles straight from their volumes: an OCI registry, a Helm repository, a\n" +
			"model hub and plain files. Every block is proven before it is sent. With TLS\n" +
			"give both --tls-cert and --tls-key.",
		Example: "  caisson serve /media/usb --key caisson.pub --listen 0.0.0.0:5000\n" +
			"  caisson serve /srv/bundle --key caisson.pub --listen :5000 --systemd-unit",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options()
		if err != nil {
			return err
		}
		if answers.SystemdUnit {
			_, err := io.WriteString(a.streams.Out, serve.Unit(opt))
			return err
		}
		return a.runVerb(cmd, serve.Verb, func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			_, err := serve.Run(ctx, opt, sink)
			return nil, err
		})
	})
}

func (a *app) loadCommand() *cobra.Command {
	var answers ask.Load
	return withAnswers(&cobra.Command{
		Use:   "load PATH... --key FILE.pub --registry HOST[:PORT][/PREFIX]",
		Short: "Push a bundle into the site's own registry",
		Long: "Push the images, charts and models of bundles into a registry. What is there\n" +
			"already is skipped; nothing is extracted to disk; running again continues.",
		Example: "  caisson load /media/usb --key caisson.pub --registry harbor.site:443/mirror",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options()
		if err != nil {
			return err
		}
		return a.runVerb(cmd, load.Verb, func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := load.Run(ctx, opt, sink)
			return pageUnlessFailed(outcome.Loaded(res, opt.Paths, opt.Keys), err)
		})
	})
}
