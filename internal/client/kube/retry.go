package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// outage is how long a request outlives an API server that is away, as while
// it restarts.
const outage = 60 * time.Second

// patient repeats requests that met no server, and those that can be repeated
// without harm when the connection broke under them: reads, server-side apply
// and deletion. Everything else is the caller's to judge.
type patient struct {
	inner  http.RoundTripper
	within time.Duration
}

// RoundTrip implements http.RoundTripper. It gives up when the request's
// context ends or the outage has lasted too long.
func (p patient) RoundTrip(req *http.Request) (*http.Response, error) {
	var last error
	final := false
	attempt := func() (resp *http.Response, err error) {
		if last != nil {
			if req, err = rewindRequest(req); err != nil {
				final = true
				return nil, backoff.Permanent(err)
			}
		}
		resp, last = p.inner.RoundTrip(req)
		if final = last != nil && !worthAnother(req, last); final {
			return resp, backoff.Permanent(last)
		}
		return resp, last
	}
	waits := &backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, Multiplier: 2, MaxInterval: 2 * time.Second}
	resp, err := backoff.Retry(req.Context(), attempt, backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(p.within))
	if cause := context.Cause(req.Context()); err != nil && cause != nil && !final {
		return nil, fmt.Errorf("%w: %w", cause, last)
	}
	return resp, err
}

func worthAnother(req *http.Request, err error) bool {
	if req.Body != nil && req.GetBody == nil {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	broken := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(err.Error(), "http2: client connection lost") || strings.Contains(err.Error(), "GOAWAY")
	return broken && isRepeatable(req)
}

func isRepeatable(req *http.Request) bool {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodDelete:
		return true
	case http.MethodPatch:
		return strings.HasPrefix(req.Header.Get("Content-Type"), "application/apply-patch")
	}
	return false
}

// rewindRequest is req with its body from the beginning.
func rewindRequest(req *http.Request) (*http.Request, error) {
	next := req.Clone(req.Context())
	if req.GetBody == nil {
		return next, nil
	}
	body, err := req.GetBody()
	next.Body = body
	return next, err
}
