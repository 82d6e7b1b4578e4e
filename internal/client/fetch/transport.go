package fetch

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/caisson/caisson/internal/event"
)

// newBase is the transport under everything: HTTP/1.1 alone, because one
// connection per blob moves large content with fewer copies than HTTP/2 frames
// do; proxies and certificate authorities come from the environment.
func newBase(opt Options) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		Protocols:             protocols,
		TLSHandshakeTimeout:   30 * time.Second,
		ResponseHeaderTimeout: opt.Stall,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          8 * opt.PerHost,
		MaxIdleConnsPerHost:   opt.PerHost,
		DisableCompression:    true,
		// Reads larger than this go from the socket into the caller's buffer
		// without a copy.
		ReadBufferSize:         16 << 10,
		MaxResponseHeaderBytes: 1 << 20,
	}
}

// Transport sends single requests for clients that bring their own logic
// (registry authorization, chart repositories). It limits requests per host,
// asks for identity encoding, adds .netrc credentials, removes a credential
// that a redirect would carry to another host, and repeats GET and HEAD
// requests that failed before the first body byte.
func (c *Client) Transport() http.RoundTripper { return transport{c} }

// CloseIdle closes connections that wait for a next request.
func (c *Client) CloseIdle() { c.base.CloseIdleConnections() }

type transport struct{ client *Client }

// singleTry marks the context of requests whose caller repeats them itself.
type singleTry struct{}

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Context().Value(singleTry{}) != nil || !isRepeatable(req) {
		return t.sendOnce(req)
	}
	return t.sendRepeatedly(req)
}

// sendRepeatedly sends req until it gets an answer that will not change by itself, or
// has been refused too often. The last answer is returned as it is.
func (t transport) sendRepeatedly(req *http.Request) (resp *http.Response, err error) {
	ctx, tries := req.Context(), NewTries(t.client.opt.Attempts, t.client.opt.Backoff)
	refusal := tries.Do(ctx, func() error {
		tries.AtLeast(0)
		resp, err = t.sendOnce(req)
		switch {
		case err != nil && (ctx.Err() != nil || !isTransient(err)):
			return backoff.Permanent(err)
		case err != nil:
			return err
		case ctx.Err() == nil && transientStatus(resp.StatusCode):
			tries.AtLeast(RetryAfter(resp.Header, time.Now()))
			return fmt.Errorf("the upstream answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
		}
		return nil
	}, func(failed int, wait time.Duration, why error) {
		if resp != nil {
			drainBody(resp.Body)
			resp = nil
		}
		t.client.emitRetry(Redact(req.URL.String()), failed, wait, why)
	})
	if resp != nil {
		return resp, nil
	}
	return nil, refusal
}

func isRepeatable(req *http.Request) bool {
	return (req.Method == http.MethodGet || req.Method == http.MethodHead) && req.Body == nil
}

// sendOnce sends req one time; the host's slot is held until the body is closed.
func (t transport) sendOnce(req *http.Request) (*http.Response, error) {
	out := t.client.prepareRequest(req)
	release, err := t.client.hosts.acquire(req.Context(), out.URL.Host)
	if err != nil {
		return nil, err
	}
	resp, err := t.client.base.RoundTrip(out)
	if err != nil {
		release()
		return nil, err
	}
	resp.Request = req
	resp.Body = &heldBody{ReadCloser: resp.Body, release: release}
	return resp, nil
}

type heldBody struct {
	io.ReadCloser
	release func()
}

func (b *heldBody) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}

// prepareRequest copies req and gives the copy its final headers.
func (c *Client) prepareRequest(req *http.Request) *http.Request {
	out := req.Clone(req.Context())
	out.Header.Set("Accept-Encoding", "identity")
	if out.Header.Get("User-Agent") == "" {
		out.Header.Set("User-Agent", c.opt.UserAgent)
	}
	dropForeignCredentials(out)
	if out.Header.Get("Authorization") == "" {
		c.netrc.addLogin(out)
	}
	return out
}

// dropForeignCredentials removes what an earlier hop of a redirect chain sent
// to another host, or to the same host over TLS when this hop is in the clear.
// A credential that was set for this hop alone stays.
func dropForeignCredentials(req *http.Request) {
	for hop := req; hop.Response != nil && hop.Response.Request != nil; {
		hop = hop.Response.Request
		if hop.URL.Host == req.URL.Host && hop.URL.Scheme == req.URL.Scheme {
			continue
		}
		for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie"} {
			if v := hop.Header.Get(name); v != "" && v == req.Header.Get(name) {
				req.Header.Del(name)
			}
		}
	}
}

func (c *Client) emitRetry(item string, try int, wait time.Duration, why error) {
	c.opt.Sink.Emit(event.Event{
		Kind:    event.Retry,
		Item:    item,
		Message: fmt.Sprintf("%s; trying again in %s", cleanError("", why), wait.Round(time.Millisecond)),
		Fields:  map[string]any{"try": try, "attempts": c.opt.Attempts, "wait": wait.Seconds()},
	})
}
