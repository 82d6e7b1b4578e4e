package report

import (
	"fmt"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/client/sign"
)

// fromBundle takes from the bundle what the site does not have: the ledger, and
// the lock where it was lost. A bundle other than the installed one is told and
// left out.
func (s *sources) fromBundle(opt Options) error {
	if len(opt.Bundles) == 0 {
		return nil
	}
	if len(opt.Keys) > 0 {
		return s.fromTrusted(opt)
	}
	s.miss("a check of the bundle's signature: no key was given, so what comes from the bundle is marked as not verified")
	found, err := bundle.Scan(opt.Bundles...)
	if err != nil {
		return err
	}
	for _, files := range found {
		b, err := bundle.Read(files)
		if err != nil {
			return err
		}
		if s.matches(b) && s.lock == nil {
			err = s.parse(b.Lock())
		}
		if e := b.Close(); err == nil {
			err = e
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sources) fromTrusted(opt Options) error {
	all, err := sign.Open(opt.Bundles, opt.Keys, sign.OpenOptions{AllowExpired: true})
	if err != nil {
		return fmt.Errorf("reading the bundle: %w", err)
	}
	for _, t := range all {
		if s.matches(t.Bundle) {
			s.ledger = t.Ledger()
			if s.lock == nil {
				err = s.parse(t.Lock())
			}
		}
		if e := t.Close(); err == nil {
			err = e
		}
	}
	return err
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
