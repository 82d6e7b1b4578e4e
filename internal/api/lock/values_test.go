package lock

import (
	"reflect"
	"testing"
)

func TestMergeValues(t *testing.T) {
	type values = map[string]any
	base := func() values { return values{"m": values{"x": 1, "y": 2}, "s": "t", "l": []any{1, 2}} }
	for name, c := range map[string]struct{ over, want values }{
		"nothing":           {nil, base()},
		"a map merges":      {values{"m": values{"y": 3, "z": 4}}, values{"m": values{"x": 1, "y": 3, "z": 4}, "s": "t", "l": []any{1, 2}}},
		"a null stays":      {values{"m": values{"y": nil}}, values{"m": values{"x": 1, "y": nil}, "s": "t", "l": []any{1, 2}}},
		"a list replaces":   {values{"l": []any{3}}, values{"m": values{"x": 1, "y": 2}, "s": "t", "l": []any{3}}},
		"a map over a text": {values{"s": values{"now": "map"}}, values{"m": values{"x": 1, "y": 2}, "s": values{"now": "map"}, "l": []any{1, 2}}},
	} {
		below := base()
		if got := MergeValues(below, c.over); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: merged %v, want %v", name, got, c.want)
		}
		if !reflect.DeepEqual(below, base()) {
			t.Errorf("%s: merging changed its argument: %v", name, below)
		}
	}
	if got := MergeValues(nil, values{"a": 1}); !reflect.DeepEqual(got, values{"a": 1}) {
		t.Errorf("over nothing: %v", got)
	}
}
