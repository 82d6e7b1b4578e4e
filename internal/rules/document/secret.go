package document

import (
	"encoding/base64"
	"maps"
	"regexp"
	"slices"
)

// Fault is a field of a Secret that no API server takes.
type Fault struct {
	Field string // "stringData.password"; "data" where the key is no name of a field
	What  string // "is not text"
}

// String reads "stringData.password is not text".
func (f Fault) String() string { return f.Field + " " + f.What }

// IsSecret says whether an object is a Secret of Kubernetes itself.
func IsSecret(object map[string]any) bool {
	return object["kind"] == "Secret" && (object["apiVersion"] == "v1" || object["apiVersion"] == "/v1")
}

// SecretFaults lists the fields of a Secret in which no text stands, and those of
// data that hold no base64. Of values it says nothing.
func SecretFaults(object map[string]any) []Fault {
	var out []Fault
	for _, field := range []string{"data", "stringData"} {
		content, ok := object[field].(map[string]any)
		if !ok && object[field] != nil {
			out = append(out, Fault{field, "is not a mapping"})
		}
		for _, key := range slices.Sorted(maps.Keys(content)) {
			if what := secretFault(field, content[key]); what != "" {
				out = append(out, Fault{SecretField(field, key), what})
			}
		}
	}
	return out
}

func secretFault(field string, value any) string {
	text, ok := value.(string)
	switch {
	case value == nil: // is left out
		return ""
	case !ok:
		return "is not text"
	case field != "data":
		return ""
	}
	if _, err := base64.StdEncoding.DecodeString(text); err != nil {
		return "is not base64"
	}
	return ""
}

// secretKey is what a key of a Secret may be.
var secretKey = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)

// SecretField names a key of a Secret's data or stringData.
func SecretField(field, key string) string {
	if !secretKey.MatchString(key) {
		return field
	}
	return field + "." + key
}
