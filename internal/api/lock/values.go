package lock

import (
	"maps"
	"math"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// MarshalYAML writes the release so that every text of its values comes back as
// it went in.
func (r Release) MarshalYAML() (any, error) {
	type plain Release
	out := plain(r)
	if len(r.Values) > 0 {
		out.Values = quoteValue(r.Values).(map[string]any)
	}
	return out, nil
}

// MergeValues lays over on top of base, as Helm lays one values file over
// another: maps merge, everything else replaces. A null stays a null, by which
// Helm deletes the chart's default. Neither argument is changed; the result may
// share parts with both.
func MergeValues(base, over map[string]any) map[string]any {
	if len(over) == 0 {
		return base
	}
	out := make(map[string]any, len(base)+len(over))
	maps.Copy(out, base)
	for k, v := range over {
		below, both := out[k].(map[string]any)
		if m, ok := v.(map[string]any); ok && both {
			v = MergeValues(below, m)
		}
		out[k] = v
	}
	return out
}

// quoteValue copies a value, with text in double quotes that a YAML block would
// change: text with control characters, or with white space where YAML looks for
// indentation.
func quoteValue(v any) any {
	switch x := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(x))
		for k, e := range x {
			m[k] = quoteValue(e)
		}
		return m
	case []any:
		s := make([]any, len(x))
		for i, e := range x {
			s[i] = quoteValue(e)
		}
		return s
	case string:
		if !blockSafe(x) {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: x, Style: yaml.DoubleQuotedStyle}
		}
	}
	return v
}

func blockSafe(s string) bool {
	if !strings.ContainsFunc(s, needsQuotes) {
		return true
	}
	if s[0] == ' ' || s[0] == '\n' {
		return false
	}
	for line := range strings.SplitSeq(s, "\n") {
		if strings.ContainsFunc(line, needsQuotes) || strings.HasSuffix(line, " ") {
			return false
		}
	}
	return true
}

// needsQuotes is true of what YAML may escape, fold or take for the end of a line.
func needsQuotes(r rune) bool { return r != ' ' && !unicode.IsGraphic(r) }

// plainKeys says whether no key of a value, at any depth, is odd.
func plainKeys(v any) bool {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			if strings.ContainsFunc(k, needsQuotes) || !plainKeys(e) {
				return false
			}
		}
	case []any:
		for _, e := range x {
			if !plainKeys(e) {
				return false
			}
		}
	}
	return true
}

// WholeNumbers makes each whole number among values an int64, in place, so that writing
// and reading them again leaves them unchanged.
func WholeNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = WholeNumbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = WholeNumbers(e)
		}
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
	}
	return v
}
