package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	orasregistry "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/auth"
)

const (
	pushAttempts = 5
	pushBackoff  = 500 * time.Millisecond
	uploadStall  = 2 * time.Minute  // in which the registry takes no byte
	uploadFinish = 15 * time.Minute // from the last byte to the answer: some registries copy blobs then
	shortAnswer  = 2 * time.Minute  // to requests without content
)

// PushOptions are what may be said about pushing. The zero value works.
type PushOptions struct {
	PlainHTTP bool              // without TLS; loopback addresses are, unless RootCAs are given
	RootCAs   *x509.CertPool    // that TLS trusts; default: the system's
	Transport http.RoundTripper // default: as net/http's, with enough connections; RootCAs is not for another
	Keychain  authn.Keychain    // default: the Docker configuration and its helpers
	Attempts  int               // of each request; default 5
	Backoff   time.Duration     // before the second attempt, doubling; default 500 ms
	// Retry hears of each attempt that failed and is followed by another.
	Retry func(what string, attempt int, why error)
}

// Pusher writes into one registry. It is safe for concurrent use.
type Pusher struct {
	scheme, host, prefix string
	client               *auth.Client
	opt                  PushOptions
}

// NewPusher makes a pusher for HOST[:PORT][/PREFIX]; repositories lie below
// PREFIX. Nothing is asked of the registry yet. Errors wrap ErrReference.
func NewPusher(registry string, opt PushOptions) (*Pusher, error) {
	host, prefix, _ := strings.Cut(strings.TrimSuffix(registry, "/"), "/")
	reg, err := name.NewRegistry(host, name.StrictValidation)
	if err != nil || host == "" {
		return nil, fmt.Errorf("%w: registry %q", ErrReference, registry)
	}
	if prefix != "" && !repositoryPath.MatchString(prefix) {
		return nil, fmt.Errorf("%w: prefix %q of a registry", ErrReference, prefix)
	}
	p := &Pusher{scheme: defaultScheme(host), host: host, prefix: prefix, opt: opt.withDefaults()}
	switch {
	case opt.PlainHTTP:
		p.scheme = "http"
	case opt.RootCAs != nil:
		p.scheme = "https"
	}
	p.client = newAuthClient(&http.Client{Transport: p.opt.Transport}, p.opt.Keychain, reg)
	return p, nil
}

func (o PushOptions) withDefaults() PushOptions {
	if o.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 64
		t.WriteBufferSize = 64 << 10
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs}
		o.Transport = t
	}
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	if o.Attempts == 0 {
		o.Attempts = pushAttempts
	}
	if o.Backoff == 0 {
		o.Backoff = pushBackoff
	}
	if o.Retry == nil {
		o.Retry = func(string, int, error) {}
	}
	return o
}

// Address is where repository lies: HOST/PREFIX/REPOSITORY.
func (p *Pusher) Address(repository string) string { return p.host + "/" + p.path(repository) }

func (p *Pusher) path(repository string) string {
	if p.prefix == "" {
		return repository
	}
	return p.prefix + "/" + repository
}

func (p *Pusher) url(repository, kind, reference string) string {
	return endpoint{p.scheme, p.host, p.path(repository)}.url(kind, reference)
}

// withScope says in ctx which rights a request's token needs.
func (p *Pusher) withScope(ctx context.Context, repository string, actions ...string) context.Context {
	return auth.AppendRepositoryScope(ctx, orasregistry.Reference{Registry: p.host, Repository: p.path(repository)}, actions...)
}

// Check asks the registry for its API root, with the credentials there are.
func (p *Pusher) Check(ctx context.Context) error {
	resp, err := p.doRequest(ctx, "asking registry "+p.host, call{method: http.MethodGet, url: p.scheme + "://" + p.host + "/v2/", want: []int{http.StatusOK}})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// ManifestDigest returns the digest that the registry has for a tag or digest,
// empty if it has none.
func (p *Pusher) ManifestDigest(ctx context.Context, repository, reference string) (digest.Digest, error) {
	ctx = p.withScope(ctx, repository, auth.ActionPull, auth.ActionPush)
	resp, err := p.doRequest(ctx, "looking for manifest "+p.Address(repository)+" "+reference, call{
		method: http.MethodHead, url: p.url(repository, "manifests", reference), header: acceptManifests,
		want: []int{http.StatusOK, http.StatusNotFound},
	})
	if err != nil {
		return "", err
	}
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return "", nil
	}
	if d := digest.Digest(resp.Header.Get("Docker-Content-Digest")); d.Validate() == nil {
		return d, nil
	}
	raw, _, err := p.ReadManifest(ctx, repository, reference)
	return digest.FromBytes(raw), err
}

// ReadManifest reads a manifest and its media type. Errors: ErrNotFound.
func (p *Pusher) ReadManifest(ctx context.Context, repository, reference string) ([]byte, string, error) {
	raw, header, err := p.readDocument(ctx, repository, "manifests", reference, acceptManifests)
	return raw, header.Get("Content-Type"), err
}

func (p *Pusher) readDocument(ctx context.Context, repository, kind, reference string, accept http.Header) ([]byte, http.Header, error) {
	ctx = p.withScope(ctx, repository, auth.ActionPull, auth.ActionPush)
	what := "reading " + kind + " " + p.Address(repository) + " " + reference
	resp, err := p.doRequest(ctx, what, call{method: http.MethodGet, url: p.url(repository, kind, reference), header: accept, want: []int{http.StatusOK}})
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxManifest+1))
	if err == nil && len(raw) > MaxManifest {
		err = fmt.Errorf("more than %d bytes", MaxManifest)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", what, err)
	}
	return raw, resp.Header, nil
}

