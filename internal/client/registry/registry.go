// Package registry speaks the OCI distribution protocol: it pulls manifests and
// blobs from upstream registries and pushes them into a site's own. It is the
// only importer of go-containerregistry and oras.
//
// What it returns is checked against the digest that was asked for. It never
// follows the urls of a descriptor, never sends one registry's credentials to
// another host, and never falls back from TLS to plain HTTP.
package registry

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

// MaxManifest bounds a manifest, an index, and every blob that is read whole.
const MaxManifest = 4 << 20

// Sentinels of what a registry can answer.
var (
	ErrNotFound   = errors.New("the registry does not have it")
	ErrDigest     = errors.New("the registry sent other content than the digest names")
	ErrAmbiguous  = errors.New("the manifest can be read in two ways")
	ErrMediaType  = errors.New("not a manifest or index that can be carried")
	ErrReference  = errors.New("malformed reference")
	errRedirected = errors.New("the registry redirects its API to another host")
)

// endpoint is where a repository lives: scheme, host with port, and the
// repository's path on that host.
type endpoint struct {
	scheme, host, path string
}

func (e endpoint) url(kind, reference string) string {
	return e.scheme + "://" + e.host + "/v2/" + e.path + "/" + kind + "/" + reference
}

// repositoryPath is the name grammar of the distribution specification.
var repositoryPath = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// parseEndpoint reads HOST/PATH or SCHEME://HOST/PATH. Without a scheme it is
// https, or http on this machine.
func parseEndpoint(s string) (endpoint, error) {
	if !strings.Contains(s, "://") {
		host, _, _ := strings.Cut(s, "/")
		s = defaultScheme(host) + "://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Host == "" {
		return endpoint{}, fmt.Errorf("%w: repository address", ErrReference)
	}
	e := endpoint{scheme: u.Scheme, host: u.Host, path: strings.Trim(u.Path, "/")}
	if e.scheme != "http" && e.scheme != "https" {
		return endpoint{}, fmt.Errorf("%w: scheme %q of a registry", ErrReference, e.scheme)
	}
	if !repositoryPath.MatchString(e.path) || len(e.path) > 255 {
		return endpoint{}, fmt.Errorf("%w: repository %q", ErrReference, e.path)
	}
	return e, nil
}

func defaultScheme(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if ip := net.ParseIP(strings.Trim(host, "[]")); host == "localhost" || ip != nil && ip.IsLoopback() {
		return "http"
	}
	return "https"
}

// checkDigest accepts sha256 alone: it becomes a path and a file name.
func checkDigest(dg digest.Digest) (digest.Digest, error) {
	if err := dg.Validate(); err != nil || dg.Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("%w: digest %q", ErrReference, string(dg))
	}
	return dg, nil
}

// pinned keeps requests to one registry on one scheme: what was configured as
// plain HTTP is never tried over TLS, and what was not is never sent in the
// clear. It also keeps the registry from moving its API root, and with it the
// place credentials go to, to another host.
type pinned struct {
	scheme, host string
	inner        http.RoundTripper
}

func (p pinned) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != p.host {
		return p.inner.RoundTrip(req)
	}
	if req.URL.Scheme != p.scheme {
		if p.scheme == "https" {
			return nil, fmt.Errorf("registry %s: refusing plain HTTP", p.host)
		}
		req = req.Clone(req.Context())
		req.URL.Scheme = p.scheme
	}
	resp, err := p.inner.RoundTrip(req)
	if err == nil && req.URL.Path == "/v2/" && movesAway(resp, p.host) {
		_ = resp.Body.Close()
		return nil, errRedirected
	}
	return resp, err
}

func movesAway(resp *http.Response, host string) bool {
	if resp.StatusCode < 300 || resp.StatusCode > 399 {
		return false
	}
	to, err := resp.Location()
	return err != nil || to.Host != host
}

// plainError drops the URL that net/http repeats in its errors: a token
// request's query is nobody's business.
func plainError(err error) error {
	var wrapped *url.Error
	for errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return err
}
