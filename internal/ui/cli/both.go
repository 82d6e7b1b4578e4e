package cli

import (
	"context"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/command/inspect"
	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/command/verify"
	"github.com/caisson/caisson/internal/event"
)

func (a *app) keys() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "Make the keys that sign bundles",
		Args: a.unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.keysGenerate())
	return cmd
}

func (a *app) keysGenerate() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "generate --out DIR",
		Short: "Make a key pair",
		Long: "Make caisson.key, which signs, and caisson.pub, which the site trusts. Both\n" +
			"are in cosign's formats. The password comes from CAISSON_PASSWORD,\n" +
			"COSIGN_PASSWORD or a question; files that exist are left alone.",
		Example: "  caisson keys generate --out keys",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.do(cmd, "keys", func(_ context.Context, sink event.Sink) (func(*page), error) {
				return a.generateKeys(dir, sink)
			})
		},
	}
	cmd.Flags().StringVarP(&dir, "out", "o", "", "`DIR` for caisson.key and caisson.pub")
	require(cmd, "out")
	return cmd
}

func (a *app) generateKeys(dir string, sink event.Sink) (func(*page), error) {
	password, err := a.password(true)()
	if err != nil {
		return nil, err
	}
	pair, err := sign.GenerateKeyPair(password)
	if err != nil {
		return nil, err
	}
	if err := sign.WriteKeyPair(dir, pair); err != nil {
		return nil, err
	}
	public, err := sign.LoadPublicKey(filepath.Join(dir, "caisson.pub"))
	if err != nil {
		return nil, err
	}
	if len(password) == 0 {
		sink.Emit(event.Event{Verb: "keys", Kind: event.Warning, Message: "the private key has no password: whoever can read it can sign"})
	}
	sink.Emit(event.Event{Verb: "keys", Kind: event.Result, Message: "generated", Fields: map[string]any{
		"keyID": public.ID, "private": filepath.Join(dir, "caisson.key"), "public": filepath.Join(dir, "caisson.pub")}})
	return func(p *page) { p.keysMade(dir, public.ID) }, nil
}

func (a *app) sign() *cobra.Command {
	var opt pack.SignOptions
	var expires span
	cmd := &cobra.Command{
		Use:   "sign PATH... --key FILE [--countersign FILE.pub]",
		Short: "Add one more signature to a bundle",
		Long: "Sign the heads of bundles with one more key. A bundle without a signature gets\n" +
			"its first. Of one that has been signed, --countersign names the first signer's\n" +
			"key; the new signature says what that proven one says.",
		Example: "  caisson sign /media/usb --key officer.key --countersign packer.pub",
		Args:    args(1, -1, "at least one PATH that holds a bundle's head"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Paths, opt.Expires, opt.Password = args, time.Duration(expires), a.password(false)
			return a.do(cmd, "sign", func(ctx context.Context, sink event.Sink) (func(*page), error) {
				res, err := pack.Sign(ctx, opt, sink)
				if err != nil {
					return nil, err
				}
				return func(p *page) { p.signed(res) }, nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.Key, "key", "", "private key `FILE` to sign with")
	f.StringArrayVar(&opt.Countersign, "countersign", nil, "public key `FILE.pub` of a first signer; repeat for more")
	f.Int64Var(&opt.Sequence, "sequence", 0, "release number `N` (default: that of the earlier signature)")
	f.Var(&expires, "expires", "how long the signature counts, such as 90d (default: as the earlier one)")
	require(cmd, "key")
	return cmd
}

func (a *app) verify() *cobra.Command {
	var opt verify.Options
	cmd := &cobra.Command{
		Use:   "verify PATH... --key FILE.pub [flags]",
		Short: "Prove who signed a bundle, and every byte of it",
		Long: "Verify bundles: the signature, then that nothing is missing, then every byte.\n" +
			"Everything found is reported, with the volume to copy again. A PATH is a\n" +
			"directory that holds a bundle's head or volumes, in any split.",
		Example: "  caisson verify /media/usb1 /media/usb2 --key caisson.pub",
		Args:    args(1, -1, "at least one PATH that holds a bundle"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Paths = args
			return a.do(cmd, "verify", func(ctx context.Context, sink event.Sink) (func(*page), error) {
				res, err := verify.Run(ctx, opt, sink)
				if len(res.Bundles) == 0 {
					return nil, err
				}
				return func(p *page) { p.verified(res) }, err
			})
		},
	}
	keyFlag(cmd.Flags(), &opt.Keys)
	workersFlag(cmd.Flags(), &opt.Workers, "blocks are hashed")
	require(cmd, "key")
	return cmd
}

func (a *app) inspect() *cobra.Command {
	var opt inspect.Options
	cmd := &cobra.Command{
		Use:   "inspect PATH... [--key FILE.pub]",
		Short: "Show what a bundle says it is",
		Long: "Show what is in a bundle by its head alone. Without --key nothing is proven:\n" +
			"everything shown is the bundle's own claim.",
		Example: "  caisson inspect /media/usb\n  caisson inspect /media/usb --key caisson.pub --output json",
		Args:    args(1, -1, "at least one PATH that holds a bundle's head"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Paths = args
			return a.do(cmd, inspect.Verb, func(ctx context.Context, sink event.Sink) (func(*page), error) {
				res, err := inspect.Run(ctx, opt, sink)
				if len(res.Bundles) == 0 {
					return nil, err
				}
				return func(p *page) { p.inspected(res, len(opt.Keys) > 0) }, err
			})
		},
	}
	keyFlag(cmd.Flags(), &opt.Keys)
	return cmd
}

func (a *app) diff() *cobra.Command {
	return &cobra.Command{
		Use:   "diff PATH_A PATH_B",
		Short: "Show what changed between two bundles or locks",
		Long: "Show what changed from PATH_A to PATH_B, in items and in bytes. A path is a lock\n" +
			"file, a bundle's head, or a directory that holds one. Signatures are not checked.",
		Example: "  caisson diff old.lock.yaml new.lock.yaml\n  caisson diff /media/may /media/june",
		Args:    args(2, 2, "PATH_A and PATH_B"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.do(cmd, inspect.VerbDiff, func(ctx context.Context, sink event.Sink) (func(*page), error) {
				c, err := inspect.Compare(ctx, args[0], args[1], sink)
				if err != nil {
					return nil, err
				}
				return func(p *page) { p.compared(c) }, nil
			})
		},
	}
}
