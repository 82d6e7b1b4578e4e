package install

import (
	"errors"
	"slices"
	"testing"
)

func TestWhyUnpulled(t *testing.T) {
	for trouble, want := range map[string]error{
		`ErrImagePull: failed to do request: Head "https://reg.site:5000/v2/x": tls: failed to verify certificate: x509: certificate signed by unknown authority`: ErrUntrusted,
		"x509: certificate is valid for a.site, not reg.site":             ErrUntrusted,
		`Head "https://reg.site:5000/v2/x": dial tcp: connection refused`: ErrPull,
		"": ErrPull,
	} {
		if got := whyUnpulled(trouble); !errors.Is(got, want) {
			t.Errorf("%q: %v, want %v", trouble, got, want)
		}
	}
}

// TestTextsNameEveryNode: one node's many complaints do not hide another's one,
// and those of an earlier run are not told again.
func TestTextsNameEveryNode(t *testing.T) {
	old := complaint{id: "a/1", node: "n1", text: "of yesterday"}
	now := []complaint{{id: "a/2", node: "n1", text: "of yesterday"}, {id: "b/1", node: "n1", text: "two"}, {id: "c/1", node: "n1", text: "two"}, {id: "d/1", node: "n1", text: "three"}, {id: "e/1", node: "n1", text: "four"}, {id: "f/1", node: "n2", text: "here too"}, {id: "g/1", node: "n1", text: "five"}}
	want := []string{"node n1: of yesterday", "node n2: here too", "node n1: two", "node n1: three", "node n1: four"}
	if got := newTexts(now, []complaint{old}); !slices.Equal(got, want) {
		t.Errorf("told %q", got)
	}
	if got := newTexts([]complaint{old}, []complaint{old}); len(got) > 0 {
		t.Errorf("told %q", got)
	}
}
