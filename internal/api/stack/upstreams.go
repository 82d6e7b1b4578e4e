package stack

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/caisson/caisson/internal/api/yamlfile"
)

// Upstreams says which mirrors stand for which upstreams.
type Upstreams struct {
	// APIVersion is caisson.dev/v1alpha1.
	APIVersion string `yaml:"apiVersion" jsonschema:"required,enum=caisson.dev/v1alpha1"`
	// Kind is Upstreams.
	Kind string `yaml:"kind" jsonschema:"required,enum=Upstreams"`
	// Rewrites are tried longest From first.
	Rewrites []Rewrite `yaml:"rewrites" jsonschema:"required"`
}

// Rewrite replaces the beginning of an upstream's name.
type Rewrite struct {
	// From is a host, a host and path, or the beginning of a URL:
	// ghcr.io, ghcr.io/acme, https://huggingface.co.
	From string `yaml:"from" jsonschema:"required,minLength=1,example=ghcr.io"`
	// To takes its place: a host and path, or a URL.
	To string `yaml:"to" jsonschema:"required,minLength=1,example=https://mirror.example/ghcr.io"`
}

// ReadUpstreams reads the Upstreams document of the file at path and checks
// it; errors are as ReadStack's.
func ReadUpstreams(path string) (*Upstreams, error) {
	doc, err := yamlfile.ReadFile(path, KindUpstreams, yamlfile.MaxBytes)
	if err != nil {
		return nil, err
	}
	return decodeUpstreams(doc)
}

// ParseUpstreams is ReadUpstreams for bytes; name stands for the file in
// messages.
func ParseUpstreams(name string, data []byte) (*Upstreams, error) {
	doc, err := yamlfile.Parse(name, data, KindUpstreams)
	if err != nil {
		return nil, err
	}
	return decodeUpstreams(doc)
}

func decodeUpstreams(doc *yamlfile.Document) (*Upstreams, error) {
	var u Upstreams
	doc.Decode(&u)
	seen := map[string]int{}
	for i, r := range u.Rewrites {
		at := fmt.Sprintf("rewrites[%d]", i)
		checkRewrite(doc, at, r)
		if first, dup := seen[r.From]; dup && r.From != "" {
			doc.Problemf(at+".from", "%q is already in rewrites[%d]", r.From, first)
		}
		seen[r.From] = i
	}
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return &u, nil
}

func checkRewrite(doc *yamlfile.Document, at string, r Rewrite) {
	for field, s := range map[string]string{at + ".from": r.From, at + ".to": r.To} {
		switch {
		case s == "":
			doc.Missing(field)
		case !isPlace(s):
			doc.Problemf(field, "%q is not a host, a host and path, or an http or https URL", s)
		case strings.Contains(s, "@"):
			doc.Problemf(field, "holds a user name or password; put them in ~/.netrc or the Docker config")
		}
	}
}

// isPlace accepts HOST[:PORT][/PATH] with or without http:// or https://.
func isPlace(s string) bool {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") &&
		u.RawQuery == "" && u.Fragment == "" && !strings.ContainsAny(s, " \\")
}

// Rewrite returns what stands for an upstream: a registry or repository name
// such as ghcr.io/acme/web, or a URL. The longest From that ends at a boundary
// of a path wins; one without a scheme applies to names and to URLs of its host
// alike, one with a scheme to URLs only and before an equal one without. The
// result is a URL where To is one, else a name where s is one. A nil receiver
// rewrites nothing.
func (u *Upstreams) Rewrite(s string) (string, bool) {
	if u == nil {
		return s, false
	}
	in := parseUpstreamName(s)
	best, length := Rewrite{}, -1
	for _, r := range u.Rewrites {
		if n := parseUpstreamName(r.From).prefixRank(in); n > length {
			best, length = r, n
		}
	}
	if length < 0 {
		return s, false
	}
	from := parseUpstreamName(best.From)
	to := strings.TrimSuffix(best.To, "/")
	if !strings.Contains(to, "://") && in.scheme != "" {
		to = in.scheme + "://" + to
	}
	return to + in.rest[len(from.rest):], true
}

// upstreamName is a parsed name of an upstream, its host in lower case.
type upstreamName struct {
	scheme string // http, https or empty
	rest   string // host, port and path
}

func parseUpstreamName(s string) upstreamName {
	s = strings.TrimPrefix(s, "oci://")
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	}
	rest = strings.TrimSuffix(rest, "/")
	host, path, slash := strings.Cut(rest, "/")
	rest = strings.ToLower(host)
	if slash {
		rest += "/" + path
	}
	return upstreamName{scheme: strings.ToLower(scheme), rest: rest}
}

// prefixRank says how exact a prefix p is of in: -1 where it is none, and the
// longer the prefix the greater.
func (p upstreamName) prefixRank(in upstreamName) int {
	if p.scheme != "" && p.scheme != in.scheme {
		return -1
	}
	tail, ok := strings.CutPrefix(in.rest, p.rest)
	if !ok || (tail != "" && tail[0] != '/' && tail[0] != '?') {
		return -1
	}
	if p.scheme != "" {
		return 2*len(p.rest) + 1
	}
	return 2 * len(p.rest)
}
