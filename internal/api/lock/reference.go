package lock

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// NormalizeImage returns the whole form of an image reference, as Docker reads
// it: registry host, full repository, tag, digest. A reference with neither tag
// nor digest gets the tag latest. Digests are sha256.
func NormalizeImage(s string) (string, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return "", fmt.Errorf("reading image reference %q: %w", s, err)
	}
	if strings.HasPrefix(named.Name(), "[") {
		return "", fmt.Errorf("reading image reference %q: an IPv6 address is not a registry name", s)
	}
	if d, ok := named.(reference.Digested); ok && d.Digest().Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("reading image reference %q: digest is not sha256", s)
	}
	return reference.TagNameOnly(named).String(), nil
}

// SplitReference takes a whole reference apart: the repository with its host,
// the tag and the digest, either of which may be empty.
func SplitReference(ref string) (repository, tag string, dg digest.Digest) {
	repository, d, _ := strings.Cut(ref, "@")
	slash := strings.LastIndexByte(repository, '/')
	if i := strings.LastIndexByte(repository, ':'); i > slash {
		repository, tag = repository[:i], repository[i+1:]
	}
	return repository, tag, digest.Digest(d)
}

// RepositoryPath is where the repository of an upstream reference lies below a
// site registry: the whole upstream name, host included, with the colon of a
// port as '_'. Tag and digest are dropped. Host names hold no '_', so two
// upstream repositories never share a path.
func RepositoryPath(ref string) string {
	repository, _, _ := SplitReference(ref)
	return strings.ToLower(strings.ReplaceAll(repository, ":", "_"))
}
