package registry

import "github.com/opencontainers/go-digest"

// Child says that a registry refused an image's index, since not all platforms
// that it lists were carried, and what stands in its place.
type Child struct {
	Reference  string                   `json:"reference"`  // upstream, as in the lock
	Repository string                   `json:"repository"` // below the registry's prefix
	Tag        string                   `json:"tag,omitempty"`
	Index      digest.Digest            `json:"index"`               // refused
	Digest     digest.Digest            `json:"digest"`              // what the tag names instead
	Platform   string                   `json:"platform,omitempty"`  // of Digest
	Platforms  map[string]digest.Digest `json:"platforms,omitempty"` // every platform's manifest in the registry
}
