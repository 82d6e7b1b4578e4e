package document

import (
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxText bounds a text that is searched for images, in bytes.
const maxText = 8 << 20

// looksLikeDocument says whether a string may hold YAML or JSON of several values.
func looksLikeDocument(s string) bool {
	s = strings.TrimSpace(s)
	return strings.Contains(s, "\n") || strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[")
}

// mayNameImage says whether a document in a string may name an image at all.
func mayNameImage(s string) bool {
	return len(s) <= maxText && (imageName.MatchString(s) || strings.Contains(s, "/") && strings.ContainsAny(s, ":@"))
}

// lines maps the lines of what is walked to those of what it stands in.
type lines struct {
	base  int  // of the first line
	fixed bool // all are that line
	depth int  // texts in one another
}

// unknownLines are those of what was not read from where it is.
var unknownLines = lines{fixed: true}

func (l lines) at(n int) int {
	if l.fixed {
		return l.base
	}
	return l.base + n - 1
}

// of maps the lines of a scalar's content.
func (l lines) of(n *scalar) lines {
	in := lines{base: l.at(n.Line), fixed: true, depth: l.depth + 1}
	if n.Style&yaml.LiteralStyle != 0 && !l.fixed {
		in.base, in.fixed = in.base+1, false
	}
	return in
}

// text is a string that holds a document or lines with references, and what is to
// be changed in it. Everything else of it stays, byte by byte.
type text struct {
	node   *scalar
	lines  []string // with their line ends
	start  []int    // of each line
	edits  []edit
	wholes []whole
}

// edit replaces a part of a text.
type edit struct {
	from, to int // bytes
	with     string
}

// whole replaces a reference in a line of a text.
type whole struct {
	line    int
	ref, by string
}

// split finds the lines, once.
func (t *text) split() {
	if t.lines != nil {
		return
	}
	t.lines = strings.SplitAfter(t.node.Value, "\n")
	at := 0
	for _, l := range t.lines {
		t.start = append(t.start, at)
		at += len(l)
	}
}

// replace gives the edit that makes a scalar another, in the quotes it has. ok is
// false unless the scalar stands in the text as it reads, on one line.
func (t *text) replace(n *scalar, with string) (_ edit, ok bool) {
	t.split()
	if n.Line < 1 || n.Line > len(t.lines) {
		return edit{}, false
	}
	line, at := t.lines[n.Line-1], 0
	for range n.Column - 1 {
		_, size := utf8.DecodeRuneInString(line[at:])
		at += size
	}
	quote, ok := quoteOf(n)
	old := quote + n.Value + quote
	if !ok || !strings.HasPrefix(line[at:], old) {
		return edit{}, false
	}
	if quote == "" && n.ShortTag() != "!!str" { // 1.10 would be read anew
		quote = `"`
	}
	from := t.start[n.Line-1] + at
	return edit{from, from + len(old), quote + with + quote}, true
}

// quoteOf is the quote around a scalar; ok is false for one in a block.
func quoteOf(n *scalar) (quote string, ok bool) {
	switch n.Style &^ yaml.TaggedStyle {
	case yaml.DoubleQuotedStyle:
		return `"`, true
	case yaml.SingleQuotedStyle:
		return `'`, true
	case 0:
		return "", true
	}
	return "", false
}

// write notes that a reference in the text becomes another.
func (t *text) write(s Site, ref string) {
	switch {
	case s.What == Image:
		t.writeWhole(s.at.line, s.Ref, ref)
	case !s.Kept:
		t.writeSpread(s.at.spread, ref)
	}
}

// canWrite says whether a spread reference could be rewritten where it stands.
func (t *text) canWrite(s spread) bool {
	for _, n := range append(slices.Clone(s.names), s.version) {
		if _, ok := t.replace(n, ""); !ok {
			return false
		}
	}
	return true
}

// writeSpread notes the edits that make a spread reference another: all of its
// keys, or none.
func (t *text) writeSpread(s spread, ref string) {
	var edits []edit
	for n, with := range s.valuesFor(ref) {
		one, ok := t.replace(n, with)
		if !ok {
			return
		}
		edits = append(edits, one)
	}
	t.edits = append(t.edits, edits...)
}

// writeWhole notes that a reference in a line becomes another.
func (t *text) writeWhole(line int, ref, by string) {
	t.split()
	if line >= 1 && line <= len(t.lines) {
		t.wholes = append(t.wholes, whole{line, ref, by})
	}
}

// changed is the text with all that was noted.
func (t *text) changed() string {
	source := t.edited()
	if len(t.wholes) == 0 {
		return source
	}
	out := strings.SplitAfter(source, "\n") // as many as before: no edit holds a line end
	done := map[whole]bool{}
	for _, x := range t.wholes {
		if !done[x] && x.line <= len(out) {
			done[x] = true
			out[x.line-1] = replaceWhole(out[x.line-1], x.ref, x.by)
		}
	}
	return strings.Join(out, "")
}

// edited is the text with the edits, which do not overlap.
func (t *text) edited() string {
	slices.SortFunc(t.edits, func(a, b edit) int { return a.from - b.from })
	var b strings.Builder
	at := 0
	for _, x := range t.edits {
		if x.from < at {
			continue // one scalar, reached twice
		}
		b.WriteString(t.node.Value[at:x.from])
		b.WriteString(x.with)
		at = x.to
	}
	b.WriteString(t.node.Value[at:])
	return b.String()
}

// replaceWhole replaces ref in a line wherever it is not part of a longer
// reference.
func replaceWhole(line, ref, by string) string {
	var b strings.Builder
	for {
		i := strings.Index(line, ref)
		if i < 0 {
			b.WriteString(line)
			return b.String()
		}
		end := i + len(ref)
		alone := (i == 0 || !isReferenceByte(line[i-1])) && (end == len(line) || !isReferenceByte(line[end]))
		b.WriteString(line[:i])
		if alone {
			b.WriteString(by)
		} else {
			b.WriteString(ref)
		}
		line = line[end:]
	}
}

// isReferenceByte says whether c can stand in a reference.
func isReferenceByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._/:@-", c) >= 0
}
