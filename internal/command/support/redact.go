package support

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// shortest is the least length of a value that is looked for: shorter ones are
// part of every other word.
const shortest = 4

// redactor replaces what must not leave the site.
type redactor struct {
	values   map[string]bool
	replacer *strings.Replacer // of values; nil after a change
}

func newRedactor() *redactor { return &redactor{values: map[string]bool{}} }

// ordinary are values that are no secret wherever they stand.
var ordinary = map[string]bool{"true": true, "false": true, "null": true, "none": true, "default": true}

// learnValue has a value replaced from now on, in each form in which it may appear:
// whole, line by line, encoded, and the strings within it where it is JSON.
func (r *redactor) learnValue(value string) {
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

func (r *redactor) addLeaves(v any) {
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

func (r *redactor) addForm(value string) {
	if len(value) < shortest || ordinary[strings.ToLower(value)] || value == redacted {
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

// redactText replaces in free text.
func (r *redactor) redactText(s string) string {
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
			pairs = append(pairs, v, redacted)
		}
		r.replacer = strings.NewReplacer(pairs...)
	}
	s = r.replacer.Replace(s)
	for _, p := range patterns {
		s = p.ReplaceAllString(s, "${1}"+redacted+"${2}")
	}
	return s
}

// redactTree replaces in the strings of a decoded JSON value.
func (r *redactor) redactTree(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, e := range v {
			v[key] = r.redactTree(e)
		}
	case []any:
		for i, e := range v {
			v[i] = r.redactTree(e)
		}
	case string:
		return r.redactText(v)
	}
	return v
}

// withoutValues keeps the shape of values and none of them.
func withoutValues(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, e := range v {
			out[key] = withoutValues(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = withoutValues(e)
		}
		return out
	case nil:
		return nil
	}
	return redacted
}

// sensitive are keys of charts' values that hold credentials.
var sensitive = regexp.MustCompile(`(?i)pass(word|wd|phrase)?$|secret|token|credential|api[-_]?key|private`)

// learnCredentials learns the values of a chart that its keys call so.
func (r *redactor) learnCredentials(key string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			r.learnCredentials(k, e)
		}
	case []any:
		for _, e := range v {
			r.learnCredentials(key, e)
		}
	case string:
		if sensitive.MatchString(key) {
			r.learnValue(v)
		}
	}
}
