package document

import (
	"errors"
	"strings"
	"testing"
)

func sourcesOf(t *testing.T, stream string) []Document {
	t.Helper()
	docs, err := Split("x", stream)
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func TestSplitLines(t *testing.T) {
	docs := sourcesOf(t, "# comment\n---\na: 1\nb: 2\n--- # next\n\n\nc: 3\n---\n# nothing\n---\nd: |\n  ---\n  e\n--- {f: 1}\n")
	var got []string
	for _, d := range docs {
		got = append(got, strings.TrimSpace(d.Source))
	}
	want := []string{"a: 1\nb: 2", "c: 3", "d: |\n  ---\n  e\n--- {f: 1}"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("split into %q", got)
	}
	for i, line := range []int{3, 6, 12} {
		if docs[i].Line != line {
			t.Errorf("document %d begins on line %d, want %d", i, docs[i].Line, line)
		}
	}
}

// TestSeparators: what Helm and Kubernetes' reader take between documents.
func TestSeparators(t *testing.T) {
	for line, want := range map[string]bool{
		"---": true, "---  ": true, "---\t\r": true, "--- # next": true, "---# Source: web/a.yaml": true, "---\t#x": true, "---#": true,
		"----": false, "--- a": false, "--- {a: 1}": false, "---a": false, " ---": false, "--": false, "-----BEGIN X": false,
	} {
		if got := len(sourcesOf(t, "a: 1\n"+line+"\nb: 2\n")) == 2; got != want {
			t.Errorf("%q ends a document: %v, want %v", line, got, want)
		}
	}
}

func TestSplitBounds(t *testing.T) {
	for name, stream := range map[string]string{
		"bytes":     strings.Repeat("#", MaxBytes+1),
		"documents": strings.Repeat("a: 1\n---\n", maxDocuments+1),
	} {
		if _, err := Split("x", stream); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}
