// Package hub reads model repositories of a Hugging Face compatible hub: the
// commit a revision stands for, and the size and hash of every file at that
// commit.
//
// It speaks the hub's JSON API and says where files lie. It never downloads a
// model file, and sends the hub's token to no host but the hub's.
package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/caisson/caisson/internal/client/fetch"
)

// Endpoint is the hub every repository is named under; upstream rewrites may
// lead elsewhere.
const Endpoint = "https://huggingface.co"

// Bounds of what a hub may answer.
const (
	maxAnswer = 32 << 20 // one JSON document
	maxPages  = 2000     // of one tree listing
	maxFiles  = 200_000
)

// Errors a hub's answers stand for.
var (
	ErrNotFound = errors.New("not on the hub")
	ErrGated    = errors.New("access to the repository must be granted first")
	ErrDenied   = errors.New("the hub asks for a token, or refuses the one given")
	ErrAnswer   = errors.New("the hub's answer makes no sense")
)

// Upstream is how the hub is reached; *fetch.Client is one.
type Upstream interface {
	URL(upstream string) string // after the operator's rewrites
	Transport() http.RoundTripper
	Read(ctx context.Context, r fetch.Request, max int64) ([]byte, http.Header, error)
}

// Options of a Client. The zero value is anonymous.
type Options struct {
	Token string // sent to the hub's host alone, over TLS or to loopback
}

// Client asks one hub. It is safe for concurrent use.
type Client struct {
	upstream Upstream
	base     *url.URL // the endpoint after rewriting
	token    string
}

// New returns a client of the hub at Endpoint, as u rewrites it.
func New(u Upstream, opt Options) (*Client, error) {
	base, err := url.Parse(strings.TrimSuffix(u.URL(Endpoint), "/"))
	if err != nil || base.Host == "" {
		return nil, errors.New("reading the hub's address: the upstream rewrite is not a URL")
	}
	c := &Client{upstream: u, base: base, token: opt.Token}
	if !isPrivate(base) {
		c.token = ""
	}
	return c, nil
}

// HasToken says whether the hub is shown a token.
func (c *Client) HasToken() bool { return c.token != "" }

// isPrivate says whether a token sent there stays between the two ends.
func isPrivate(u *url.URL) bool {
	host := u.Hostname()
	ip := net.ParseIP(host)
	return u.Scheme == "https" || host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *Client) isHome(u *url.URL) bool {
	return u.Scheme == c.base.Scheme && u.Host == c.base.Host
}

// Header is what a request for a file of the hub must carry besides its URL;
// send it to FileURL and drop Authorization on a redirect to another host.
func (c *Client) Header() http.Header {
	h := http.Header{}
	if c.token != "" {
		h.Set("Authorization", "Bearer "+c.token)
	}
	return h
}

// Request asks for a file of a repository at a commit. The hub's refusals, at its
// own host, are this package's errors.
func (c *Client) Request(repository, commit string, f File) fetch.Request {
	return c.RequestURL(FileURL(repository, commit, f.Path), f.Size, repository+"/"+f.Path)
}

// RequestURL asks for content of size bytes at an upstream address, of the hub or
// of another host; only the hub is shown the token. Errors and events call it
// item.
func (c *Client) RequestURL(address string, size int64, item string) fetch.Request {
	r := fetch.Request{URL: address, Size: size, Item: item}
	if strings.HasPrefix(address, Endpoint+"/") {
		page, _, _ := strings.Cut(address, "/resolve/")
		r.Header, r.RoundTripper = c.Header(), gate{c, page}
	}
	return r
}

// gate turns what the hub says to who may not read a file into ErrGated or
// ErrDenied. Everything else, redirects included, passes as it is.
type gate struct {
	client *Client
	page   string // of the model, where people ask to be let in
}

func (g gate) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := g.client.upstream.Transport().RoundTrip(req)
	if err != nil || !g.client.isHome(req.URL) {
		return res, err
	}
	refused := res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden
	kind := g.client.refusalOf(req, res)
	if !refused || kind == nil {
		return res, nil
	}
	if kind == ErrGated {
		kind = g.explain()
	}
	res.Body.Close()
	return nil, fmt.Errorf("%w: %w", kind, &fetch.StatusError{
		URL: fetch.Redact(req.URL.String()), Status: res.StatusCode, Detail: errorCode(res.Header),
	})
}

