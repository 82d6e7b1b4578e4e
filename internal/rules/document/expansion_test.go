package document

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	sigyaml "sigs.k8s.io/yaml"
)

// bomb is a text that stands for several times as much as it is.
func bomb(anchor string, times int) string {
	return "a: &a " + anchor + "\nb: [" + strings.Repeat("*a,", times) + "]\n"
}

// wide is a text as UTF-16.
func wide(s string) string {
	out := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		out = append(out, byte(u), byte(u>>8))
	}
	return string(out)
}

func TestExpansionIsCountedBeforeItHappens(t *testing.T) {
	doubled := "a0: &a0 [x, x]\n"
	for n := range 60 {
		doubled += fmt.Sprintf("a%d: &a%d [*a%d, *a%d]\n", n+1, n+1, n, n)
	}
	for name, source := range map[string]string{
		"one text":           bomb(strings.Repeat("x", 1<<20), 20),
		"lists":              bomb("["+strings.Repeat("x,", 4000)+"]", 200),
		"of one another":     doubled,
		"a later document":   "a: 1\n---\n" + bomb(strings.Repeat("x", 1<<20), 20),
		"merged":             "a: &a {x: " + strings.Repeat("x", 1<<20) + "}\n" + strings.Repeat("b: {<<: *a}\n", 20),
		"a key":              "a: &a " + strings.Repeat("x", 1<<20) + "\n" + strings.Repeat("b: {*a : 1}\n", 20),
		"UTF-16":             wide(bomb(strings.Repeat("x", 64<<10), 200)),
		"no aliases":         "a: [" + strings.Repeat("1,", maxValues+1) + "]\n",
		"what nobody counts": "a: &a x\nb: *a\n\tc: [*a\n",
		"a long text":        "a: " + strings.Repeat("x", maxDocument),
	} {
		if err := new(Expansion).Add(source); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, source := range map[string]string{
		"few aliases":    bomb("[x, y]", 20),
		"a loop":         "a: &a [*a]\n",
		"a script":       "run >x 2>&1\nls **a\n\t: {",
		"an unread text": "a: '&a\n\t *a\nb: {\n",
	} {
		if err := new(Expansion).Add(source); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestExpansionOfAllDocuments: each is within its bounds, together they are not.
func TestExpansionOfAllDocuments(t *testing.T) {
	for name, source := range map[string]string{
		"bytes":  bomb(strings.Repeat("x", 1<<20), 6),
		"values": bomb("["+strings.Repeat("x,", 4000)+"]", 95),
	} {
		var e Expansion
		n := 0
		for ; n < 24 && e.Add(source) == nil; n++ {
		}
		if n < 2 || n == 24 {
			t.Errorf("%s: %d documents fit", name, n)
		}
	}
}

// TestWhatIsReadTwiceCountsOnce: a document that is read again, as Kubernetes reads it,
// counts with what was read then.
func TestWhatIsReadTwiceCountsOnce(t *testing.T) {
	source := "a: &a {x: y}\nb: {<<: *a}\nc: ['image: x/y:1', 2]\n"
	json, err := sigyaml.YAMLToJSON([]byte(source))
	if err != nil {
		t.Fatal(err)
	}
	var counted [2]*walker
	for i, text := range []string{source, string(json)} {
		counted[i] = &walker{nodes: maxNodes}
		if err := counted[i].document(Document{Template: "demo/templates/a.yaml", Line: 1, Source: text}); err != nil {
			t.Fatal(err)
		}
	}
	twice, once := counted[0], counted[1]
	if twice.whole != once.whole || twice.inner != once.inner || twice.nodes != once.nodes {
		t.Errorf("counted %+v, %+v and %d nodes, read once %+v, %+v and %d",
			twice.whole, twice.inner, twice.nodes, once.whole, once.inner, once.nodes)
	}
}

// TestReadFollowsFewAliases: each alias of a long text is searched anew, in a text
// within the document too.
func TestReadFollowsFewAliases(t *testing.T) {
	text := bomb("'https://"+strings.Repeat("x ", 256<<10)+"'", 400)
	quoted := "x: {data: {y.yaml: \"image: a/b:1\\n" + strings.NewReplacer("\n", `\n`, "'", "").Replace(text) + "\"}}\n"
	for name, source := range map[string]string{"a document": text, "a text": quoted} {
		began := time.Now()
		_, err := Read([]Document{{Template: "demo/templates/a.yaml", Source: source}})
		if took := time.Since(began); !errors.Is(err, ErrTooLarge) || took > 3*time.Second || !strings.Contains(err.Error(), "demo/templates/a.yaml") {
			t.Errorf("%s: %v after %v", name, err, took)
		}
	}
}

// FuzzExpansion: what is counted bounds what Kubernetes' parser makes of a text,
// which is another than the one that counts.
func FuzzExpansion(f *testing.F) {
	f.Add(bomb("[x, y]", 20))
	f.Add("a: &a {b: &b [*c]}\nc: {<<: *a}\n---\n? *b\n")
	f.Add("&a a: [&c c, *a, *c]\n")
	f.Add("a: &a\n  - b\n\t c: *a\n")
	f.Fuzz(func(t *testing.T, source string) {
		var e Expansion
		if e.Add(source) != nil {
			return
		}
		json, err := sigyaml.YAMLToJSON([]byte(source))
		if most := 8*(e.all.bytes+e.all.values) + 64; err == nil && len(json) > most {
			t.Errorf("%d bytes of JSON, at most %d expected", len(json), most)
		}
	})
}
