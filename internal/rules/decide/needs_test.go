package decide

import (
	"fmt"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
)

// Components that all need all before them lead to one another by more ways than could
// be walked.
func TestNeedsAreFoundOncePerComponent(t *testing.T) {
	const many = 100
	m := &maker{selection: &Selection{}}
	var before []string
	for i := range many {
		c := lock.Component{Name: fmt.Sprintf("c%d", i), Needs: before}
		m.selection.Components = append(m.selection.Components, Chosen{Component: c})
		before = append(before[:i:i], c.Name)
	}
	if !m.needsComponent("c99", "c0") || m.needsComponent("c99", "absent") || m.needsComponent("c0", "c99") {
		t.Error("needs are not found")
	}
	if len(m.needs) != 2 {
		t.Errorf("the needs of %d components were looked for, not of 2", len(m.needs))
	}
}
