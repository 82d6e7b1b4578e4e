package outcome

import (
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/command/inspect"
	"github.com/caisson/caisson/internal/ui/output"
)

func TestInspectedShowsALedgerThatCannotBeRead(t *testing.T) {
	for problem, want := range map[string]bool{"": false, "reading the ledger: unexpected EOF": true} {
		p := Inspected(inspect.Result{Bundles: []inspect.Bundle{{Name: "demo", Verified: true, LedgerProblem: problem}}}, true)
		shown := p.Text(output.Style{}, 100)
		if strings.Contains(shown, "ledger") != want || !strings.Contains(shown, problem) {
			t.Errorf("with the problem %q it shows\n%s", problem, shown)
		}
	}
}
