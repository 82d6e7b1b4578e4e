package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	orasregistry "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/caisson/caisson/internal/client/fetch"
)

// clientID is what token servers hear that speak OAuth 2.
const clientID = "caisson"

// newAuthClient makes the client that answers a registry's demand for a login,
// for pulling and for pushing. It gives credentials to reg alone.
func newAuthClient(requests *http.Client, keychain authn.Keychain, reg name.Registry) *auth.Client {
	return &auth.Client{
		Client:   requests,
		Header:   http.Header{"User-Agent": {"caisson"}},
		Cache:    auth.NewCache(),
		ClientID: clientID,
		Credential: func(ctx context.Context, hostport string) (auth.Credential, error) {
			return findCredential(ctx, keychain, reg, hostport)
		},
	}
}

// findCredential gives out what the keychain has for reg, to reg alone.
func findCredential(ctx context.Context, k authn.Keychain, reg name.Registry, hostport string) (auth.Credential, error) {
	if hostport != reg.Name() {
		return auth.EmptyCredential, nil
	}
	a, err := authn.Resolve(ctx, k, reg)
	if err != nil {
		return auth.EmptyCredential, fmt.Errorf("reading registry credentials: %w", err)
	}
	c, err := authn.Authorization(ctx, a)
	if err != nil {
		return auth.EmptyCredential, fmt.Errorf("reading registry credentials: %w", err)
	}
	return auth.Credential{Username: c.Username, Password: c.Password, RefreshToken: c.IdentityToken, AccessToken: c.RegistryToken}, nil
}

// logins keeps what is known of the registries that are pulled from: whether
// each wants a login, and the tokens that it gave.
type logins struct {
	base     http.RoundTripper
	keychain authn.Keychain
	mu       sync.Mutex
	entries  map[endpoint]*login // path is empty
}

type login struct {
	mu     sync.Mutex
	client *auth.Client // nil before the registry was asked
}

func newLogins(base http.RoundTripper) *logins {
	return &logins{base: base, keychain: authn.DefaultKeychain, entries: map[endpoint]*login{}}
}

// roundTripper sends requests for reading from e. The first call for a registry
// asks it for the way to log in.
func (l *logins) roundTripper(ctx context.Context, e endpoint) (http.RoundTripper, error) {
	client, err := l.openClient(ctx, endpoint{scheme: e.scheme, host: e.host})
	if err != nil {
		return nil, fmt.Errorf("logging in to registry %s: %w", e.host, plainError(err))
	}
	return authorized{client: client, repository: orasregistry.Reference{Registry: e.host, Repository: e.path}}, nil
}

func (l *logins) openClient(ctx context.Context, e endpoint) (*auth.Client, error) {
	entry := l.loginOf(e)
	entry.mu.Lock()
	defer entry.mu.Unlock()
	if entry.client != nil {
		return entry.client, nil
	}
	reg, err := name.NewRegistry(e.host)
	if err != nil {
		return nil, fmt.Errorf("%w: registry host %q", ErrReference, e.host)
	}
	rt := pinned{scheme: e.scheme, host: e.host, inner: l.base}
	challenge, err := askChallenge(ctx, rt)
	if err != nil {
		return nil, err
	}
	client := newAuthClient(&http.Client{Transport: challenged{pinned: rt, challenge: challenge}, CheckRedirect: fetch.FollowRedirect}, l.keychain, reg)
	client.BlockedRealmPrefixes = slices.Concat(auth.DefaultBlockedRealmPrefixes(), auth.PrivateRealmPrefixes())
	entry.client = client
	return client, nil
}

func (l *logins) loginOf(e endpoint) *login {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entries[e] == nil {
		l.entries[e] = &login{}
	}
	return l.entries[e]
}

// askChallenge asks a registry's API root how to log in; empty: without.
func askChallenge(ctx context.Context, rt pinned) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rt.scheme+"://"+rt.host+"/v2/", nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: rt, CheckRedirect: fetch.FollowRedirect}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxRefusal)
	switch resp.StatusCode {
	case http.StatusOK:
		return "", nil
	case http.StatusUnauthorized:
		return chooseChallenge(resp.Header), nil
	}
	return "", &fetch.StatusError{URL: req.URL.String(), Status: resp.StatusCode}
}

// chooseChallenge prefers tokens where a registry offers several ways.
func chooseChallenge(h http.Header) string {
	offered := h.Values("Www-Authenticate")
	for _, s := range offered {
		if strings.HasPrefix(strings.ToLower(s), "bearer ") {
			return s
		}
	}
	return h.Get("Www-Authenticate")
}

// challenged answers in the registry's place what it is known to refuse: a
// request without a login. It saves one request for each repository.
type challenged struct {
	pinned
	challenge string
}

func (c challenged) RoundTrip(req *http.Request) (*http.Response, error) {
	own := req.URL.Host == c.host && strings.HasPrefix(req.URL.Path, "/v2/")
	if own && c.challenge != "" && req.Header.Get("Authorization") == "" {
		return c.answerUnauthorized(req, http.Header{"Www-Authenticate": {c.challenge}})
	}
	resp, err := c.pinned.RoundTrip(req)
	if err != nil || !own || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	offered := chooseChallenge(resp.Header)
	resp.Header.Set("Www-Authenticate", offered)
	if err := c.checkRealm(offered); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

func (c challenged) answerUnauthorized(req *http.Request, h http.Header) (*http.Response, error) {
	if err := c.checkRealm(c.challenge); err != nil {
		return nil, err
	}
	return &http.Response{
		Status: "401 Unauthorized", StatusCode: http.StatusUnauthorized, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: http.NoBody, Request: req,
	}, nil
}

// checkRealm refuses a token server on another port of a machine that only an
// address inside a network names; package auth refuses other such addresses.
func (c challenged) checkRealm(challenge string) error {
	_, after, ok := strings.Cut(challenge, `realm="`)
	if !ok {
		return nil
	}
	realm, _, _ := strings.Cut(after, `"`)
	u, err := url.Parse(realm)
	if err != nil || u.Host == c.host {
		return nil // package auth refuses what is no URL
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()) {
		return fmt.Errorf("%w: its token server %s", errRedirected, u.Host)
	}
	return nil
}

// authorized sends a repository's requests with what the registry wants to see.
type authorized struct {
	client     *auth.Client
	repository orasregistry.Reference
}

func (a authorized) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := auth.AppendRepositoryScope(req.Context(), a.repository, auth.ActionPull)
	resp, err := a.client.Do(req.WithContext(ctx))
	if err != nil {
		return nil, a.explainRefusal(err)
	}
	return resp, nil
}

// explainRefusal makes a refused login the answer of the upstream that it is.
func (a authorized) explainRefusal(err error) error {
	var token *errcode.ErrorResponse
	switch {
	case errors.As(err, &token):
		refusal := &fetch.StatusError{URL: fetch.Redact(token.URL.String()), Status: token.StatusCode}
		if len(token.Errors) > 0 {
			refusal.Detail = makePrintable(token.Errors.Error())
		}
		return fmt.Errorf("logging in to registry %s: %w", a.repository.Registry, refusal)
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return fmt.Errorf("logging in to registry %s: %w", a.repository.Registry,
			&fetch.StatusError{URL: a.repository.Registry, Status: http.StatusUnauthorized, Detail: "no login is known"})
	}
	return plainError(err)
}
