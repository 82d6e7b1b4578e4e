package upstreamtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// gate stands before a handler, counts what passes and misbehaves as told.
type gate struct {
	next     http.Handler
	counters *counters
	faults   *faults
	closing  <-chan struct{} // ends stalled replies
}

// ServeHTTP implements http.Handler.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	counted := &countWriter{ResponseWriter: w, n: g.counters.countRequest(r), get: r.Method == http.MethodGet}
	a := g.faults.takeFault(r)
	if a == nil {
		g.next.ServeHTTP(counted, r)
		return
	}
	hit := &effect{armed: a, request: r, closing: g.closing}
	g.serveFault(counted, r, hit)
	if !hit.done {
		g.faults.giveBack(a)
	}
	if hit.broken {
		panic(http.ErrAbortHandler)
	}
}

func (g *gate) serveFault(w http.ResponseWriter, r *http.Request, e *effect) {
	switch e.armed.Kind {
	case Status:
		e.markDone()
		writeRefusal(w, e.armed.Fault)
	case IgnoreRange:
		if r.Header.Get("Range") != "" {
			e.markDone()
		}
		g.next.ServeHTTP(w, withoutRange(r))
	case ChangeETag:
		g.changeETag(w, r, e)
	case OtherRange:
		g.next.ServeHTTP(newOtherWriter(w, e), r)
	case Corrupt:
		g.next.ServeHTTP(newCorruptWriter(w, e), r)
	case WrongLength:
		g.next.ServeHTTP(newLengthWriter(w, e), r)
	case Truncate:
		g.next.ServeHTTP(newCutWriter(w, e), r)
	case Drop, Stall:
		if e.armed.After == 0 {
			e.breakOff()
			return
		}
		g.next.ServeHTTP(newCutWriter(w, e), r)
	default:
		http.Error(w, fmt.Sprintf("no fault of kind %q", e.armed.Kind), http.StatusInternalServerError)
	}
}

func writeRefusal(w http.ResponseWriter, f Fault) {
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	http.Error(w, http.StatusText(f.Status), f.Status)
}

// withoutRange returns the request as if it had asked for everything.
func withoutRange(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	r.Header.Del("Range")
	r.Header.Del("If-Range")
	return r
}

// changeETag serves with a different ETag, judging If-Range by the new one.
func (g *gate) changeETag(w http.ResponseWriter, r *http.Request, e *effect) {
	const suffix = `-changed"`
	changed := &headerWriter{ResponseWriter: w}
	changed.before = func(_ int, h http.Header) {
		if tag := h.Get("ETag"); tag != "" {
			h.Set("ETag", strings.TrimSuffix(tag, `"`)+suffix)
			e.markDone()
		}
	}
	old := r.Header.Get("If-Range")
	r = r.Clone(r.Context())
	r.Header.Del("If-None-Match")
	r.Header.Del("If-Range")
	if old != "" && !strings.HasSuffix(old, suffix) {
		r.Header.Del("Range")
	}
	g.next.ServeHTTP(changed, r)
}

// effect is what one fault does to one reply.
type effect struct {
	armed   *Armed
	request *http.Request
	closing <-chan struct{}
	done    bool // the reply differs from the true one
	broken  bool // the connection has to break
}

func (e *effect) markDone() {
	if !e.done {
		e.done = true
		e.armed.recordHit()
	}
}

// breakOff ends a reply in the way of Stall or Drop.
func (e *effect) breakOff() {
	e.markDone()
	if e.armed.Kind == Stall {
		select {
		case <-e.request.Context().Done():
		case <-e.armed.gone:
		case <-e.closing:
		}
	}
	e.broken = true
}

// countWriter counts body bytes before they go out, so that who has received
// them finds them counted.
type countWriter struct {
	http.ResponseWriter
	n        *counter
	get      bool
	headed   bool
	declared int64 // what Content-Length says of a good reply, else -1
	sent     int64
}

func (w *countWriter) WriteHeader(status int) {
	if !w.headed && status >= 200 {
		w.headed, w.declared = true, declaredLength(status, w.Header())
		w.countBytes(0)
	}
	w.ResponseWriter.WriteHeader(status)
}

// declaredLength returns -1 for replies that are not content.
func declaredLength(status int, h http.Header) int64 {
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err != nil || status != http.StatusOK && status != http.StatusPartialContent {
		return -1
	}
	return n
}

func (w *countWriter) Write(p []byte) (int, error) {
	if !w.headed {
		w.WriteHeader(http.StatusOK)
	}
	w.countBytes(len(p))
	n, err := w.ResponseWriter.Write(p)
	if n < len(p) && w.get {
		w.n.bytes.Add(int64(n - len(p)))
	}
	return n, err
}

func (w *countWriter) countBytes(n int) {
	if !w.get {
		return
	}
	w.n.bytes.Add(int64(n))
	if w.sent += int64(n); w.sent == w.declared {
		w.n.ended.Add(1)
		w.declared = -1
	}
}

// ReadFrom implements io.ReaderFrom with writes larger than io.Copy's.
func (w *countWriter) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, 256<<10))
}

