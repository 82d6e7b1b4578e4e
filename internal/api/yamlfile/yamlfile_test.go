package yamlfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const head = "apiVersion: caisson.dev/v1alpha1\nkind: Stack\n"

func TestSyntaxErrorsHaveTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		head + "a: {b: c\nd: e\n": "f:3: not valid YAML",
		head + "a: b: c\n":        "f:3: not valid YAML",
		head + "a: \"open\n":      "not valid YAML",
		head + "a:\n\t- x\n":      "f:4: not valid YAML",
		head + "a: *nowhere\n":    "unknown anchor",
		head + "a: &x 1\nb: 2\n":  "f:3:4: a: defines an anchor",
		head + "a: &x 1\nb: *x\n": "f:4:4: b: uses an alias",
		head + "a: 1\na: 2\n":     "f:4:1: a: is set twice; the first time on line 3",
		head + "? [a]\n: b\n":     "has a key that is not a plain word",
		head + "<<: {a: b}\n":     "has a key that is not a plain word",
		"- a\n":                   "is a list; a document is a mapping",
		"kind: Stack\n":           "apiVersion: is missing",
		"apiVersion: x\n":         "kind: is missing",
		"":                        "the file is empty",
		"# nothing\n---\n---\n":   "the file is empty",
		"a\xff\xfe":               "not valid YAML",
	} {
		d, err := Parse("f", []byte(text), "Stack")
		if err == nil {
			err = d.Err()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestBounds(t *testing.T) {
	deep := head + "a: " + strings.Repeat("[", 70) + strings.Repeat("]", 70)
	if _, err := Parse("f", []byte(deep), "Stack"); err == nil || !strings.Contains(err.Error(), "levels deep") {
		t.Errorf("deep: %v", err)
	}
	long := head + "? " + strings.Repeat("k", 4<<20) + "\n: [" + strings.Repeat("a,", 20000) + "a]\n"
	if _, err := Parse("f", []byte(long), "Stack"); err == nil || !strings.Contains(err.Error(), "f:3:3: has a key of 4194304 bytes, more than 1024") {
		t.Errorf("long key: %.200v", err)
	}
	wide := head + "a:\n" + strings.Repeat("- x\n", maxTokens)
	if _, err := Parse("f", []byte(wide), "Stack"); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("wide: %v", err)
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 11), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path, "Stack", 10); err == nil || !strings.Contains(err.Error(), "larger than 10 bytes") {
		t.Errorf("large: %v", err)
	}
}

// TestPathsAreMadeOnDemand: the paths of all values together would be 12 GB.
func TestPathsAreMadeOnDemand(t *testing.T) {
	const depth, width = 60, 100_000
	text := head + "values: " + strings.Repeat("{"+strings.Repeat("k", maxKey)+": ", depth) + "[" + strings.Repeat("a,", width) + "a]" + strings.Repeat("}", depth) + "\n"
	d, err := Parse("f", []byte(text), "Stack")
	if err != nil {
		t.Fatal(err)
	}
	out := &struct {
		APIVersion string         `yaml:"apiVersion"`
		Kind       string         `yaml:"kind"`
		Values     map[string]any `yaml:"values"`
	}{}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d.Decode(out)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; d.Err() != nil || used > 100<<20 {
		t.Errorf("%d bytes were allocated; %v", used, d.Err())
	}
}

func TestPath(t *testing.T) {
	var p *path
	for want, p := range map[string]*path{
		"": p, "a": p.withKey("a"), "a.b": p.withKey("a").withKey("b"), "a[3].b": p.withKey("a").withIndex(3).withKey("b"), "[0][1]": p.withIndex(0).withIndex(1),
	} {
		if p.String() != want {
			t.Errorf("%q, want %q", p, want)
		}
	}
}

func TestManyProblemsAreCounted(t *testing.T) {
	var b strings.Builder
	b.WriteString(head)
	for i := range 200 {
		fmt.Fprintf(&b, "field%d: 1\n", i)
	}
	d, err := Parse("f", []byte(b.String()), "Stack")
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
	}
	d.Decode(&out)
	var list *Error
	if !errors.As(d.Err(), &list) || len(list.Problems) != maxReported || list.More != 150 {
		t.Errorf("got %v", d.Err())
	}
	if !strings.HasSuffix(list.Error(), "and 150 more") {
		t.Errorf("got %s", list)
	}
}

func TestMessagesCarryNoControlCharacters(t *testing.T) {
	d, err := Parse("f", []byte(head+"\"a\\e[2Jb\": 1\n"), "Stack")
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Kind string `yaml:"kind"`
	}
	d.Decode(&out)
	if d.Err() == nil || strings.ContainsRune(d.Err().Error(), '\x1b') {
		t.Errorf("got %q", d.Err())
	}
}

func TestNearest(t *testing.T) {
	known := []string{"name", "version", "values", "valuesFiles", "source"}
	for word, want := range map[string]string{
		"verison": "version", "Version": "version", "nmae": "name", "value": "values", "valueFiles": "valuesFiles",
		"zzz": "", strings.Repeat("x", 1000): "",
	} {
		if got := nearestKnown(word, known); got != want {
			t.Errorf("nearest(%.20q) = %q, want %q", word, got, want)
		}
	}
}
