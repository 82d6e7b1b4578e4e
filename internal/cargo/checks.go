package cargo

import (
	"time"

	"github.com/caisson/caisson/internal/api/ledger"
)

// Checks are those by which the bundle came to be trusted at this site, one for
// each signature that counted; when is the time that they were made at.
func (b *Bundle) Checks(when time.Time) []ledger.Check {
	accepted := b.Signatures()
	out := make([]ledger.Check, len(accepted))
	for i, s := range accepted {
		out[i] = ledger.Check{
			Item: b.Name(), What: "signature of the bundle", Rule: "public key given by the operator",
			Identity: s.KeyID, Digest: b.IndexDigest(),
			Time: when.UTC().Format(time.RFC3339), Result: ledger.Passed,
		}
	}
	return out
}
