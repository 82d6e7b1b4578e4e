package sign

import (
	"errors"
	"fmt"
	"time"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/event"
)

// Errors of Open beside those of bundle.
var (
	ErrNoBundle = errors.New("no bundle found")
	ErrNoKey    = errors.New("no key given to trust bundles by")
	ErrExpired  = errors.New("the bundle has expired")
	ErrClock    = errors.New("the creation time of the bundle is in the future")
)

// clockTolerance is how far a signer's clock may be ahead of this machine's.
const clockTolerance = 24 * time.Hour

// CheckTerm holds now against the time in which a statement counts: from its
// creation, less a day for clocks that disagree, until before it expires.
// Errors: ErrExpired, also where the expiry is no time; ErrClock; ErrPredicate
// where the creation is no time.
func CheckTerm(p bundle.Predicate, now time.Time) error {
	created, err := time.Parse(time.RFC3339, p.Created)
	if err != nil {
		return fmt.Errorf("%w: it was made at %q, which is no time", ErrPredicate, p.Created)
	}
	if now.Before(created.Add(-clockTolerance)) {
		return fmt.Errorf("%w: made at %s, the clock says %s", ErrClock, p.Created, now.UTC().Format(time.RFC3339))
	}
	if p.Expires == "" {
		return nil
	}
	expires, err := time.Parse(time.RFC3339, p.Expires)
	if err != nil {
		return fmt.Errorf("%w: its expiry %q is no time", ErrExpired, p.Expires)
	}
	if !now.Before(expires) {
		return fmt.Errorf("%w: it counted until %s, the clock says %s", ErrExpired, p.Expires, now.UTC().Format(time.RFC3339))
	}
	return nil
}

// OpenOptions vary what Open accepts.
type OpenOptions struct {
	Now          time.Time  // held against the statements' terms; default: the machine's clock
	AllowExpired bool       // open expired bundles too, each with a warning
	Sink         event.Sink // of the warnings; nil discards them
}

// LoadChecker makes a checker of public key files.
func LoadChecker(keyFiles []string) (Checker, error) {
	if len(keyFiles) == 0 {
		return Checker{}, ErrNoKey
	}
	var c Checker
	for _, path := range keyFiles {
		key, err := LoadPublicKey(path)
		if err != nil {
			return Checker{}, err
		}
		c.Keys = append(c.Keys, key)
	}
	return c, nil
}

// Open finds the bundles in paths, reads their heads and requires of each a
// signature by one of the keys (public key files), and that its statement
// counts now, see CheckTerm. All or none: when one bundle is not trusted,
// nothing is opened. The caller closes each bundle.
func Open(paths []string, keyFiles []string, opt OpenOptions) ([]*bundle.Trusted, error) {
	checker, err := LoadChecker(keyFiles)
	if err != nil {
		return nil, err
	}
	found, err := bundle.Scan(paths...)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("opening %q: %w", paths, ErrNoBundle)
	}
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	var opened []*bundle.Trusted
	for _, files := range found {
		t, err := openOne(files, checker, opt)
		if err != nil {
			closeAll(opened)
			return nil, err
		}
		opened = append(opened, t)
	}
	return opened, nil
}

func openOne(files bundle.Files, checker Checker, opt OpenOptions) (*bundle.Trusted, error) {
	b, err := bundle.Read(files)
	if err != nil {
		return nil, err
	}
	t, err := b.Trust(checker)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	if err := opt.checkTerm(t); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (opt OpenOptions) checkTerm(t *bundle.Trusted) error {
	err := CheckTerm(t.Statement().Predicate, opt.Now)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("opening %s: %w", t.Name(), err)
	if !opt.AllowExpired || !errors.Is(err, ErrExpired) {
		return err
	}
	if opt.Sink != nil {
		opt.Sink.Emit(event.Event{Kind: event.Warning, Item: t.Name(), Message: "using an expired bundle: " + err.Error()})
	}
	return nil
}

func closeAll(opened []*bundle.Trusted) {
	for _, t := range opened {
		_ = t.Close()
	}
}
