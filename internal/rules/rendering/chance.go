package rendering

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/listing"
	"github.com/caisson/caisson/internal/rules/lint"
)

// ErrUnsteady: what a plan cannot list. At install it would be refused every time,
// or could not be told from what was never planned.
var ErrUnsteady = errors.New("a name, or whether it is there at all, is another each time it is rendered")

// maxUnsteady bounds how many objects an error names.
const maxUnsteady = 5

// Plan describes a release from two renderings, the second as if it were later:
// its objects and what chance decides of them. Errors wrap ErrUnsteady.
func Plan(first, second []map[string]any) ([]plan.RenderedObject, error) {
	list, unsteady, err := Describe(first, second)
	if len(unsteady) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrUnsteady, strings.Join(listing.Cut(unsteady, maxUnsteady, ""), ", "))
	}
	return list, err
}

// Chance finds the fields that chance decides and must not: what is installed
// there is never what was planned and checked. It may decide what Secrets and
// ConfigMaps hold (passwords, certificates), the authorities that go with those
// certificates, and annotations that mean nothing to a cluster, such as
// checksums.
func Chance(chart string, list []plan.RenderedObject) []lint.Finding {
	var out []lint.Finding
	for _, o := range list {
		for _, field := range o.Chance {
			if !mayVary(o, field) {
				out = append(out, chanceFinding(chart, o.Ref, field))
			}
		}
	}
	return out
}

func chanceFinding(chart string, of object.Ref, field string) lint.Finding {
	if field == "" {
		field = "the whole"
	}
	return lint.Finding{
		Code: event.CodeChance, Template: chart, Text: of.String() + " " + field,
		What: fmt.Sprintf("%s of %s is another each time the chart is rendered", field, of),
		Why:  "what is installed is then not what was planned and checked",
		Fix:  "give it in the chart's values",
	}
}

// mayVary says whether chance may decide a field, which is a JSON pointer.
func mayVary(o plan.RenderedObject, field string) bool {
	if o.APIVersion == "v1" && (o.Kind == "Secret" || o.Kind == "ConfigMap") && isContent(field) {
		return true
	}
	if strings.HasSuffix(field, "/caBundle") {
		return true
	}
	above, key, _ := cutLast(field)
	return strings.HasSuffix(above, "/metadata/annotations") && isIdleAnnotation(unescapeKey(key))
}

// isContent says whether a field is what a Secret or a ConfigMap holds.
func isContent(field string) bool {
	return slices.ContainsFunc([]string{"/data", "/stringData", "/binaryData"}, func(f string) bool {
		return field == f || strings.HasPrefix(field, f+"/")
	})
}

// cutLast cuts a pointer before its last element.
func cutLast(field string) (above, last string, ok bool) {
	i := strings.LastIndexByte(field, '/')
	if i < 0 {
		return field, "", false
	}
	return field[:i], field[i+1:], true
}

func unescapeKey(key string) string { return strings.NewReplacer("~1", "/", "~0", "~").Replace(key) }

// idleName are names of annotations that make pods restart when their value is
// another, and tell nobody anything else.
var idleName = regexp.MustCompile(`(?i)checksum|hash|digest|timestamp|date|time|restart|roll|revision|nonce|random`)

// isIdleAnnotation says whether no controller is known to act on an annotation:
// it belongs to no domain, or its name says that it is a mark of change. What
// Helm reads never is.
func isIdleAnnotation(key string) bool {
	domain, name, ok := strings.Cut(key, "/")
	switch {
	case strings.HasSuffix(domain, "helm.sh") && ok:
		return false
	case !ok:
		return true
	}
	return !strings.Contains(domain, ".") || idleName.MatchString(name)
}
