// Package manifests holds the JSON Schemas of the files that people write, and the
// stacks that ship with the program.
//
// It holds embedded files alone, and no logic beyond finding one.
package manifests

import (
	"embed"
	"io/fs"
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

// shipped are the stacks, each with the folder of the files that it names.
//
//go:embed stacks
var shipped embed.FS

// Files are those that shipped stacks name.
func Files() fs.FS {
	files, err := fs.Sub(shipped, "stacks")
	if err != nil {
		return shipped // cannot be: the folder is embedded
	}
	return files
}

// Stack returns the text of a shipped stack.
func Stack(name string) ([]byte, bool) {
	if strings.ContainsAny(name, "/.") {
		return nil, false
	}
	text, err := shipped.ReadFile("stacks/" + name + ".yaml")
	return text, err == nil
}

//go:embed facts/*.yaml
var facts embed.FS

// Facts returns what charts and manifests of a shipped stack were found to bring.
func Facts(name string) ([]byte, bool) {
	if strings.ContainsAny(name, "/.") {
		return nil, false
	}
	text, err := facts.ReadFile("facts/" + name + ".yaml")
	return text, err == nil
}

// Stacks lists the names of the shipped stacks, sorted.
func Stacks() []string {
	found, err := fs.Glob(shipped, "stacks/*.yaml")
	if err != nil {
		return nil
	}
	var names []string
	for _, f := range found {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(f, "stacks/"), ".yaml"))
	}
	return names
}
