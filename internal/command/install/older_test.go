package install

import (
	"errors"
	"testing"

	"github.com/caisson/caisson/internal/event"
)

// TestWhatARollbackWentBackToIsInstalledAgain: the advice after a rollback is to install
// its plan again, which needs no flag; a bundle of which only a part is there does.
func TestWhatARollbackWentBackToIsInstalledAgain(t *testing.T) {
	l := newLab(t)
	first := l.plan(three("backagain", "1.0.0", 1), "")
	l.install(first)
	second := l.plan(three("backagain", "2.0.0", 2), "")
	l.install(second)
	if _, err := Run(t.Context(), l.options(first), event.Discard); !errors.Is(err, ErrOlder) {
		t.Fatalf("before the rollback: %v", err)
	}
	l.rollback("")
	l.install(first)
	j := l.journal()
	if last := j.Last(); len(last.Overrides) != 0 || j.Newest.Sequence != 2 || j.Component("db").Version != "1.0.0" {
		t.Errorf("overrides %q, newest %+v", last.Overrides, j.Newest)
	}
	l.install(second)
	l.rollback("web")
	if _, err := Run(t.Context(), l.options(first), event.Discard); !errors.Is(err, ErrOlder) {
		t.Errorf("after the rollback of one component: %v", err)
	}
}