// HasBlob says whether repository has the blob.
func (p *Pusher) HasBlob(ctx context.Context, repository string, dg digest.Digest) (bool, error) {
	ctx = p.withScope(ctx, repository, auth.ActionPull, auth.ActionPush)
	resp, err := p.doRequest(ctx, "looking for blob "+p.Address(repository)+"@"+dg.String(), call{
		method: http.MethodHead, url: p.url(repository, "blobs", dg.String()), want: []int{http.StatusOK, http.StatusNotFound},
	})
	if err != nil {
		return false, err
	}
	return resp.StatusCode == http.StatusOK, resp.Body.Close()
}

// PutManifest writes raw under a tag or its digest. Errors: *RefusedError.
func (p *Pusher) PutManifest(ctx context.Context, repository, reference, mediaType string, raw []byte) error {
	ctx = p.withScope(ctx, repository, auth.ActionPull, auth.ActionPush)
	what := "pushing manifest " + p.Address(repository) + " " + reference
	resp, err := p.doRequest(ctx, what, call{
		method: http.MethodPut, url: p.url(repository, "manifests", reference), header: http.Header{"Content-Type": {mediaType}},
		content: bytesContent(raw), want: []int{http.StatusCreated, http.StatusOK, http.StatusAccepted},
	})
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if d := resp.Header.Get("Docker-Content-Digest"); d != "" && d != digest.FromBytes(raw).String() {
		return fmt.Errorf("%s: %w: it states %s", what, ErrDigest, d)
	}
	return nil
}

// Outcome says what Upload did.
type Outcome int

const (
	Uploaded Outcome = iota // its bytes were sent
	Mounted                 // the registry had it in the other repository
)

// Upload puts a blob into repository: by mounting it from the repository `from`
// (empty: none is known to have it), and by sending it where that is refused.
// open gives the blob's bytes from the start; it is called again for each
// attempt, and its errors are final. The registry takes the blob only if it
// hashes to desc.Digest. Errors: *RefusedError, those of open and of its reader.
func (p *Pusher) Upload(ctx context.Context, repository, from string, desc ocispec.Descriptor, open func() (io.ReadCloser, error)) (Outcome, error) {
	ctx = p.withScope(ctx, repository, auth.ActionPull, auth.ActionPush)
	if from != "" {
		ctx = p.withScope(ctx, from, auth.ActionPull)
	}
	u := &upload{pusher: p, repository: repository, from: from, desc: desc, open: open}
	what := "pushing blob " + p.Address(repository) + "@" + desc.Digest.String()
	err := p.retryAttempts(ctx, what, u.attemptUpload)
	return u.outcome, err
}

// upload is one blob on its way into one repository.
type upload struct {
	pusher     *Pusher
	repository string
	from       string
	desc       ocispec.Descriptor
	open       func() (io.ReadCloser, error)
	outcome    Outcome
	tried      bool
}

func (u *upload) attemptUpload(ctx context.Context) error {
	if u.tried { // the answer may be all that got lost
		if have, err := u.pusher.HasBlob(ctx, u.repository, u.desc.Digest); err != nil || have {
			return err
		}
	}
	u.tried = true
	session, err := u.beginSession(ctx)
	if err != nil || u.outcome == Mounted {
		return err
	}
	return u.sendBlob(ctx, session)
}

// beginSession opens an upload session, or mounts.
func (u *upload) beginSession(ctx context.Context) (*url.URL, error) {
	target, err := url.Parse(u.pusher.url(u.repository, "blobs", "uploads/"))
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	if u.from != "" {
		target.RawQuery = url.Values{"mount": {u.desc.Digest.String()}, "from": {u.pusher.path(u.from)}}.Encode()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, shortAnswer, errStalled)
	defer cancel()
	resp, err := u.pusher.sendOnce(ctx, call{method: http.MethodPost, url: target.String(), want: []int{http.StatusAccepted, http.StatusCreated}})
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusCreated {
		if u.from == "" {
			return nil, backoff.Permanent(errors.New("the registry took a blob that was not sent"))
		}
		u.outcome = Mounted
		return nil, nil
	}
	return u.uploadAddress(target, resp.Header.Get("Location"))
}

// uploadAddress is where the blob's bytes go. A location on the same machine is held
// to the scheme and port in use, since proxies before registries misstate them.
func (u *upload) uploadAddress(base *url.URL, location string) (*url.URL, error) {
	to, err := base.Parse(location)
	if err != nil || location == "" {
		return nil, backoff.Permanent(errors.New("the registry names no place for the blob"))
	}
	if to.Hostname() == base.Hostname() {
		to.Scheme, to.Host = base.Scheme, base.Host
	}
	if to.User != nil || to.Scheme != base.Scheme && to.Scheme != "https" {
		return nil, backoff.Permanent(errRedirected)
	}
	q := to.Query()
	q.Set("digest", u.desc.Digest.String())
	to.RawQuery = q.Encode()
	return to, nil
}

func (u *upload) sendBlob(ctx context.Context, to *url.URL) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	src := &source{open: u.open, size: u.desc.Size, stalled: func() { cancel(errStalled) }}
	resp, err := u.pusher.sendOnce(ctx, call{
		method: http.MethodPut, url: to.String(), header: http.Header{"Content-Type": {"application/octet-stream"}},
		content: src, want: []int{http.StatusCreated},
	})
	if bad := src.stopAlarm(); bad != nil {
		return backoff.Permanent(bad)
	}
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if d := resp.Header.Get("Docker-Content-Digest"); d != "" && d != u.desc.Digest.String() {
		return backoff.Permanent(fmt.Errorf("%w: it states %s", ErrDigest, d))
	}
	u.outcome = Uploaded
	return nil
}
