// Package cargo is the one way from paths and keys to what bundles hold: lock,
// items, charts, files, signers, content.
//
// A Head is read and vouched for by nobody: it gives no content. A Bundle is
// signed by a key that was given, counts now, and its lock can be read; it alone
// gives content. Bundles are several that are read as one. The package writes
// nothing.
package cargo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/event"
)

// Options vary what is opened.
type Options struct {
	Now          time.Time // held against the statements' terms; default: the machine's clock
	AllowExpired bool      // open expired bundles too, each with a warning
}

// Bundle is a trusted bundle that counts now and whose lock can be read. It is
// safe for concurrent use until Close.
type Bundle struct {
	*bundle.Trusted
	lock *lock.Lock
	keys []sign.PublicKey // those given
}

// Open opens the one bundle that paths hold; of several the error is ErrSeveral.
// See OpenAll.
func Open(ctx context.Context, paths, keyFiles []string, opt Options, sink event.Sink) (*Bundle, error) {
	all, err := OpenAll(ctx, paths, keyFiles, opt, sink)
	if err != nil {
		return nil, err
	}
	if len(all) == 1 {
		return all[0], nil
	}
	all.Close()
	return nil, fmt.Errorf("opening %q: %w found: %q", paths, ErrSeveral, all.Names())
}

// OpenAll opens the bundles in paths as OpenSigned does, and requires of each that
// its lock can be read. All or none: when one bundle does not pass, nothing is
// opened. The caller closes them. Errors are those of OpenSigned and of Head.Lock.
func OpenAll(ctx context.Context, paths, keyFiles []string, opt Options, sink event.Sink) (Bundles, error) {
	return openEach(ctx, paths, keyFiles, opt, sink, opener.openBundle)
}

// Signed is a bundle that is signed by a key that was given and that counts now.
// Its lock is not read yet.
type Signed struct {
	*bundle.Trusted
	keys []sign.PublicKey // those given
}

// ReadLock is as Head.Lock.
func (s *Signed) ReadLock() (*lock.Lock, error) { return parseLock(s.Bundle) }

// OpenSigned finds the bundles in paths, reads their heads and requires of each a
// signature by one of the keys (public key files) and that its statement counts
// now, see CheckTerm. All or none: when one bundle does not pass, nothing is
// opened. The caller closes them. Errors are those of bundle.Scan, bundle.Read,
// bundle.Trust and CheckTerm, sign.ErrNoKey and ErrNoBundle.
func OpenSigned(ctx context.Context, paths, keyFiles []string, opt Options, sink event.Sink) ([]*Signed, error) {
	return openEach(ctx, paths, keyFiles, opt, sink, opener.openSigned)
}

// openEach opens every bundle in paths with open, or none.
func openEach[B io.Closer](ctx context.Context, paths, keyFiles []string, opt Options, sink event.Sink,
	open func(opener, context.Context, bundle.Files) (B, error),
) (opened []B, err error) {
	checker, err := sign.LoadChecker(keyFiles)
	if err != nil {
		return nil, err
	}
	found, err := Find(fmt.Sprintf("opening %q", paths), paths...)
	if err != nil {
		return nil, err
	}
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	o := opener{opt, checker, sink}
	for _, files := range found {
		b, err := open(o, ctx, files)
		if err != nil {
			for _, other := range opened {
				_ = other.Close()
			}
			return nil, err
		}
		opened = append(opened, b)
	}
	return opened, nil
}

type opener struct {
	opt     Options
	checker sign.Checker
	sink    event.Sink
}

func (o opener) openBundle(ctx context.Context, files bundle.Files) (*Bundle, error) {
	s, err := o.openSigned(ctx, files)
	if err != nil {
		return nil, err
	}
	l, err := s.ReadLock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the lock of bundle %s: %w", s.Name(), err), s.Close())
	}
	return &Bundle{s.Trusted, l, s.keys}, nil
}

func (o opener) openSigned(ctx context.Context, files bundle.Files) (*Signed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h, err := ReadHead(files)
	if err != nil {
		return nil, err
	}
	s, err := o.admit(h)
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return s, nil
}

// admit takes a head for signed that passes every check.
func (o opener) admit(h *Head) (*Signed, error) {
	t, err := h.Trust(o.checker)
	if err != nil {
		return nil, err
	}
	if err := o.checkTerm(t); err != nil {
		return nil, err
	}
	return &Signed{t, o.checker.Keys}, nil
}

func (o opener) checkTerm(t *bundle.Trusted) error {
	err := CheckTerm(t.Statement().Predicate, o.opt.Now)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("opening %s: %w", t.Name(), err)
	if !o.opt.AllowExpired || !errors.Is(err, ErrExpired) {
		return err
	}
	o.sink.Emit(event.Event{
		Kind: event.Warning, Item: t.Name(),
		Message: "using an expired bundle: " + err.Error(),
	})
	return nil
}

// Lock is what the bundle's lock says. The caller must not change it.
func (b *Bundle) Lock() *lock.Lock { return b.lock }

// LockText is the lock verbatim. The caller must not change it.
func (b *Bundle) LockText() []byte { return b.Trusted.Lock() }

// Sequence is the release number that the signer gave, see Statement.
func (b *Bundle) Sequence() int64 { return b.Statement().Predicate.Sequence }

// Signer is a key whose signature made a bundle trusted.
type Signer struct {
	KeyID  string        // the first 16 digits of Digest
	Digest digest.Digest // SHA-256 of the key's PKIX encoding
}

// Signers are the given keys whose signatures count, by digest.
func (b *Bundle) Signers() []Signer {
	var out []Signer
	for _, k := range b.keys {
		s := Signer{k.ID, k.Digest()}
		if slices.Contains(b.KeyIDs(), k.ID) && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Signer) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return out
}
