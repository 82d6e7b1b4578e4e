// Package imageref holds the reference of something in a registry: an image, and
// whatever else has a name of that form, for a chart, a model or a file is
// carried as an OCI artifact too.
//
// What somebody wrote becomes a [Ref] once, by [Parse], where it enters: in a
// stack file, in a rendered object, in a bundle's index. From then on nobody
// takes it apart again. The package never asks a registry.
package imageref

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Ref is a whole reference, HOST[:PORT]/PATH[:TAG][@DIGEST], as Docker and
// containerd read it (grammar of distribution/reference). Like a digest.Digest it
// is a string that can be compared, sorted and written to a file as it is. The
// zero Ref is none. The methods of one that did not come from Parse hold only if
// [Ref.Valid] does.
type Ref string

// MaxLength of a Ref in bytes.
const MaxLength = 4096

var whole = regexp.MustCompile(`^[a-z0-9][-._a-zA-Z0-9]*(:[0-9]{1,5})?(/[a-z0-9]+([-._a-z0-9]*[a-z0-9])?)+` +
	`(:[A-Za-z0-9_][-._A-Za-z0-9]{0,127})?(@sha256:[0-9a-f]{64})?$`)

// Parse returns the whole form of a reference as somebody wrote it: host and path
// of Docker Hub where they are left out, the tag latest where there is neither
// tag nor digest. Digests are sha256. A host in upper case is refused: a container
// runtime looks for its mirror by the name as it is written. What Parse returns is
// valid.
func Parse(written string) (Ref, error) {
	named, err := reference.ParseNormalizedNamed(written)
	if err != nil {
		return "", fmt.Errorf("reading image reference %q: %w", written, err)
	}
	if strings.HasPrefix(named.Name(), "[") {
		return "", fmt.Errorf("reading image reference %q: an IPv6 address is not a registry name", written)
	}
	if d, ok := named.(reference.Digested); ok && d.Digest().Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("reading image reference %q: digest is not sha256", written)
	}
	if host := reference.Domain(named); host != strings.ToLower(host) {
		return "", fmt.Errorf("reading image reference %q: its host must be written in lower case: %q", written, strings.ToLower(host))
	}
	ref := Ref(reference.TagNameOnly(named).String())
	if !ref.Valid() {
		return "", fmt.Errorf("reading image reference %.200q: it is not HOST[:PORT]/PATH[:TAG][@DIGEST] in at most %d bytes", written, MaxLength)
	}
	return ref, nil
}

// Valid says whether r is a whole reference.
func (r Ref) Valid() bool { return len(r) <= MaxLength && whole.MatchString(string(r)) }

func (r Ref) String() string { return string(r) }

// Repository is r without tag and digest: HOST[:PORT]/PATH.
func (r Ref) Repository() string {
	tagged := string(r.Tagged())
	if i := tagColon(tagged); i >= 0 {
		return tagged[:i]
	}
	return tagged
}

// Host is the registry's: HOST[:PORT].
func (r Ref) Host() string {
	host, _, _ := strings.Cut(r.Repository(), "/")
	return host
}

// Name is the last element of the repository.
func (r Ref) Name() string {
	repository := r.Repository()
	return repository[strings.LastIndexByte(repository, '/')+1:]
}

// Tag is the tag, or "".
func (r Ref) Tag() string {
	tagged := string(r.Tagged())
	if i := tagColon(tagged); i >= 0 {
		return tagged[i+1:]
	}
	return ""
}

// tagColon is where the tag begins in a reference without digest, or -1: a colon
// before the last slash is a port's.
func tagColon(tagged string) int {
	if i := strings.LastIndexByte(tagged, ':'); i > strings.LastIndexByte(tagged, '/') {
		return i
	}
	return -1
}

// Digest is the digest that the reference names, or "".
func (r Ref) Digest() digest.Digest {
	_, dg, _ := strings.Cut(string(r), "@")
	return digest.Digest(dg)
}

// Tagged is r without its digest.
func (r Ref) Tagged() Ref {
	tagged, _, _ := strings.Cut(string(r), "@")
	return Ref(tagged)
}

// At is one manifest of r's repository: REPOSITORY@DIGEST.
func (r Ref) At(dg digest.Digest) Ref { return Ref(r.Repository() + "@" + dg.String()) }

// WithTag is the tag of r's repository: REPOSITORY:TAG.
func (r Ref) WithTag(tag string) Ref { return Ref(r.Repository() + ":" + tag) }

// SitePath is where r's repository lies below a site registry, see [SitePath].
func (r Ref) SitePath() string { return SitePath(r.Repository()) }

// SitePath is where an upstream repository, HOST[:PORT]/PATH, lies below a site
// registry: its whole name, host included, with the colon of a port as '_'. Host
// names hold no '_', so two upstream repositories never share a path.
func SitePath(repository string) string {
	return strings.ToLower(strings.ReplaceAll(repository, ":", "_"))
}
