package listing

import (
	"slices"
	"testing"
)

func TestSome(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	for most, want := range map[int]string{5: "a, b, c, d", 4: "a, b, c, d", 3: "a, b, c and 1 more", 1: "a and 3 more"} {
		if got := Some(names, most); got != want {
			t.Errorf("Some(%d) = %q, want %q", most, got, want)
		}
	}
	if got := Some(nil, 2); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

func TestCut(t *testing.T) {
	list := []string{"a", "b", "c", "d"}
	for _, c := range []struct {
		most int
		lead string
		want []string
	}{
		{4, "and ", []string{"a", "b", "c", "d"}},
		{3, "and ", []string{"a", "b", "c", "and 1 more"}},
		{2, "", []string{"a", "b", "2 more"}},
	} {
		if got := Cut(list, c.most, c.lead); !slices.Equal(got, c.want) {
			t.Errorf("Cut(%d, %q) = %q, want %q", c.most, c.lead, got, c.want)
		}
	}
	if !slices.Equal(list, []string{"a", "b", "c", "d"}) {
		t.Errorf("cutting changed its argument: %q", list)
	}
}

func TestMore(t *testing.T) {
	for n, want := range map[int]string{1: "1 more place", 2: "2 more places"} {
		if got := More(n, "place"); got != want {
			t.Errorf("More(%d) = %q, want %q", n, got, want)
		}
	}
}
