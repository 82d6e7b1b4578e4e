package cargo

import (
	"errors"
	"fmt"
	"time"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/client/sign"
)

// Errors of a statement that does not count now.
var (
	ErrExpired = errors.New("the bundle has expired")
	ErrClock   = errors.New("the creation time of the bundle is in the future")
)

// clockTolerance is how far a signer's clock may be ahead of this machine's.
const clockTolerance = 24 * time.Hour

// CheckTerm holds now against the time in which a statement counts: from its
// creation, less a day for clocks that disagree, until before it expires.
// Errors: ErrExpired, also where the expiry is no time; ErrClock; sign.ErrPredicate
// where the creation is no time.
func CheckTerm(p bundle.Predicate, now time.Time) error {
	created, err := time.Parse(time.RFC3339, p.Created)
	if err != nil {
		return fmt.Errorf("%w: it was made at %q, which is not a time", sign.ErrPredicate, p.Created)
	}
	if now.Before(created.Add(-clockTolerance)) {
		return fmt.Errorf("%w: made at %s, the clock says %s", ErrClock, p.Created, now.UTC().Format(time.RFC3339))
	}
	if p.Expires == "" {
		return nil
	}
	expires, err := time.Parse(time.RFC3339, p.Expires)
	if err != nil {
		return fmt.Errorf("%w: its expiry %q is not a time", ErrExpired, p.Expires)
	}
	if !now.Before(expires) {
		return fmt.Errorf("%w: it counted until %s, the clock says %s", ErrExpired, p.Expires, now.UTC().Format(time.RFC3339))
	}
	return nil
}
