// Package fetch reads from upstreams over HTTP: small documents whole, large
// content as a resumable stream of known size. It holds the retry rules, the
// connection limits, the stall watch and the rule that credentials stay with
// the host they were meant for.
//
// It never decides whether content is right beyond its length (digests are the
// caller's), never decompresses, never writes to disk, and never puts a
// credential or a query string into an error or an event.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caisson/caisson/internal/event"
)

// Defaults of Options.
const (
	DefaultPerHost  = 8
	DefaultAttempts = 6
	DefaultBackoff  = 500 * time.Millisecond
	DefaultStall    = 60 * time.Second
)

// Options tune a Client; the zero value works.
type Options struct {
	Upstreams Rewriter      // rewrites upstream names to mirrors; nil: none
	PerHost   int           // requests in flight per host; 0: DefaultPerHost
	Attempts  int           // tries without progress before an error; 0: DefaultAttempts
	Backoff   time.Duration // wait before the second try, doubling after; 0: DefaultBackoff
	Stall     time.Duration // a try that brings no byte for so long is cut; 0: DefaultStall
	Sink      event.Sink    // takes a Retry event per failed try; nil: none
	UserAgent string
}

// Rewriter is what fetch needs of stack.Upstreams: the mirror of a URL or of a
// registry name, if there is one.
type Rewriter interface {
	Rewrite(hostOrURL string) (string, bool)
}

// Client fetches. It is safe for concurrent use.
type Client struct {
	opt   Options
	base  *http.Transport
	netrc netrc
	hosts hostLimits
}

// New makes a client. It reads the .netrc file that NETRC names, or the one in
// the home directory; a file that cannot be read as one is an error.
func New(opt Options) (*Client, error) {
	opt = opt.withDefaults()
	creds, err := readNetrc()
	if err != nil {
		return nil, err
	}
	return &Client{
		opt:   opt,
		base:  newBase(opt),
		netrc: creds,
		hosts: hostLimits{limit: opt.PerHost, slots: map[string]chan struct{}{}},
	}, nil
}

func (o Options) withDefaults() Options {
	if o.PerHost <= 0 {
		o.PerHost = DefaultPerHost
	}
	if o.Attempts <= 0 {
		o.Attempts = DefaultAttempts
	}
	if o.Backoff <= 0 {
		o.Backoff = DefaultBackoff
	}
	if o.Stall <= 0 {
		o.Stall = DefaultStall
	}
	if o.Sink == nil {
		o.Sink = event.Discard
	}
	if o.UserAgent == "" {
		o.UserAgent = "caisson"
	}
	return o
}

// URL returns where upstream is really fetched from, after the rewrites. It
// takes a URL, or a registry name without a scheme, and returns the same kind
// unless a rewrite says otherwise.
func (c *Client) URL(upstream string) string {
	if c.opt.Upstreams == nil {
		return upstream
	}
	if to, ok := c.opt.Upstreams.Rewrite(upstream); ok {
		return to
	}
	return upstream
}

// Request asks for one piece of content.
type Request struct {
	URL    string      // upstream URL; rewritten unless Direct
	Direct bool        // URL is final
	Header http.Header // added to every try; never sent to another host by a redirect if it is a credential
	Size   int64       // exact length; negative: unknown
	Item   string      // what events and errors call it; default: the URL
	// RoundTripper sends the requests, for sources that need their own
	// authorization; it must end in Client.Transport. Nil: Client.Transport.
	RoundTripper http.RoundTripper
}

// Get reads the document at an upstream URL, at most max bytes of it. A longer
// one is ErrSize. It retries like Stream.
func (c *Client) Get(ctx context.Context, url string, max int64) ([]byte, http.Header, error) {
	return c.Read(ctx, Request{URL: url, Size: -1}, max)
}

// Read is Get for requests that need more than a URL. A Request.Size that is
// not negative must be met exactly.
func (c *Client) Read(ctx context.Context, r Request, max int64) ([]byte, http.Header, error) {
	if r.Size > max {
		return nil, nil, &SizeError{URL: Redact(r.URL), Want: max, Got: r.Size}
	}
	doc := &document{max: max, url: Redact(r.URL)}
	header, err := c.stream(ctx, r, doc)
	if err != nil {
		return nil, nil, err
	}
	return doc.data, header, nil
}

// document is a Dst in memory with an upper bound.
type document struct {
	data []byte
	max  int64
	url  string
}

func (d *document) Offset() int64 { return int64(len(d.data)) }
func (d *document) Reset() error  { d.data = d.data[:0]; return nil }
func (d *document) Write(p []byte) (int, error) {
	if int64(len(d.data)+len(p)) > d.max {
		return 0, &SizeError{URL: d.url, Want: d.max, Got: -1}
	}
	d.data = append(d.data, p...)
	return len(p), nil
}