// explain is ErrGated with the page to go to.
func (g gate) explain() error {
	if g.client.token == "" {
		return fmt.Errorf("%w, and no token was given: %s", ErrGated, g.page)
	}
	return fmt.Errorf("%w: %s", ErrGated, g.page)
}

// FileURL is the upstream address (before rewriting) of a file at a commit.
func FileURL(repository, commit, path string) string {
	return Endpoint + "/" + escapePath(repository) + "/resolve/" + url.PathEscape(commit) + "/" + escapePath(path)
}

// escapePath quotes each segment of a slash-separated path.
func escapePath(p string) string {
	parts := strings.Split(p, "/")
	for i, s := range parts {
		parts[i] = url.PathEscape(s)
	}
	return strings.Join(parts, "/")
}

// getJSON fetches one JSON document into v and returns the next page's URL, if any.
func (c *Client) getJSON(ctx context.Context, at *url.URL, v any) (*url.URL, error) {
	h := c.Header()
	h.Set("Accept", "application/json")
	body, answer, err := c.upstream.Read(ctx, fetch.Request{
		URL: at.String(), Direct: true, Header: h, Size: -1, RoundTripper: guard{c},
	}, maxAnswer)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrAnswer, err)
	}
	return c.nextPage(at, answer)
}

// guard turns the hub's refusals into this package's errors, and keeps API
// requests on the hub's own host.
type guard struct{ client *Client }

func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := g.client.upstream.Transport().RoundTrip(req)
	if err != nil {
		return nil, err
	}
	kind := g.client.refusalOf(req, res)
	if kind == nil {
		return res, nil
	}
	res.Body.Close()
	return nil, fmt.Errorf("%w: %w", kind, &fetch.StatusError{
		URL: fetch.Redact(req.URL.String()), Status: res.StatusCode, Detail: errorCode(res.Header),
	})
}

// refusalOf is the sentinel an answer stands for, nil for an answer to go on
// with. The hub's own code decides where there is one: the hub answers 401 for
// what does not exist, too.
func (c *Client) refusalOf(req *http.Request, res *http.Response) error {
	switch errorCode(res.Header) {
	case "GatedRepo":
		return ErrGated
	case "RepoNotFound", "RevisionNotFound", "EntryNotFound":
		return ErrNotFound
	}
	switch {
	case res.StatusCode == http.StatusNotFound:
		return ErrNotFound
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden:
		return ErrDenied
	case res.StatusCode/100 == 3:
		if to, err := req.URL.Parse(res.Header.Get("Location")); err != nil || !c.isHome(to) {
			return fmt.Errorf("%w: a redirect to another host", ErrAnswer)
		}
	}
	return nil
}

var errorCodePattern = regexp.MustCompile(`^[A-Za-z]{1,40}$`)

func errorCode(h http.Header) string {
	if code := h.Get("X-Error-Code"); errorCodePattern.MatchString(code) {
		return code
	}
	return ""
}

// nextPage finds the following page in a Link header (RFC 8288). The page must lie
// on the hub's own host.
func (c *Client) nextPage(at *url.URL, h http.Header) (*url.URL, error) {
	target := nextLink(h.Values("Link"))
	if target == "" {
		return nil, nil
	}
	ref, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("%w: next page %.80q", ErrAnswer, target)
	}
	next := at.ResolveReference(ref)
	if !c.isHome(next) {
		rewritten, err := url.Parse(c.upstream.URL(next.String()))
		if err != nil || !c.isHome(rewritten) {
			return nil, fmt.Errorf("%w: next page on another host, %s", ErrAnswer, next.Host)
		}
		next = rewritten
	}
	return next, nil
}

// nextLink is the target of the first link whose relation is "next".
func nextLink(values []string) string {
	for _, value := range values {
		for value != "" {
			start := strings.IndexByte(value, '<')
			if start < 0 {
				break
			}
			end := strings.IndexByte(value[start:], '>')
			if end < 0 {
				break
			}
			target, rest := value[start+1:start+end], value[start+end+1:]
			params, following, _ := strings.Cut(rest, "<")
			if strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
				return target
			}
			value = ""
			if following != "" {
				value = "<" + following
			}
		}
	}
	return ""
}
