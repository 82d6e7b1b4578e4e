package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/client/kube"
)

// Prune deletes the documents of the journal's stack that nothing in the
// journal speaks of any more.
func (s *Store) Prune(ctx context.Context, j *journal.Journal) error {
	keep, err := s.namedByOthers(ctx, j.Stack)
	if err != nil {
		return fmt.Errorf("pruning the journal of stack %s: %w", j.Stack, err)
	}
	maps.Copy(keep, documentNames(j))
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

// namedByOthers are the documents that the journals of other stacks speak of: stacks can
// share one.
func (s *Store) namedByOthers(ctx context.Context, stack string) (map[string]bool, error) {
	keep := map[string]bool{}
	stacks, err := s.Stacks(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range stacks {
		if name == stack {
			continue
		}
		other, err := (&Store{records: s.records, cluster: s.cluster}).Load(ctx, name)
		if err != nil {
			return nil, err
		}
		maps.Copy(keep, documentNames(other))
	}
	return keep, nil
}

// documentNames are the record names that the journal speaks of.
func documentNames(j *journal.Journal) map[string]bool {
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
	maps.Copy(keep, reachableNames(j))
	return keep
}

// reachableNames are the record names of what is installed, of what it can go back
// to, and of the newest installation.
func reachableNames(j *journal.Journal) map[string]bool {
	keep := map[string]bool{}
	add := func(kind string, d digest.Digest) {
		if d.Validate() == nil {
			keep[documentName(kind, d)] = true
		}
	}
	for _, c := range j.Installed {
		add(kindPlan, c.Plan)
		add(kindObjects, c.Manifests)
		add(kindObjects, c.Definitions)
		for f := range c.Formers() {
			add(kindPlan, f.Plan)
			add(kindObjects, f.Manifests)
			add(kindObjects, f.Definitions)
		}
	}
	newest := true
	for _, r := range slices.Backward(j.Runs) {
		if r.Verb == journal.Install && newest || r.Plan != "" && keep[documentName(kindPlan, r.Plan)] {
			newest = newest && r.Verb != journal.Install
			add(kindPlan, r.Plan)
			add(kindLock, r.Lock)
			add(kindLedger, r.Ledger)
		}
	}
	return keep
}

// Document is one document kept beside a journal.
type Document struct {
	Kind        string        `json:"kind"` // plan, lock or ledger
	Digest      digest.Digest `json:"digest"`
	Generations []int         `json:"generations"` // whose it is

	name string
}

// Unreachable lists, in order of the runs, the documents in the cluster that
// only past runs speak of: nothing installed needs them, nothing can go back to
// them, and they are not the newest installation's.
func (s *Store) Unreachable(ctx context.Context, j *journal.Journal) ([]Document, error) {
	keep, err := s.namedByOthers(ctx, j.Stack)
	if err != nil {
		return nil, fmt.Errorf("looking for what is no longer needed: %w", err)
	}
	maps.Copy(keep, reachableNames(j))
	there, err := s.listNames(ctx, j.Stack)
	if err != nil {
		return nil, fmt.Errorf("looking for what is no longer needed: %w", err)
	}
	var out []Document
	for _, r := range j.Runs {
		for kind, d := range map[string]digest.Digest{kindPlan: r.Plan, kindLock: r.Lock, kindLedger: r.Ledger} {
			if d.Validate() == nil && there[documentName(kind, d)] && !keep[documentName(kind, d)] {
				out = appendDocument(out, kind, d, r.Generation)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Document) int {
		return cmp.Or(cmp.Compare(a.Generations[0], b.Generations[0]), cmp.Compare(a.Kind, b.Kind))
	})
	return out, nil
}

func appendDocument(list []Document, kind string, d digest.Digest, generation int) []Document {
	for i := range list {
		if list[i].Kind == kind && list[i].Digest == d {
			list[i].Generations = append(list[i].Generations, generation)
			return list
		}
	}
	return append(list, Document{Kind: kind, Digest: d, Generations: []int{generation}, name: documentName(kind, d)})
}

// listNames are the names of the documents that the cluster has of a stack.
func (s *Store) listNames(ctx context.Context, stack string) (map[string]bool, error) {
	out := map[string]bool{}
	for _, kind := range []string{kindPlan, kindLock, kindLedger} {
		names, err := s.records.Names(ctx, map[string]string{labelKind: kind, labelStack: stack})
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			out[name] = true
		}
	}
	return out, nil
}

// Remove deletes documents that Unreachable named. One that is gone is no error.
func (s *Store) Remove(ctx context.Context, list []Document) error {
	for _, d := range list {
		if err := s.records.Delete(ctx, d.name); err != nil && !errors.Is(err, kube.ErrNoRecord) {
			return fmt.Errorf("removing the %s of generation %d: %w", d.Kind, d.Generations[0], err)
		}
	}
	return nil
}

// Purge deletes everything the cluster knows of a stack: journal and documents.
// The copy on disk stays.
func (s *Store) Purge(ctx context.Context, stack string) error {
	keep, err := s.namedByOthers(ctx, stack)
	if err != nil {
		return fmt.Errorf("purging stack %s: %w", stack, err)
	}
	for _, kind := range []string{kindPlan, kindLock, kindLedger, kindObjects, kindJournal} {
		names, err := s.records.Names(ctx, map[string]string{labelKind: kind, labelStack: stack})
		if err != nil {
			return fmt.Errorf("purging stack %s: %w", stack, err)
		}
		for _, name := range names {
			if keep[name] {
				continue
			}
			if err := s.records.Delete(ctx, name); err != nil && !errors.Is(err, kube.ErrNoRecord) {
				return fmt.Errorf("purging stack %s: %w", stack, err)
			}
		}
	}
	return nil
}