// Size asks for the length of an upstream URL and its strong entity tag:
// by HEAD, else by a one-byte range. A length that the upstream does not tell
// is -1, an absent or weak tag is empty.
func (c *Client) Size(ctx context.Context, url string) (int64, string, error) {
	return c.SizeOf(ctx, Request{URL: url})
}

// SizeOf is Size for requests that need more than a URL.
func (c *Client) SizeOf(ctx context.Context, r Request) (int64, string, error) {
	size, tag, err := c.probeSize(ctx, r, http.MethodHead, nil)
	if err == nil && size >= 0 {
		return size, tag, nil
	}
	if status := new(StatusError); errors.As(err, &status) && status.Status == http.StatusNotFound {
		return -1, "", err
	}
	return c.probeSize(ctx, r, http.MethodGet, http.Header{"Range": {"bytes=0-0"}})
}

func (c *Client) probeSize(ctx context.Context, r Request, method string, extra http.Header) (int64, string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // drops the body of an upstream that ignores ranges
	req, err := c.newRequest(ctx, r, method)
	if err != nil {
		return -1, "", err
	}
	for k, v := range extra {
		req.Header[k] = v
	}
	resp, err := c.httpClient(r).Do(req)
	if err != nil {
		return -1, "", cleanError(r.itemName(), err)
	}
	defer resp.Body.Close()
	if err := checkStatus(resp); err != nil {
		return -1, "", err
	}
	return totalOf(resp), strongTag(resp.Header), nil
}

// totalOf is the length of the whole content that resp is, or is a part of.
func totalOf(resp *http.Response) int64 {
	if resp.StatusCode == http.StatusPartialContent {
		_, total, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil {
			return -1
		}
		return total
	}
	return resp.ContentLength
}

// newRequest builds one try of r.
func (c *Client) newRequest(ctx context.Context, r Request, method string) (*http.Request, error) {
	target := r.URL
	if !r.Direct {
		target = c.URL(target)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, fmt.Errorf("building a request for %s: %w", r.itemName(), errors.New("malformed URL"))
	}
	if s := req.URL.Scheme; s != "http" && s != "https" {
		return nil, fmt.Errorf("building a request for %s: scheme %q is not http or https", r.itemName(), s)
	}
	for k, v := range r.Header {
		req.Header[http.CanonicalHeaderKey(k)] = append([]string(nil), v...)
	}
	return req, nil
}

func (c *Client) httpClient(r Request) *http.Client {
	rt := r.RoundTripper
	if rt == nil {
		rt = c.Transport()
	}
	return &http.Client{Transport: rt, CheckRedirect: FollowRedirect}
}

// FollowRedirect is for http.Client.CheckRedirect: it follows up to ten redirects
// and tells none of them where it came from, since an earlier hop may carry a
// signature in its query.
func FollowRedirect(req *http.Request, via []*http.Request) error {
	req.Header.Del("Referer")
	if len(via) >= 10 {
		return errors.New("more than 10 redirects")
	}
	return nil
}

func (r Request) itemName() string {
	if r.Item != "" {
		return r.Item
	}
	return Redact(r.URL)
}

// hostLimits bounds the requests in flight per host.
type hostLimits struct {
	limit int
	mu    sync.Mutex
	slots map[string]chan struct{}
}

// acquire waits for a slot; the function it returns gives it back and may be
// called more than once.
func (h *hostLimits) acquire(ctx context.Context, host string) (func(), error) {
	slot := h.slotsOf(host)
	select {
	case slot <- struct{}{}:
		return sync.OnceFunc(func() { <-slot }), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (h *hostLimits) slotsOf(host string) chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	slot, ok := h.slots[host]
	if !ok {
		slot = make(chan struct{}, h.limit)
		h.slots[host] = slot
	}
	return slot
}

// parseContentRange reads "bytes FIRST-LAST/TOTAL" or "bytes */TOTAL" (RFC 9110,
// section 14.4); unknown parts are -1.
func parseContentRange(s string) (first, total int64, err error) {
	bad := fmt.Errorf("malformed Content-Range %q", makePrintable(s))
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return -1, -1, bad
	}
	span, size, ok := strings.Cut(rest, "/")
	if !ok {
		return -1, -1, bad
	}
	if first, err = parseFirst(span); err != nil {
		return -1, -1, bad
	}
	if total, err = parseLength(size); err != nil {
		return -1, -1, bad
	}
	return first, total, nil
}

func parseFirst(span string) (int64, error) {
	first, _, ok := strings.Cut(span, "-")
	if !ok && span != "*" {
		return -1, errors.New("no range")
	}
	return parseLength(first)
}

func parseLength(s string) (int64, error) {
	if s == "*" {
		return -1, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

func strongTag(h http.Header) string {
	tag := h.Get("ETag")
	if strings.HasPrefix(tag, "W/") {
		return ""
	}
	return tag
}

// drainBody reads what little is left of a body so that its connection can be used
// again, and closes it.
func drainBody(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 64<<10)
	_ = body.Close()
}
