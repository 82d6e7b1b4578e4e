package kube

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script is a transport that fails as told, then succeeds.
type script struct {
	errs   []error
	bodies []string
}

func (s *script) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		b, _ := io.ReadAll(req.Body)
		s.bodies = append(s.bodies, string(b))
	}
	if len(s.errs) == 0 {
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	return nil, err
}

func TestPatience(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	reset := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	for _, c := range []struct {
		name, method, contentType string
		err                       error
		repeated                  bool
	}{
		{"a refused POST", http.MethodPost, "application/json", refused, true},
		{"a broken POST", http.MethodPost, "application/json", reset, false},
		{"a broken PUT", http.MethodPut, "application/json", io.EOF, false},
		{"a broken GET", http.MethodGet, "", io.ErrUnexpectedEOF, true},
		{"a broken DELETE", http.MethodDelete, "", reset, true},
		{"a broken apply", http.MethodPatch, "application/apply-patch+yaml", reset, true},
		{"a broken merge", http.MethodPatch, "application/merge-patch+json", reset, false},
		{"another error", http.MethodGet, "", errors.New("x509: unknown authority"), false},
	} {
		s := &script{errs: []error{c.err}}
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://127.0.0.1/", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", c.contentType)
		resp, err := patient{s, time.Minute}.RoundTrip(req)
		if got := err == nil; got != c.repeated {
			t.Errorf("%s: %v", c.name, err)
		}
		if resp != nil {
			_ = resp.Body.Close()
		}
		if c.repeated && (len(s.bodies) != 2 || s.bodies[1] != "body") {
			t.Errorf("%s: bodies %q", c.name, s.bodies)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (patient{&script{errs: []error{refused, refused}}, time.Minute}).RoundTrip(req); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context ended: %v", err)
	}
}
