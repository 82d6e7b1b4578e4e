package support

import (
	"regexp"

	"github.com/caisson/caisson/internal/rules/redact"
)

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
	return redact.Mark
}

// sensitive are keys of charts' values that hold credentials.
var sensitive = regexp.MustCompile(`(?i)pass(word|wd|phrase)?$|secret|token|credential|api[-_]?key|private`)

// learnCredentials learns the values of a chart that its keys call so.
func learnCredentials(r *redact.Redactor, key string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			learnCredentials(r, k, e)
		}
	case []any:
		for _, e := range v {
			learnCredentials(r, key, e)
		}
	case string:
		if sensitive.MatchString(key) {
			r.Learn(v)
		}
	}
}
