package decide

import (
	"slices"
	"testing"
)

func TestDifferences(t *testing.T) {
	before := map[string]any{"replicas": 2, "same": 1.0, "db": map[string]any{"password": "old", "host": "a", "gone": true}, "list": []any{1}}
	after := map[string]any{"replicas": 3, "same": 1, "db": map[string]any{"password": "new", "host": "a"}, "list": []any{1, 2}, "new": map[string]any{"x": "y"}}
	want := []string{`db.gone: true > (not set)`, `db.password: (not shown) > (not shown)`, `list: [1] > [1,2]`, `new.x: (not set) > "y"`, `replicas: 2 > 3`}
	if got := Differences(before, after); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := Differences(after, after); len(got) != 0 {
		t.Errorf("nothing changed, and yet %q", got)
	}
}
