package install

import (
	"errors"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/event"
)

// TestPlanIsRefusedWhenItsReleasesMoved makes two plans of the same site, and
// wants the second refused once the first is carried out; the first itself may
// be carried out again.
func TestPlanIsRefusedWhenItsReleasesMoved(t *testing.T) {
	l := newLab(t)
	first := l.plan(three("moved", "1.0.0", 1), "")
	second := l.plan(three("moved", "2.0.0", 2), "")
	l.install(first)
	_, err := Run(t.Context(), l.options(second), event.Discard)
	if !errors.Is(err, ErrPlanStale) || !strings.Contains(err.Error(), "is at revision 1, the plan saw no revision") {
		t.Errorf("error is %v", err)
	}
	l.install(first)
	l.install(l.plan(three("moved", "2.0.0", 2), ""))
}
