package report

import (
	"context"
	"errors"
	"fmt"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/event"
)

// fromBundle takes from the bundle what the site does not have: the ledger, and
// the lock where it was lost. A bundle other than the installed one is told and
// left out.
func (s *sources) fromBundle(ctx context.Context, opt Options) error {
	if len(opt.Bundles) == 0 {
		return nil
	}
	if len(opt.Keys) > 0 {
		return s.fromTrusted(ctx, opt)
	}
	s.miss("a check of the bundle's signature: no key was given, so what comes from the bundle is marked as not verified")
	found, err := cargo.Find("reading the bundle", opt.Bundles...)
	if err != nil && !errors.Is(err, cargo.ErrNoBundle) {
		return err
	}
	for _, files := range found {
		if err := s.fromHead(files); err != nil {
			return err
		}
	}
	return nil
}

// fromHead takes the lock where the site lost it.
func (s *sources) fromHead(files bundle.Files) error {
	h, err := cargo.ReadHead(files)
	if err != nil {
		return err
	}
	defer h.Close()
	if !s.matches(h.Bundle) || s.lock != nil {
		return nil
	}
	s.takeLock(h.Lock())
	return nil
}

// takeLock takes the lock of the installed bundle; one that cannot be read is
// noted as missing.
func (s *sources) takeLock(l *lock.Lock, err error) {
	if err != nil {
		s.miss("a readable lock: %v", err)
		return
	}
	s.lock = l
}

// fromTrusted takes the ledger too, which a signature names. Every bundle must be
// signed; only the lock of the installed one is read.
func (s *sources) fromTrusted(ctx context.Context, opt Options) error {
	all, err := cargo.OpenSigned(ctx, opt.Bundles, opt.Keys, cargo.Options{AllowExpired: true}, event.Discard)
	if err != nil {
		return fmt.Errorf("reading the bundle: %w", err)
	}
	for _, b := range all {
		defer b.Close()
	}
	for _, b := range all {
		if !s.matches(b.Bundle) {
			continue
		}
		s.readLedger(b.Ledger())
		if s.lock == nil {
			s.takeLock(b.ReadLock())
		}
	}
	return nil
}

// matches says whether b is what is installed.
func (s *sources) matches(b *bundle.Bundle) bool {
	run := source(s.journal)
	if run != nil && run.Index == b.IndexDigest() {
		return true
	}
	s.miss("use for the bundle %s (%s): it is not what is installed", b.Name(), b.IndexDigest())
	return false
}
