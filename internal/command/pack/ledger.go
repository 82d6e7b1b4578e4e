package pack

import (
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/ledger"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/atomicfile"
)

// makeLedger says what packing l checked, and what was checked when l was
// resolved. Every blob of a sealed bundle passed: one that does not is never
// sealed.
func makeLedger(l *lock.Lock, lockDigest, index digest.Digest, created time.Time) *ledger.Ledger {
	g := &ledger.Ledger{
		APIVersion: ledger.APIVersion, Kind: ledger.Kind,
		Name: l.Metadata.Name, Version: l.Metadata.Version,
		Created: created.Format(time.RFC3339), Index: index, Lock: lockDigest,
	}
	recorded := map[string][]ledger.Check{}
	for _, c := range l.Checks {
		recorded[c.Item] = append(recorded[c.Item], c)
	}
	carried := countReferrers(l)
	for i := range l.Items {
		it := &l.Items[i]
		g.Append(contentChecks(it)...)
		g.Append(recorded[string(it.Ref)]...)
		if it.Kind.Info().Signed && !slices.ContainsFunc(recorded[string(it.Ref)], aboutSignatures) {
			g.Append(withoutPolicy(it, carried))
		}
	}
	return g
}

// contentChecks are those that each blob passed when it was fetched.
func contentChecks(it *lock.Item) []ledger.Check {
	facts := it.Facts()
	out := make([]ledger.Check, len(facts))
	for i, f := range facts {
		out[i] = ledger.Check{
			Item: string(it.Ref), What: f.What, Rule: f.Rule, Digest: f.Digest, Size: f.Size, Result: ledger.Passed,
		}
	}
	return out
}

func aboutSignatures(c ledger.Check) bool { return c.What == ledger.Signatures }

// withoutPolicy states that nobody held the item's signatures against a policy,
// and how many of them are carried.
func withoutPolicy(it *lock.Item, carried map[digest.Digest]int) ledger.Check {
	n := 0
	for _, m := range it.Manifests() {
		n += carried[m.Digest]
	}
	return ledger.Check{
		Item: string(it.Ref), What: ledger.Signatures, Rule: ledger.NoPolicy,
		Result: ledger.NotChecked, Note: fmt.Sprintf("%d carried", n),
	}
}

// readLedger reads a ledger; it proves nothing about it.
func readLedger(path string) (*ledger.Ledger, error) {
	data, err := atomicfile.ReadFile(path, ledger.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	return ledger.Parse(data)
}

// countReferrers counts the carried referrers of each subject.
func countReferrers(l *lock.Lock) map[digest.Digest]int {
	n := map[digest.Digest]int{}
	for i := range l.Items {
		if it := &l.Items[i]; it.Kind == lock.Referrer && it.Subject != "" {
			n[it.Subject]++
		}
	}
	return n
}
