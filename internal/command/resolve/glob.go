package resolve

import (
	"strings"
	"unicode/utf8"
)

// matchFile says whether a model file's path matches a pattern, by the rules of
// the hub's own client: Python's fnmatch, where '*' crosses slashes, and a
// pattern that ends in a slash means everything below.
func matchFile(pattern, name string) bool {
	if strings.HasSuffix(pattern, "/") {
		pattern += "*"
	}
	return matchName(pattern, name)
}

// matchName matches in time proportional to len(pattern) × len(name).
func matchName(pattern, name string) bool {
	p, n := 0, 0
	star, mark := -1, 0 // where to go back to
	for n < len(name) {
		_, width := utf8.DecodeRuneInString(name[n:])
		switch next, ok := matchStep(pattern, p, name[n:]); {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case ok:
			p, n = next, n+width
		case star >= 0:
			_, width := utf8.DecodeRuneInString(name[mark:])
			mark += width
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchStep matches one pattern element that is no star against the first character
// of name and returns where the pattern goes on.
func matchStep(pattern string, p int, name string) (next int, ok bool) {
	if p >= len(pattern) {
		return p, false
	}
	c, _ := utf8.DecodeRuneInString(name)
	r, width := utf8.DecodeRuneInString(pattern[p:])
	switch r {
	case '?':
		return p + 1, true
	case '[':
		if end := setEnd(pattern, p); end > 0 {
			return end + 1, inSet(pattern[p+1:end], c)
		}
	}
	return p + width, r == c
}

// setEnd finds the ']' that closes the set opened at p, or 0.
func setEnd(pattern string, p int) int {
	i := p + 1
	if i < len(pattern) && pattern[i] == '!' {
		i++
	}
	if i < len(pattern) && pattern[i] == ']' {
		i++
	}
	if j := strings.IndexByte(pattern[min(i, len(pattern)):], ']'); j >= 0 {
		return i + j
	}
	return 0
}

func inSet(set string, c rune) bool {
	set, negated := strings.CutPrefix(set, "!")
	runes, found := []rune(set), false
	for i := 0; i < len(runes); i++ {
		low, high := runes[i], runes[i]
		if i+2 < len(runes) && runes[i+1] == '-' {
			high = runes[i+2]
			i += 2
		}
		found = found || low <= c && c <= high
	}
	return found != negated
}
