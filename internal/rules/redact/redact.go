// Package redact takes credentials out of text that leaves its place: values that
// are known to be secret, and what has the look of a secret.
//
// It only replaces. Where secrets come from, and what is written, its callers know.
package redact

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// Mark stands where something was taken out.
const Mark = "[redacted]"

// shortest is the least length of a value that is looked for: shorter ones are
// part of every other word.
const shortest = 4

// Redactor replaces what must not be told. It is not safe for concurrent use.
type Redactor struct {
	values   map[string]bool
	replacer *strings.Replacer // of values; nil after a change
}

// New makes a Redactor that knows no value yet.
func New() *Redactor { return &Redactor{values: map[string]bool{}} }

// ordinary are values that are no secret wherever they stand.
var ordinary = map[string]bool{"true": true, "false": true, "null": true, "none": true, "default": true}

// Learn has a value replaced from now on, in each form in which it may appear:
// whole, line by line, encoded, and the strings within it where it is JSON.
func (r *Redactor) Learn(value string) {
	value = strings.TrimSpace(value)
	r.addForm(value)
	r.addForm(base64.StdEncoding.EncodeToString([]byte(value)))
	r.addForm(base64.RawURLEncoding.EncodeToString([]byte(value)))
	if escaped, err := json.Marshal(value); err == nil {
		r.addForm(strings.Trim(string(escaped), `"`))
	}
	if lines := strings.Split(value, "\n"); len(lines) > 1 {
		for _, line := range lines {
			if line = strings.TrimSpace(line); len(line) >= 16 && !strings.HasPrefix(line, "-----") {
				r.addForm(line)
			}
		}
	}
	var tree any
	if strings.HasPrefix(value, "{") && json.Unmarshal([]byte(value), &tree) == nil {
		r.addLeaves(tree)
	}
}

func (r *Redactor) addLeaves(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			r.addLeaves(e)
		}
	case []any:
		for _, e := range v {
			r.addLeaves(e)
		}
	case string:
		r.addForm(v)
	}
}

func (r *Redactor) addForm(value string) {
	if len(value) < shortest || ordinary[strings.ToLower(value)] || value == Mark {
		return
	}
	r.values[value] = true
	r.replacer = nil
}

// patterns are credentials by their look. The first group stays, and the second.
var patterns = []*regexp.Regexp{
	regexp.MustCompile(`(?i)(authorization:?\s*(?:bearer|basic)\s+)[^\s"',]+`),
	regexp.MustCompile(`(?i)((?:password|passwd|secret|token|api[-_]?key)["']?\s*[=:]\s*["']?)[^\s"',;&]+`),
	regexp.MustCompile(`([a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(@)`),
	regexp.MustCompile(`()eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+`),
}

// Text replaces in free text.
func (r *Redactor) Text(s string) string {
	if r.replacer == nil {
		var pairs []string
		longestFirst := make([]string, 0, len(r.values))
		for v := range r.values {
			longestFirst = append(longestFirst, v)
		}
		slices.SortFunc(longestFirst, func(a, b string) int {
			if len(a) != len(b) {
				return len(b) - len(a)
			}
			return strings.Compare(a, b)
		})
		for _, v := range longestFirst {
			pairs = append(pairs, v, Mark)
		}
		r.replacer = strings.NewReplacer(pairs...)
	}
	s = r.replacer.Replace(s)
	for _, p := range patterns {
		s = p.ReplaceAllString(s, "${1}"+Mark+"${2}")
	}
	return s
}

// Tree replaces in the strings of a decoded JSON value.
func (r *Redactor) Tree(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, e := range v {
			v[key] = r.Tree(e)
		}
	case []any:
		for i, e := range v {
			v[i] = r.Tree(e)
		}
	case string:
		return r.Text(v)
	}
	return v
}
