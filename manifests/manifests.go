// Package manifests holds the JSON Schemas of the files that people write. The
// stack definitions that ship with the program belong here too.
//
// It holds embedded files alone, and no logic beyond finding one.
package manifests

import (
	"embed"
	"strings"
)

//go:embed schema/*.schema.json
var schemas embed.FS

// Schema returns the JSON Schema of a kind in lower case, such as stack.
func Schema(kind string) ([]byte, bool) {
	if strings.ContainsAny(kind, "/.") {
		return nil, false
	}
	text, err := schemas.ReadFile("schema/" + kind + ".schema.json")
	return text, err == nil
}

// Kinds lists the kinds that have a schema, sorted.
func Kinds() []string {
	entries, err := schemas.ReadDir("schema")
	if err != nil {
		return nil
	}
	var kinds []string
	for _, e := range entries {
		kinds = append(kinds, strings.TrimSuffix(e.Name(), ".schema.json"))
	}
	return kinds
}
