package cli

import (
	"context"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/command/inspect"
	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/command/verify"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/ui/ask"
	"github.com/caisson/caisson/internal/ui/outcome"
	"github.com/caisson/caisson/internal/ui/output"
)

func (a *app) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "Make the keys that sign bundles",
		Args: a.unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.keysGenerateCommand())
	return cmd
}

func (a *app) keysGenerateCommand() *cobra.Command {
	var answers ask.Keys
	return withAnswers(&cobra.Command{
		Use:   "generate --out DIR",
		Short: "Make a key pair",
		Long: "Make caisson.key, which signs, and caisson.pub, which the site trusts. Both\n" +
			"are in cosign's formats. The password comes from CAISSON_PASSWORD,\n" +
			"COSIGN_PASSWORD or a question; files that exist are left alone.",
		Example: "  caisson keys generate --out keys",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(a.program())
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "keys", func(_ context.Context, sink event.Sink) (*output.Page, error) { return generateKeys(opt, sink) })
	})
}

func generateKeys(opt ask.KeysOptions, sink event.Sink) (*output.Page, error) {
	password, err := opt.Password()
	if err != nil {
		return nil, err
	}
	pair, err := sign.GenerateKeyPair(password)
	if err != nil {
		return nil, err
	}
	if err := sign.WriteKeyPair(opt.Output, pair); err != nil {
		return nil, err
	}
	private, publicFile := filepath.Join(opt.Output, "caisson.key"), filepath.Join(opt.Output, "caisson.pub")
	public, err := sign.LoadPublicKey(publicFile)
	if err != nil {
		return nil, err
	}
	if len(password) == 0 {
		sink.Emit(event.Event{Verb: "keys", Kind: event.Warning, Message: "the private key has no password: whoever can read it can sign"})
	}
	sink.Emit(event.Event{Verb: "keys", Kind: event.Result, Message: "generated", Fields: map[string]any{
		"keyID": public.ID, "private": private, "public": publicFile,
	}})
	return pageUnlessFailed(outcome.KeysMade(opt.Output, public.ID), nil)
}

func (a *app) signCommand() *cobra.Command {
	var answers ask.Sign
	return withAnswers(&cobra.Command{
		Use:   "sign PATH... --signing-key FILE [--countersign FILE.pub]",
		Short: "Add one more signature to a bundle",
		Long: "Sign the heads of bundles with one more key. A bundle without a signature gets\n" +
			"its first. Of one that has been signed, --countersign names the first signer's\n" +
			"key; the new signature says what that proven one says.",
		Example: "  caisson sign /media/usb --signing-key officer.key --countersign packer.pub",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options(a.program())
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "sign", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := pack.Sign(ctx, opt, sink)
			return pageUnlessFailed(outcome.Signed(res), err)
		})
	})
}

func (a *app) verifyCommand() *cobra.Command {
	var answers ask.Verify
	return withAnswers(&cobra.Command{
		Use:   "verify PATH... --key FILE.pub [flags]",
		Short: "Prove who signed a bundle, and every byte of it",
		Long: "Verify bundles: the signature, then that nothing is missing, then every byte.\n" +
			"Everything found is reported, with the volume to copy again. A PATH is a\n" +
			"directory that holds a bundle's head or volumes, in any split.",
		Example: "  caisson verify /media/usb1 /media/usb2 --key caisson.pub",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options()
		if err != nil {
			return err
		}
		return a.runVerb(cmd, "verify", func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := verify.Run(ctx, opt, sink)
			if len(res.Bundles) == 0 {
				return nil, err
			}
			page := outcome.Verified(res)
			return &page, err
		})
	})
}

func (a *app) inspectCommand() *cobra.Command {
	var answers ask.Inspect
	return withAnswers(&cobra.Command{
		Use:   "inspect PATH... [--key FILE.pub]",
		Short: "Show what a bundle says it is",
		Long: "Show what is in a bundle by its head alone. Without --key nothing is proven:\n" +
			"everything shown is the bundle's own claim.",
		Example: "  caisson inspect /media/usb\n  caisson inspect /media/usb --key caisson.pub --output json",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options()
		if err != nil {
			return err
		}
		return a.runVerb(cmd, inspect.Verb, func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			res, err := inspect.Run(ctx, opt, sink)
			if len(res.Bundles) == 0 {
				return nil, err
			}
			page := outcome.Inspected(res, len(opt.Keys) > 0)
			return &page, err
		})
	})
}

func (a *app) diffCommand() *cobra.Command {
	var answers ask.Diff
	return withAnswers(&cobra.Command{
		Use:   "diff PATH_A PATH_B",
		Short: "Show what changed between two bundles or locks",
		Long: "Show what changed from PATH_A to PATH_B, in items and in bytes. A path is a lock\n" +
			"file, a bundle's head, or a directory that holds one. Signatures are not checked.",
		Example: "  caisson diff old.lock.yaml new.lock.yaml\n  caisson diff /media/may /media/june",
	}, &answers, func(cmd *cobra.Command) error {
		opt, err := answers.Options()
		if err != nil {
			return err
		}
		return a.runVerb(cmd, inspect.VerbDiff, func(ctx context.Context, sink event.Sink) (*output.Page, error) {
			c, err := inspect.Compare(ctx, opt.Older, opt.Newer, sink)
			if err != nil {
				return nil, err
			}
			return pageUnlessFailed(outcome.Compared(c), nil)
		})
	})
}
