package helm

import (
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/caisson/caisson/internal/rules/document"
)

// spread is a reference over several keys of a mapping: {image, version},
// {repository, image, version}, {repository, tag} or {registry, repository, tag}.
type spread struct {
	ref     string
	keys    []*yaml.Node // of the name, in the order in which they make it
	version *yaml.Node
	host    bool // the first key is for a host alone
}

// spreadOf returns the reference that a mapping of a text spells over several
// keys; ref is "" where there is none.
func spreadOf(n *yaml.Node) spread {
	image, repository := field(n, "image"), field(n, "repository")
	switch {
	case image != nil && repository != nil:
		version := field(n, "version")
		if version == nil || strings.TrimSpace(version.Value) == "" {
			version = field(n, "tag")
		}
		return joined([]*yaml.Node{repository, image}, version)
	case image != nil && text(n, "registry") != "": // how they are joined is not known
		return spread{}
	case image != nil:
		return joined([]*yaml.Node{image}, firstField(n, versionKeys))
	case repository == nil || partsOf(func(key string) string { return text(n, key) }).ref == "":
		return spread{}
	}
	if r := field(n, "registry"); r != nil && strings.TrimSpace(r.Value) != "" {
		s := joined([]*yaml.Node{r, repository}, field(n, "tag"))
		s.host = true
		return s
	}
	return joined([]*yaml.Node{repository}, field(n, "tag"))
}

func joined(names []*yaml.Node, version *yaml.Node) spread {
	if version == nil || strings.TrimSpace(version.Value) == "" {
		return spread{}
	}
	var parts []string
	for _, n := range names {
		parts = append(parts, strings.TrimSpace(n.Value))
	}
	last := parts[len(parts)-1]
	if last == "" || len(names) > 1 && strings.ContainsAny(last, ":@") || len(names) == 1 && strings.ContainsAny(afterHost(last), ":@") {
		return spread{}
	}
	ref := join(strings.Join(parts, "/"), strings.TrimSpace(version.Value))
	if !plausible(ref) {
		return spread{}
	}
	return spread{ref: ref, keys: names, version: version}
}

// field is the scalar that stands under key itself, and is not one that an alias
// leads to.
func field(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if v := n.Content[i+1]; n.Content[i].Value == key && v.Kind == yaml.ScalarNode && v.ShortTag() != "!!null" {
			return v
		}
	}
	return nil
}

func firstField(n *yaml.Node, keys []string) *yaml.Node {
	for _, k := range keys {
		if v := field(n, k); v != nil && strings.TrimSpace(v.Value) != "" {
			return v
		}
	}
	return nil
}

// to gives what each key becomes, so that its reader makes of them the site's
// reference: the name over the keys it was in, and the digest behind the version,
// which is right whether the reader puts a colon before it or, seeing a digest, an
// at sign. nil where site is not pinned or has too few parts.
func (s spread) to(site string) map[*yaml.Node]string {
	name, digest, pinned := strings.Cut(site, "@")
	if !pinned || site == s.ref {
		return nil
	}
	out := map[*yaml.Node]string{s.version: pin(strings.TrimSpace(s.version.Value), digest)}
	if len(s.keys) == 1 {
		out[s.keys[0]] = name
		return out
	}
	cut := strings.LastIndexByte(name, '/')
	if s.host {
		cut = strings.IndexByte(name, '/')
	}
	if cut < 0 {
		return nil
	}
	out[s.keys[0]], out[s.keys[1]] = name[:cut], name[cut+1:]
	return out
}

// pin puts the digest behind a version, or in its place where it is one itself.
func pin(version, digest string) string {
	if strings.HasPrefix(version, "sha256:") {
		return digest
	}
	tag, _, _ := strings.Cut(version, "@")
	return tag + "@" + digest
}

// edit replaces a part of a text.
type edit struct {
	from, to int // bytes
	with     string
}

// editor finds where the scalars of a parsed text stand in it.
type editor struct {
	text  string
	lines []string // with their line ends
	start []int    // of each line
}

func newEditor(source string) *editor {
	e := &editor{text: source, lines: strings.SplitAfter(source, "\n")}
	at := 0
	for _, l := range e.lines {
		e.start = append(e.start, at)
		at += len(l)
	}
	return e
}

// replace gives the edit that makes a scalar another, in the quotes it has. ok is
// false unless the scalar stands in the text as it reads, on one line.
func (e *editor) replace(n *yaml.Node, with string) (_ edit, ok bool) {
	if n.Line < 1 || n.Line > len(e.lines) {
		return edit{}, false
	}
	line, at := e.lines[n.Line-1], 0
	for range n.Column - 1 {
		_, size := utf8.DecodeRuneInString(line[at:])
		at += size
	}
	quote := ""
	switch n.Style &^ yaml.TaggedStyle {
	case yaml.DoubleQuotedStyle:
		quote = `"`
	case yaml.SingleQuotedStyle:
		quote = `'`
	case 0:
	default:
		return edit{}, false
	}
	old := quote + n.Value + quote
	if !strings.HasPrefix(line[at:], old) {
		return edit{}, false
	}
	if quote == "" && n.ShortTag() != "!!str" { // 1.10 would be read anew
		quote = `"`
	}
	from := e.start[n.Line-1] + at
	return edit{from, from + len(old), quote + with + quote}, true
}

// edits gives those that make a spread reference the site's: all of its keys, or
// none and false.
func (e *editor) edits(s spread, site string) ([]edit, bool) {
	values := s.to(site)
	if values == nil {
		return nil, false
	}
	var out []edit
	for n, with := range values {
		one, ok := e.replace(n, with)
		if !ok {
			return nil, false
		}
		out = append(out, one)
	}
	return out, true
}

// can says whether the reference could be rewritten where it stands.
func (e *editor) can(s spread) bool {
	for _, n := range append(slices.Clone(s.keys), s.version) {
		if _, ok := e.replace(n, ""); !ok {
			return false
		}
	}
	return true
}

// apply makes the edits, which do not overlap.
func (e *editor) apply(edits []edit) string {
	slices.SortFunc(edits, func(a, b edit) int { return a.from - b.from })
	var b strings.Builder
	at := 0
	for _, x := range edits {
		if x.from < at {
			continue // one scalar, reached twice
		}
		b.WriteString(e.text[at:x.from])
		b.WriteString(x.with)
		at = x.to
	}
	b.WriteString(e.text[at:])
	return b.String()
}

// spreads replaces the references that a YAML or JSON text spells over several
// keys, where the site has them. Everything else keeps its form.
func (w *rewriter) spreads(source string) string {
	e := newEditor(source)
	var edits []edit
	s := &scanner{nodes: maxNodes, doc: document.Document{Source: source, Line: 1}, lines: true, span: lines{base: 1, depth: 1}}
	s.spread = func(x spread) {
		if site, ok := w.rewrite(x.ref); ok {
			if more, ok := e.edits(x, site); ok {
				edits = append(edits, more...)
			}
		}
	}
	if s.decode(source, &place{index: -1}) != nil || len(edits) == 0 {
		return source
	}
	return e.apply(edits)
}
