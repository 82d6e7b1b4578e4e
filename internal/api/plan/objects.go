package plan

import (
	"encoding/json"
	"fmt"
)

// What becomes of an object.
const (
	Add    = "add"
	Change = "change"
	Remove = "remove"
)

// ObjectChange is what becomes of one object. It is there for people: installing
// goes by charts, values and what is really there.
type ObjectChange struct {
	Object string   `json:"object"` // Deployment web/front
	Action string   `json:"action"`
	Fields []string `json:"fields,omitempty"` // of a change: "spec.replicas: 2 > 3"; secrets not shown
}

// Tally counts changes by what becomes of the objects.
func Tally(list []ObjectChange) (added, changed, removed int) {
	for _, c := range list {
		switch c.Action {
		case Add:
			added++
		case Change:
			changed++
		case Remove:
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
		return text(path, nil)
	}
	var v any
	if json.Unmarshal([]byte(encoded), &v) != nil {
		v = encoded // cut short
	}
	return text(path, v)
}
