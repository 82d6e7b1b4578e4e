package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/kube"
)

// Prune deletes the documents of the journal's stack that nothing in the
// journal speaks of any more.
func (s *Store) Prune(ctx context.Context, j *Journal) error {
	keep := j.documents()
	for _, kind := range []string{kindPlan, kindLock, kindLedger, kindObjects} {
		names, err := s.records.Names(ctx, map[string]string{labelKind: kind, labelStack: j.Stack})
		if err != nil {
			return fmt.Errorf("pruning the journal of stack %s: %w", j.Stack, err)
		}
		for _, name := range names {
			if keep[name] {
				continue
			}
			if err := s.records.Delete(ctx, name); err != nil && !errors.Is(err, kube.ErrNoRecord) {
				return fmt.Errorf("pruning the journal of stack %s: %w", j.Stack, err)
			}
		}
	}
	return nil
}

// documents are the record names that the journal speaks of.
func (j *Journal) documents() map[string]bool {
	keep := map[string]bool{}
	add := func(kind string, d digest.Digest) {
		if d.Validate() == nil {
			keep[documentName(kind, d)] = true
		}
	}
	for _, r := range j.Runs {
		add(kindPlan, r.Plan)
		add(kindLock, r.Lock)
		add(kindLedger, r.Ledger)
	}
	for _, c := range j.Installed {
		add(kindPlan, c.Plan)
		add(kindObjects, c.Manifests)
		if c.Former != nil {
			add(kindPlan, c.Former.Plan)
			add(kindObjects, c.Former.Manifests)
		}
	}
	return keep
}

// Purge deletes everything the cluster knows of a stack: journal and documents.
// The copy on disk stays.
func (s *Store) Purge(ctx context.Context, stack string) error {
	for _, kind := range []string{kindPlan, kindLock, kindLedger, kindObjects, kindJournal} {
		names, err := s.records.Names(ctx, map[string]string{labelKind: kind, labelStack: stack})
		if err != nil {
			return fmt.Errorf("purging stack %s: %w", stack, err)
		}
		for _, name := range names {
			if err := s.records.Delete(ctx, name); err != nil && !errors.Is(err, kube.ErrNoRecord) {
				return fmt.Errorf("purging stack %s: %w", stack, err)
			}
		}
	}
	return nil
}
