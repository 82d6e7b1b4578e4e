package install

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/cargo"
)

// Overrides that a run's record names.
const (
	overrideOlder   = "allow-older"
	overrideExpired = "allow-expired"
)

// notOlder refuses a bundle older than what was installed, and another one of
// the same age, unless everything that is there now comes from it: a rollback went
// back to it. Where it is allowed otherwise, the run will say so. The caller holds the
// lease.
func (s *session) notOlder(t *cargo.Bundle, allow bool) error {
	this := journal.Newest{Sequence: t.Sequence(), Index: t.IndexDigest()}
	err := refuseOlder(s.journal.Newest, this)
	if err != nil && s.allComesFrom(this.Index) {
		s.info("", "this is the bundle that is installed now: what is newer was taken back")
		return nil
	}
	if err != nil && !allow {
		return fmt.Errorf("checking the bundle: %w", err)
	}
	if err != nil {
		s.noteOverride(overrideOlder, err)
	}
	if s.journal.Newest.Sequence <= this.Sequence {
		s.journal.Newest = this // saved with the run
	}
	return nil
}

// allComesFrom says whether the journal shows that each component that is installed is
// of one bundle.
func (s *session) allComesFrom(index digest.Digest) bool {
	if len(s.journal.Installed) == 0 {
		return false
	}
	return !slices.ContainsFunc(s.journal.Installed, func(c journal.Installed) bool {
		return !slices.ContainsFunc(s.journal.Runs, func(r journal.Run) bool {
			return r.Verb == journal.Install && r.Plan == c.Plan && r.Index == index
		})
	})
}

func refuseOlder(newest, this journal.Newest) error {
	switch {
	case newest.Sequence > this.Sequence:
		return fmt.Errorf("%w: sequence %d, this one has %d", ErrOlder, newest.Sequence, this.Sequence)
	case newest.Sequence == this.Sequence && newest.Index != "" && newest.Index != this.Index:
		return fmt.Errorf("%w: sequence %d is that of another bundle, %s", ErrOlder, this.Sequence, newest.Index)
	}
	return nil
}

// noteExpired has the run say that its bundle, which was opened, had expired.
func (s *session) noteExpired(t *cargo.Bundle) {
	if err := cargo.CheckTerm(t.Statement().Predicate, time.Now()); errors.Is(err, cargo.ErrExpired) {
		s.noteOverride(overrideExpired, err)
	}
}

// noteOverride notes that a check was overruled, and warns of what it found.
func (s *session) noteOverride(name string, found error) {
	s.overrides = append(s.overrides, name)
	s.warn("", "going on with --%s: %v", name, found)
}
