package decide

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/listing"
)

// compareRelease says what of a release changes.
func compareRelease(r *plan.Release, f ReleaseFact) {
	for _, c := range []struct {
		name       string
		there, now string
	}{{"chart", f.Chart, plan.Mark(r.ChartDigest)}, {"values", f.Values, plan.Mark(r.ValuesDigest)}, {"images", f.Images, plan.Mark(r.ImagesDigest)}} {
		if c.there != c.now {
			r.Changes = append(r.Changes, c.name)
		}
	}
	if f.Status != "deployed" {
		r.Changes = append(r.Changes, "it is "+f.Status)
	}
	if f.Current != nil && slices.Contains(r.Changes, "values") {
		r.Differences = Differences(f.Current, r.Values)
	}
}

// Bounds of what is said of changed values.
const (
	maxDifferences = 200
	maxValue       = 60 // characters
)

// secretKey matches the names of values that nobody should read over a
// shoulder.
var secretKey = regexp.MustCompile(`(?i)(password|passwd|secret|token|credential|private|apikey|api_key|accesskey|dockerconfig|\.?key$)`)

// secretWord matches them inside of lists and texts.
var secretWord = regexp.MustCompile(`(?i)(password|passwd|secret|token|credential|private.?key|api.?key)`)

// Differences says value by value how after differs from before, sorted:
// "web.replicas: 2 > 3". What bears the name of a secret is not shown.
func Differences(before, after map[string]any) []string {
	var out []string
	appendDifferences("", plainJSON(before), plainJSON(after), &out)
	return listing.Cut(out, maxDifferences, "and ")
}

// plainJSON is v as JSON knows it, so that 2 and 2.0 are one.
func plainJSON(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return v
	}
	var out any
	_ = json.Unmarshal(b, &out)
	return out
}

func appendDifferences(path string, before, after any, out *[]string) {
	a, inA := before.(map[string]any)
	b, inB := after.(map[string]any)
	if !(inA || before == nil) || !(inB || after == nil) || (before == nil && after == nil) {
		if showValue(path, before) != showValue(path, after) || encodeJSON(before) != encodeJSON(after) {
			*out = append(*out, fmt.Sprintf("%s: %s > %s", path, showValue(path, before), showValue(path, after)))
		}
		return
	}
	keys := maps.Clone(a)
	if keys == nil {
		keys = map[string]any{}
	}
	maps.Copy(keys, b)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		at := k
		if path != "" {
			at = path + "." + k
		}
		appendDifferences(at, a[k], b[k], out)
	}
}

func encodeJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// showValue is a value for people: short, and nothing of a secret.
func showValue(path string, v any) string {
	switch {
	case v == nil:
		return "(not set)"
	case secretKey.MatchString(path), secretWord.MatchString(encodeJSON(v)):
		return "(not shown)"
	}
	s := []rune(encodeJSON(v))
	if len(s) > maxValue {
		return string(s[:maxValue-3]) + "..."
	}
	return string(s)
}
