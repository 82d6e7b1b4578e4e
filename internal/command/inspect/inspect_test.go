package inspect_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/ledger"
	"github.com/caisson/caisson/internal/command/inspect"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

func ledgerText(t *testing.T) string {
	t.Helper()
	g := &ledger.Ledger{
		APIVersion: ledger.APIVersion, Kind: ledger.Kind, Name: "demo", Version: "1.0.0", Created: "2026-01-01T00:00:00Z",
		Index: digest.FromString("index"), Lock: digest.FromString("lock"),
	}
	g.Append(ledger.Check{Item: bundletest.Web, What: "layer", Rule: "sha256", Result: ledger.Passed})
	text, err := g.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestInspectReadsTheSignedLedger: one of a newer caisson too, and one that cannot
// be read is not passed over in silence.
func TestInspectReadsTheSignedLedger(t *testing.T) {
	plain := ledgerText(t)
	for _, c := range []struct {
		name, text string
		passed     int
		problem    string
	}{
		{"plain", plain, 1, ""},
		{"a newer caisson's", strings.Replace(plain, `"result"`, `"grade": 3, "result"`, 1), 1, ""},
		{"unreadable", strings.Replace(plain, `"passed"`, `"splendid"`, 1), 0, "reading the ledger: check 0: result: "},
		{"none", "", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bundletest.Make(t, bundletest.Options{LedgerText: c.text})
			r, err := inspect.Run(t.Context(), inspect.Options{Paths: []string{b.Dir}, Keys: []string{b.KeyFile}}, event.Discard)
			if err != nil {
				t.Fatal(err)
			}
			got := r.Bundles[0]
			if got.Checks[ledger.Passed] != c.passed {
				t.Errorf("checks are %v, want %d passed", got.Checks, c.passed)
			}
			if !strings.HasPrefix(got.LedgerProblem, c.problem) || (c.problem == "") != (got.LedgerProblem == "") {
				t.Errorf("the problem is %q, want %q", got.LedgerProblem, c.problem)
			}
		})
	}
}
