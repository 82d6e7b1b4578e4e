package pack

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
)

// Ledger is the file NAME.ledger.json: one line for each check that was made of
// each item, or that was not made although one might expect it.
type Ledger struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	Name       string        `json:"name"`
	Version    string        `json:"version"`
	Created    string        `json:"created"` // RFC 3339, UTC: when the checks were made
	Index      digest.Digest `json:"index"`
	Lock       digest.Digest `json:"lock"`
	Checks     []Check       `json:"checks"` // in the order of the lock
}

// KindLedger is the Kind of a Ledger.
const KindLedger = "Ledger"

// Results of a Check.
const (
	Passed     = "passed"
	NotChecked = "not-checked"
)

// Check is one line of a Ledger.
type Check struct {
	Item   string        `json:"item"`             // lock reference
	What   string        `json:"what"`             // which part of it
	Rule   string        `json:"rule"`             // what it was compared with
	Digest digest.Digest `json:"digest,omitempty"` // of what was checked
	Size   int64         `json:"size,omitempty"`
	Result string        `json:"result"`
	Note   string        `json:"note,omitempty"`
}

// makeLedger says what packing l checked. Every blob of a sealed bundle passed:
// one that does not is never sealed.
func makeLedger(l *lock.Lock, lockDigest, index digest.Digest, created time.Time) Ledger {
	g := Ledger{
		APIVersion: lock.APIVersion, Kind: KindLedger,
		Name: l.Metadata.Name, Version: l.Metadata.Version,
		Created: created.Format(time.RFC3339), Index: index, Lock: lockDigest,
	}
	carried := referrers(l)
	for i := range l.Items {
		g.item(&l.Items[i])
		if it := &l.Items[i]; it.Kind.Info().Signed {
			g.evidence(it, carried)
		}
	}
	return g
}

func (g *Ledger) item(it *lock.Item) {
	for _, f := range it.Facts() {
		g.Checks = append(g.Checks, Check{
			Item: it.Ref, What: f.What, Rule: f.Rule, Digest: f.Digest, Size: f.Size, Result: Passed,
		})
	}
}

// evidence says what is known of an item's origin beyond its digest.
func (g *Ledger) evidence(it *lock.Item, carried map[digest.Digest]int) {
	n := 0
	for _, m := range it.Manifests() {
		n += carried[m.Digest]
	}
	g.Checks = append(g.Checks, Check{
		Item: it.Ref, What: "upstream signatures and attestations", Rule: "no trust policy given",
		Result: NotChecked, Note: fmt.Sprintf("%d carried", n),
	})
}

const maxLedger = 64 << 20

// readLedger reads a ledger; it proves nothing about it.
func readLedger(path string) (Ledger, error) {
	var g Ledger
	data, err := readBounded(path, maxLedger)
	if err != nil {
		return g, fmt.Errorf("reading the ledger: %w", err)
	}
	if err := json.Unmarshal(data, &g); err != nil {
		return g, fmt.Errorf("reading the ledger: %w", err)
	}
	return g, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, err
}

// referrers counts the carried referrers of each subject.
func referrers(l *lock.Lock) map[digest.Digest]int {
	n := map[digest.Digest]int{}
	for i := range l.Items {
		if it := &l.Items[i]; it.Kind == lock.Referrer && it.Subject != "" {
			n[it.Subject]++
		}
	}
	return n
}