// Unwrap serves http.ResponseController.
func (w *countWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// headerWriter calls before once, ahead of the status line.
type headerWriter struct {
	http.ResponseWriter
	before func(status int, h http.Header)
	headed bool
}

func (w *headerWriter) WriteHeader(status int) {
	if !w.headed && status >= 200 {
		w.headed = true
		w.before(status, w.Header())
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *headerWriter) Write(p []byte) (int, error) {
	if !w.headed {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap serves http.ResponseController.
func (w *headerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// bodyWriter is a headerWriter that sees the body of good replies.
type bodyWriter struct {
	headerWriter
	good bool
	body func(p []byte) (int, error)
}

func (w *bodyWriter) Write(p []byte) (int, error) {
	if !w.headed {
		w.WriteHeader(http.StatusOK)
	}
	if !w.good {
		return w.ResponseWriter.Write(p)
	}
	return w.body(p)
}

func isGood(status int) bool {
	return status == http.StatusOK || status == http.StatusPartialContent
}

var errBroken = errors.New("reply broken off by a fault")

// newCutWriter passes After bytes on and then truncates, drops or stalls.
func newCutWriter(w http.ResponseWriter, e *effect) http.ResponseWriter {
	cut := &bodyWriter{headerWriter: headerWriter{ResponseWriter: w}}
	cut.before = func(status int, h http.Header) {
		n := declaredLength(status, h)
		cut.good = isGood(status) && (n < 0 || n > e.armed.After)
		if cut.good && e.armed.Kind == Truncate {
			h.Del("Content-Length")
		}
	}
	left := e.armed.After
	cut.body = func(p []byte) (int, error) {
		switch {
		case e.broken:
			return 0, errBroken
		case e.done:
			return len(p), nil
		case int64(len(p)) <= left:
			left -= int64(len(p))
			return w.Write(p)
		}
		if n, err := w.Write(p[:left]); err != nil {
			return n, err
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return 0, err
		}
		if e.armed.Kind == Truncate {
			e.markDone()
			return len(p), nil
		}
		e.breakOff()
		return 0, errBroken
	}
	return cut
}

// newCorruptWriter inverts the byte at offset After of the content.
func newCorruptWriter(w http.ResponseWriter, e *effect) http.ResponseWriter {
	bad := &bodyWriter{headerWriter: headerWriter{ResponseWriter: w}}
	at := e.armed.After // relative to what is left of the body
	bad.before = func(status int, h http.Header) {
		bad.good = isGood(status)
		at -= rangeStart(h)
	}
	bad.body = func(p []byte) (int, error) {
		if 0 <= at && at < int64(len(p)) {
			p = append([]byte(nil), p...)
			p[at] ^= 0xff
			e.markDone()
		}
		at -= int64(len(p))
		return w.Write(p)
	}
	return bad
}

// newOtherWriter replaces every byte of a part.
func newOtherWriter(w http.ResponseWriter, e *effect) http.ResponseWriter {
	other := &bodyWriter{headerWriter: headerWriter{ResponseWriter: w}}
	other.before = func(status int, _ http.Header) { other.good = status == http.StatusPartialContent }
	other.body = func(p []byte) (int, error) {
		e.markDone()
		return w.Write(bytes.Repeat([]byte("x"), len(p)))
	}
	return other
}

// rangeStart returns where the body of a reply begins in the whole content.
func rangeStart(h http.Header) int64 {
	var start int64
	if _, err := fmt.Sscanf(h.Get("Content-Range"), "bytes %d-", &start); err != nil {
		return 0
	}
	return start
}

// newLengthWriter makes the reply lie about lengths.
func newLengthWriter(w http.ResponseWriter, e *effect) http.ResponseWriter {
	lie := &bodyWriter{headerWriter: headerWriter{ResponseWriter: w}}
	var left int64
	lie.before = func(status int, h http.Header) {
		changed := addTo(h, "X-Linked-Size", e.armed.Add)
		switch status {
		case http.StatusOK:
			lie.good = addTo(h, "Content-Length", e.armed.Add)
			left = declaredLength(status, h)
			changed = changed || lie.good
		case http.StatusPartialContent:
			changed = addToTotal(h, e.armed.Add) || changed
		}
		if changed {
			e.markDone()
		}
	}
	lie.body = func(p []byte) (int, error) {
		n := min(int64(len(p)), left)
		left -= n
		if m, err := w.Write(p[:n]); err != nil {
			return m, err
		}
		return len(p), nil
	}
	return lie
}

// addTo adds to a header that holds a length, if it does.
func addTo(h http.Header, key string, add int64) bool {
	n, err := strconv.ParseInt(h.Get(key), 10, 64)
	if err != nil {
		return false
	}
	h.Set(key, strconv.FormatInt(max(0, n+add), 10))
	return true
}

// addToTotal adds to the total of a Content-Range.
func addToTotal(h http.Header, add int64) bool {
	part, total, ok := strings.Cut(h.Get("Content-Range"), "/")
	n, err := strconv.ParseInt(total, 10, 64)
	if !ok || err != nil {
		return false
	}
	h.Set("Content-Range", fmt.Sprintf("%s/%d", part, n+add))
	return true
}
