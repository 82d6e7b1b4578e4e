package helm

import (
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/rules/document"
)

// text replaces what a string under key names, where the site has it.
func (w *rewriter) text(key, s string) string {
	trimmed := strings.TrimSpace(s)
	switch {
	case len(trimmed) > maxRef || strings.ContainsAny(trimmed, "\n{["):
		return w.document(s)
	case completeReference.MatchString(trimmed), namesImage(key):
		return w.known(s)
	}
	if flag, ref, ok := strings.Cut(s, "="); ok && strings.HasPrefix(flag, "-") && completeReference.MatchString(ref) {
		return flag + "=" + w.known(ref)
	}
	return s
}

// parts handles a reference over repository and tag. The tag stays, with the
// digest behind it: NAME:TAG@DIGEST is what an operator then makes of both.
func (w *rewriter) parts(m map[string]any) {
	p := partsOf(func(key string) string { s, _ := m[key].(string); return strings.TrimSpace(s) })
	if p.ref == "" {
		return
	}
	site, ok := w.rewrite(p.ref)
	name, digest, pinned := strings.Cut(site, "@")
	host, path, split := strings.Cut(name, "/")
	if !ok || !pinned || !split {
		return
	}
	m["repository"], m["tag"] = name, p.tag+"@"+digest
	if p.registry != "" {
		m["registry"], m["repository"] = host, path
	}
}

// document replaces the references in YAML or JSON inside a string, each on the
// line where it was found and only whole, and those over several keys, each key
// by itself. Nothing else of the text changes.
func (w *rewriter) document(source string) string {
	if !embedded(source) {
		return source
	}
	source = w.spreads(source)
	s := &scanner{nodes: maxNodes, doc: document.Document{Source: source, Line: 1}, lines: true, span: lines{base: 1, depth: 1}}
	if err := s.decode(source, &place{index: -1}); err != nil {
		s.found = nil
		s.textLines(source, &place{index: -1})
	}
	found := slices.DeleteFunc(s.found, func(f FoundImage) bool { return f.Joined })
	if len(found) == 0 {
		return source
	}
	return w.replace(source, found)
}

func (w *rewriter) replace(source string, found []FoundImage) string {
	out := strings.SplitAfter(source, "\n")
	done := map[FoundImage]bool{}
	for _, f := range found {
		f.Path = ""
		site, ok := w.rewrite(f.Ref)
		if !ok || done[f] || f.Line < 1 || f.Line > len(out) || site == f.Ref {
			continue
		}
		done[f] = true
		out[f.Line-1] = replaceWhole(out[f.Line-1], f.Ref, site)
	}
	return strings.Join(out, "")
}

// replaceWhole replaces ref in a line wherever it is not part of a longer
// reference.
func replaceWhole(line, ref, site string) string {
	var b strings.Builder
	for {
		i := strings.Index(line, ref)
		if i < 0 {
			b.WriteString(line)
			return b.String()
		}
		end := i + len(ref)
		alone := (i == 0 || !referenceByte(line[i-1])) && (end == len(line) || !referenceByte(line[end]))
		b.WriteString(line[:i])
		if alone {
			b.WriteString(site)
		} else {
			b.WriteString(ref)
		}
		line = line[end:]
	}
}

// referenceByte says whether c can stand in a reference.
func referenceByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._/:@-", c) >= 0
}
