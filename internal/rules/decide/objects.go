package decide

import (
	"encoding/json"
	"fmt"

	"github.com/caisson/caisson/internal/api/plan"
)

// Tally counts changes by what becomes of the objects.
func Tally(list []plan.ObjectChange) (added, changed, removed int) {
	for _, c := range list {
		switch c.Action {
		case plan.Add:
			added++
		case plan.Change:
			changed++
		case plan.Remove:
			removed++
		}
	}
	return added, changed, removed
}

// FieldChange says how a field changes: "spec.replicas: 2 > 3". The values are
// JSON; an empty one is absent, and where both are they could hold a secret.
func FieldChange(path, before, after string) string {
	if before == "" && after == "" {
		return path + ": (not shown)"
	}
	return fmt.Sprintf("%s: %s > %s", path, jsonText(path, before), jsonText(path, after))
}

func jsonText(path, encoded string) string {
	if encoded == "" {
		return showValue(path, nil)
	}
	var v any
	if json.Unmarshal([]byte(encoded), &v) != nil {
		v = encoded // cut short
	}
	return showValue(path, v)
}
