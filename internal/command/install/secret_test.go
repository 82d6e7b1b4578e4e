package install

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

// TestSecretsStayUntold: a plan finds the values that an API server refuses and
// quotes; of what is refused later, nothing that the server says is written down.
func TestSecretsStayUntold(t *testing.T) {
	l := newLab(t)
	secret := func(text string) stacktest.Stack {
		stack := oneChart("untold", map[string]string{"templates/a.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: pw}\n" + text + "\n"})
		stack.Name = l.name
		return stack
	}
	var told strings.Builder
	sink := event.Func(func(e event.Event) {
		told.WriteString(e.Message + "\n")
		if e.Finding != nil {
			told.WriteString(e.Finding.Code + " " + e.Finding.What + "\n")
		}
	})
	dir := l.site.Pack(t, secret("stringData: {password: 8675309123}"))
	l.site.Load(t, dir)
	if _, err := l.planOf(dir, "", sink); err == nil || !strings.Contains(told.String(), "secret-value Secret untold/pw (web/templates/a.yaml line 1): stringData.password is not text") {
		t.Errorf("planned: %v\n%s", err, told.String())
	}
	path := l.plan(secret("type: [8675309123]"), "")
	_, err := Run(t.Context(), l.options(path), sink)
	if err == nil || !strings.Contains(err.Error(), "the server refuses it") {
		t.Errorf("installed: %v", err)
	}
	fmt.Fprintln(&told, err)
	journals, _ := filepath.Glob(filepath.Join(l.state, "*", "*.journal.json"))
	for _, file := range journals {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		told.Write(data)
	}
	if len(journals) == 0 || strings.Contains(told.String(), "8675309123") {
		t.Errorf("of %d journals and events: %s", len(journals), told.String())
	}
}
