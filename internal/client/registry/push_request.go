package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/caisson/caisson/internal/client/fetch"
)

const maxRefusal = 16 << 10 // bytes of an error answer that are read

var errStalled = errors.New("the registry took no byte for too long")

// RefusedError is a registry's answer other than success.
type RefusedError struct {
	Status  int
	Codes   []string // error codes of the distribution specification, if it gave any
	Message string   // as the registry put it, shortened
	wait    time.Duration
}

func (e *RefusedError) Error() string {
	s := "the registry answers " + strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Is makes a 404 ErrNotFound.
func (e *RefusedError) Is(target error) bool {
	return target == ErrNotFound && e.Status == http.StatusNotFound
}

// Incomplete says whether the registry refused a manifest for what it names.
func (e *RefusedError) Incomplete() bool {
	if e.Status != http.StatusBadRequest && e.Status != http.StatusNotFound && e.Status != http.StatusUnprocessableEntity {
		return false
	}
	for _, c := range e.Codes {
		switch c {
		case "MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "MANIFEST_UNVERIFIED", "BLOB_UNKNOWN":
			return true
		}
	}
	return false
}

func readRefusal(resp *http.Response) *RefusedError {
	e := &RefusedError{Status: resp.StatusCode, wait: fetch.RetryAfter(resp.Header, time.Now())}
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	var doc struct {
		Errors []struct{ Code, Message string } `json:"errors"`
	}
	if json.Unmarshal(raw, &doc) != nil {
		return e
	}
	var said []string
	for _, x := range doc.Errors {
		if x.Code != "" && !slices.Contains(e.Codes, x.Code) {
			e.Codes = append(e.Codes, x.Code)
			said = append(said, strings.TrimSpace(x.Code+" "+x.Message))
		}
	}
	e.Message = makePrintable(strings.Join(said, "; "))
	return e
}

// makePrintable makes a stranger's text fit for one line.
func makePrintable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u202e' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// content is a request body that can be had again from the start.
type content interface {
	body() (io.ReadCloser, error)
	length() int64
}

type bytesContent []byte

func (b bytesContent) body() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
func (b bytesContent) length() int64                { return int64(len(b)) }

// call is one request.
type call struct {
	method, url string
	header      http.Header
	content     content
	want        []int // statuses that are answers and not errors
}

// doRequest makes a request without large content, with retries. The caller closes the
// body.
func (p *Pusher) doRequest(ctx context.Context, what string, c call) (*http.Response, error) {
	var resp *http.Response
	err := p.retryAttempts(ctx, what, func(ctx context.Context) error {
		// The limit must outlive this function: it ends with the body.
		ctx, cancel := context.WithTimeoutCause(ctx, shortAnswer, errStalled)
		r, err := p.sendOnce(ctx, c)
		if err != nil {
			cancel()
			return err
		}
		r.Body = &releasing{r.Body, cancel}
		resp = r
		return nil
	})
	return resp, err
}

type releasing struct {
	io.ReadCloser
	release func()
}

func (r *releasing) Close() error {
	defer r.release()
	return r.ReadCloser.Close()
}

// sendOnce makes one attempt of a request.
func (p *Pusher) sendOnce(ctx context.Context, c call) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, c.method, c.url, nil)
	if err != nil {
		return nil, backoff.Permanent(plainError(err))
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	if c.content != nil && c.content.length() > 0 {
		req.ContentLength, req.GetBody = c.content.length(), c.content.body
		if req.Body, err = c.content.body(); err != nil {
			return nil, backoff.Permanent(err)
		}
	}
	resp, err := p.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, plainError(err)
	}
	if !slices.Contains(c.want, resp.StatusCode) {
		defer resp.Body.Close()
		return nil, readRefusal(resp)
	}
	return resp, nil
}

// retryAttempts calls try until it succeeds, fails for good (see backoff.Permanent)
// or has failed too often, and waits between.
func (p *Pusher) retryAttempts(ctx context.Context, what string, try func(context.Context) error) error {
	tries := fetch.NewTries(p.opt.Attempts, p.opt.Backoff)
	err := tries.Do(ctx, func() error {
		err := try(ctx)
		tries.AtLeast(waitAskedBy(err))
		if marked := new(backoff.PermanentError); err == nil || errors.As(err, &marked) || ctx.Err() == nil && worthAnother(err) {
			return err
		}
		return backoff.Permanent(err)
	}, func(failed int, _ time.Duration, why error) { p.opt.Retry(what, failed, why) })
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// waitAskedBy is how long a refusal asks to wait.
func waitAskedBy(err error) time.Duration {
	if r := new(RefusedError); errors.As(err, &r) {
		return r.wait
	}
	return 0
}

func worthAnother(err error) bool {
	if isHopeless(err) {
		return false
	}
	r := new(RefusedError)
	if !errors.As(err, &r) {
		return true // the connection failed
	}
	switch r.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusTooEarly,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return slices.Contains(r.Codes, "BLOB_UPLOAD_UNKNOWN") // the session is gone, not the blob
}

// isHopeless recognises wrong credentials and wrong TLS, which stay wrong.
func isHopeless(err error) bool {
	var (
		token   *errcode.ErrorResponse
		verify  *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		unknown x509.UnknownAuthorityError
	)
	if errors.As(err, &token) {
		return token.StatusCode < http.StatusInternalServerError && token.StatusCode != http.StatusTooManyRequests
	}
	return errors.Is(err, auth.ErrBasicCredentialNotFound) || errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &unknown) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// source is a blob as request content. It remembers what was wrong with the
// blob, which net/http would bury, and notices when nobody reads.
type source struct {
	open    func() (io.ReadCloser, error)
	size    int64
	stalled func()
	mu      sync.Mutex
	err     error
	alarm   *time.Timer
}

func (s *source) length() int64 { return s.size }

func (s *source) body() (io.ReadCloser, error) {
	r, err := s.open()
	if err != nil {
		s.noteFailure(err)
		return nil, err
	}
	s.windAlarm(uploadStall)
	return &sourceReader{inner: r, source: s, left: s.size}, nil
}

// windAlarm sets the alarm d from now.
func (s *source) windAlarm(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alarm == nil {
		s.alarm = time.AfterFunc(d, s.stalled)
	} else {
		s.alarm.Reset(d)
	}
}

func (s *source) noteFailure(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

// stopAlarm ends the alarm and returns what was wrong with the blob.
func (s *source) stopAlarm() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alarm != nil {
		s.alarm.Stop()
	}
	return s.err
}

// sourceReader may be closed by one goroutine while another reads, as net/http
// does when an answer comes early.
type sourceReader struct {
	mu     sync.Mutex
	inner  io.ReadCloser
	source *source
	left   int64
	closed bool
}

var errBodyClosed = errors.New("request body is closed")

func (r *sourceReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, errBodyClosed
	}
	n, err := r.inner.Read(p)
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		r.source.noteFailure(err)
	}
	if r.left > 0 {
		r.source.windAlarm(uploadStall)
	} else {
		r.source.windAlarm(uploadFinish)
	}
	return n, err
}

func (r *sourceReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	return r.inner.Close()
}
