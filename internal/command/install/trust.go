package install

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/decide"
)

// ErrOtherKey: the bundle is trusted, but by no key that the plan was made with.
var ErrOtherKey = errors.New("the bundle is signed by none of the plan's keys")

// openBundle opens the bundle that the plan was made from, and holds the plan
// against it: a plan file is not signed, so nothing is believed that the bundle
// says otherwise.
func openBundle(ctx context.Context, opt Options, p *plan.Plan, sink event.Sink) (*cargo.Bundle, error) {
	paths, keys := opt.Bundles, opt.Keys
	if len(paths) == 0 {
		paths = p.Bundles
	}
	if len(keys) == 0 {
		keys = p.Keys
	}
	accept := cargo.Options{AllowExpired: opt.AllowExpired}
	all, err := cargo.OpenAll(ctx, paths, keys, accept, sink)
	if err != nil {
		return nil, err
	}
	b := all.Keep(p.Index)
	if b == nil {
		return nil, fmt.Errorf("opening %q: %w: the plan is bound to %s", paths, ErrBundleMismatch, p.Index)
	}
	err = requireSigner(b, len(opt.Keys) == 0, p, sink)
	if err == nil {
		err = requireFit(b, p)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// requireSigner wants a signer that the plan was made with, and says whom the
// plan makes the tool trust where the operator named no key.
func requireSigner(b *cargo.Bundle, unnamed bool, p *plan.Plan, sink event.Sink) error {
	var signers []digest.Digest
	known := false
	for _, s := range b.Signers() {
		signers = append(signers, s.Digest)
		if !slices.Contains(p.Trust, s.Digest) {
			continue
		}
		known = true
		if unnamed {
			sink.Emit(event.Event{
				Verb: string(journal.Install), Kind: event.Info, Item: b.Name(),
				Message: fmt.Sprintf("trusting key %s, as the plan says; give --key to decide yourself", s.Digest.Encoded()),
			})
		}
	}
	if !known {
		return fmt.Errorf("checking the plan: %w: it names %q, the signers are %q", ErrOtherKey, p.Trust, signers)
	}
	return nil
}

// requireFit wants the plan to say nothing else than the bundle's lock.
func requireFit(b *cargo.Bundle, p *plan.Plan) error {
	if err := decide.Fit(p, b.Lock(), b.LockDigest()); err != nil {
		return fmt.Errorf("checking the plan: %w", err)
	}
	return nil
}
