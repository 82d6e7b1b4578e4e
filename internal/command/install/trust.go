package install

import (
	"errors"
	"fmt"
	"slices"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/decide"
)

// ErrOtherKey: the bundle is trusted, but by no key that the plan was made with.
var ErrOtherKey = errors.New("the bundle is signed by none of the plan's keys")

// openBundle opens the bundle that the plan was made from, and holds the plan
// against it: a plan file is not signed, so nothing is believed that the bundle
// says otherwise.
func openBundle(opt Options, p *plan.Plan, sink event.Sink) (*bundle.Trusted, error) {
	paths, keys := opt.Bundles, opt.Keys
	if len(paths) == 0 {
		paths = p.Bundles
	}
	if len(keys) == 0 {
		keys = p.Keys
	}
	t, err := findBundle(paths, keys, opt.AllowExpired, p, sink)
	if err != nil {
		return nil, err
	}
	err = trusted(t, keys, len(opt.Keys) == 0, p, sink)
	if err == nil {
		err = fits(t, p)
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func findBundle(paths, keys []string, allowExpired bool, p *plan.Plan, sink event.Sink) (*bundle.Trusted, error) {
	all, err := sign.Open(paths, keys, sign.OpenOptions{AllowExpired: allowExpired, Sink: sink})
	if err != nil {
		return nil, err
	}
	var found *bundle.Trusted
	for _, t := range all {
		if found == nil && t.IndexDigest() == p.Index {
			found = t
			continue
		}
		_ = t.Close()
	}
	if found == nil {
		return nil, fmt.Errorf("opening %q: %w: the plan is bound to %s", paths, ErrBundleMismatch, p.Index)
	}
	return found, nil
}

// trusted requires a signer that the plan was made with, and says whom the plan
// makes the tool trust where the operator named no key.
func trusted(t *bundle.Trusted, keys []string, told bool, p *plan.Plan, sink event.Sink) error {
	signers, err := sign.Signers(t, keys)
	if err != nil {
		return err
	}
	known := false
	for _, k := range signers {
		if !slices.Contains(p.Trust, k) {
			continue
		}
		known = true
		if told {
			sink.Emit(event.Event{Verb: string(journal.Install), Kind: event.Info, Item: t.Name(), Message: fmt.Sprintf("trusting key %s, as the plan says; give --key to decide yourself", k.Encoded())})
		}
	}
	if !known {
		return fmt.Errorf("checking the plan: %w: it names %q, the signers are %q", ErrOtherKey, p.Trust, signers)
	}
	return nil
}

func fits(t *bundle.Trusted, p *plan.Plan) error {
	l, err := lock.Parse(t.Lock())
	if err != nil {
		return err
	}
	if err := decide.Fit(p, l, t.LockDigest()); err != nil {
		return fmt.Errorf("checking the plan: %w", err)
	}
	return nil
}
