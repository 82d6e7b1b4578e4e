package serve

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	writeChunk   = 256 << 10        // bytes written under one deadline
	writeStall   = 60 * time.Second // a client that takes no chunk for so long is cut off
	slotPatience = 30 * time.Second // what a request waits while all streams are taken
	retryAfter   = "5"              // seconds, said to one that waited in vain
	maxETagBytes = 4096             // of an If-None-Match header that is looked at
)

// content is a sequence of bytes of known size in a bundle.
type content struct {
	etag      string // without quotes
	mediaType string
	size      int64
	open      func(offset, length int64) (io.ReadCloser, error)
}

// sendContent answers a GET or HEAD with c, by the rules of RFC 9110 for validators
// and single ranges; several ranges in one request are answered whole. An error
// means that nothing has been written. What goes wrong after the first byte
// ends the connection, so that the answer cannot look complete.
func (h *Handler) sendContent(w http.ResponseWriter, r *http.Request, c content) error {
	head := w.Header()
	quoted := `"` + c.etag + `"`
	if etagMatches(r.Header.Get("If-None-Match"), quoted) {
		head.Set("ETag", quoted)
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	s, err := requestedRange(r, quoted, c.size)
	if err != nil {
		head.Set("Content-Range", "bytes */"+strconv.FormatInt(c.size, 10))
		return err
	}
	if c.size == 0 && r.Header.Get("Range") != "" {
		// Hub clients ask for the first byte, and read here how many there are.
		head.Set("Content-Range", "bytes */0")
	}
	b := newBody(w, s.status, s.responseHeader(c, quoted))
	if r.Method == http.MethodHead || s.length == 0 {
		b.startAnswer()
		return nil
	}
	return h.streamRange(b, r, c, s)
}

func (h *Handler) streamRange(b *body, r *http.Request, c content, s span) error {
	if err := h.takeStreamSlot(b.w, r); err != nil {
		return err
	}
	defer func() { <-h.streams }()
	src, err := c.open(s.offset, s.length)
	if err != nil {
		h.reportDamage(r, err)
		return err
	}
	defer src.Close()
	_, err = io.Copy(b, src)
	switch {
	case err == nil && b.written == s.length:
		return nil
	case b.err != nil: // the client went away or stalled
		panic(http.ErrAbortHandler)
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	h.reportDamage(r, err)
	if b.started {
		panic(http.ErrAbortHandler)
	}
	return err
}

var errBusy = &failure{http.StatusServiceUnavailable, "TOOMANYREQUESTS", "too many answers are being sent; try again"}

// takeStreamSlot takes a slot for a stream, which bounds memory: one block buffer each.
func (h *Handler) takeStreamSlot(w http.ResponseWriter, r *http.Request) error {
	patience := time.NewTimer(h.patience)
	defer patience.Stop()
	select {
	case h.streams <- struct{}{}:
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	case <-patience.C:
		w.Header().Set("Retry-After", retryAfter)
		return errBusy
	}
}

// span is the part of a content that a request asks for.
type span struct {
	offset, length int64
	status         int
}

func (s span) responseHeader(c content, etag string) http.Header {
	out := http.Header{}
	out.Set("ETag", etag)
	out.Set("Accept-Ranges", "bytes")
	out.Set("Content-Type", c.mediaType)
	out.Set("Content-Length", strconv.FormatInt(s.length, 10))
	if s.status == http.StatusPartialContent {
		out.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", s.offset, s.offset+s.length-1, c.size))
	}
	return out
}

var errRange = &failure{status: http.StatusRequestedRangeNotSatisfiable, code: "RANGE_INVALID", message: "the range lies outside the content"}

// requestedRange is the part that a request asks for. Of an empty content there is
// none, and it is sent whole.
func requestedRange(r *http.Request, etag string, size int64) (span, error) {
	whole := span{0, size, http.StatusOK}
	spec := r.Header.Get("Range")
	if v := r.Header.Get("If-Range"); spec == "" || size == 0 || v != "" && v != etag {
		return whole, nil
	}
	offset, length, ok, err := parseRange(spec, size)
	if err != nil {
		return whole, errRange
	}
	if !ok {
		return whole, nil
	}
	return span{offset, length, http.StatusPartialContent}, nil
}

var errUnsatisfiable = errors.New("range not satisfiable")

// parseRange reads a Range header against a content of size bytes. ok is false
// for what RFC 9110 lets a server ignore: another unit, bad syntax, several
// ranges.
func parseRange(spec string, size int64) (offset, length int64, ok bool, err error) {
	spec, found := strings.CutPrefix(spec, "bytes=")
	first, last, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !found || !dash || strings.Contains(spec, ",") {
		return 0, 0, false, nil
	}
	from, errFrom := parseDecimal(first)
	to, errTo := parseDecimal(last)
	switch {
	case first == "" && errTo == nil: // the last N bytes
		n := min(to, size)
		if n == 0 {
			return 0, 0, false, errUnsatisfiable
		}
		return size - n, n, true, nil
	case errFrom != nil || (last != "" && (errTo != nil || to < from)):
		return 0, 0, false, nil
	case from >= size:
		return 0, 0, false, errUnsatisfiable
	case last == "":
		return from, size - from, true, nil
	}
	return from, min(to, size-1) - from + 1, true, nil
}

// parseDecimal is ParseInt for digits only.
func parseDecimal(s string) (int64, error) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(s, 10, 64)
}

// etagMatches says whether an If-None-Match header names the quoted etag.
func etagMatches(header, etag string) bool {
	if header == "" || len(header) > maxETagBytes {
		return false
	}
	for v := range strings.SplitSeq(header, ",") {
		v = strings.TrimPrefix(strings.TrimSpace(v), "W/")
		if v == etag || v == "*" {
			return true
		}
	}
	return false
}

// body delays the header until the first proven byte is there, and gives every
// chunk its own deadline.
type body struct {
	w       http.ResponseWriter
	control *http.ResponseController
	header  http.Header
	status  int
	started bool
	written int64
	err     error // the first error of writing to the client
}

func newBody(w http.ResponseWriter, status int, header http.Header) *body {
	return &body{w: w, control: http.NewResponseController(w), status: status, header: header}
}

func (b *body) startAnswer() {
	b.started = true
	for k, v := range b.header {
		b.w.Header()[k] = v
	}
	b.w.WriteHeader(b.status)
}

func (b *body) Write(p []byte) (int, error) {
	if !b.started {
		b.startAnswer()
	}
	done := 0
	for done < len(p) {
		chunk := p[done:min(done+writeChunk, len(p))]
		extendDeadline(b.control)
		n, err := b.w.Write(chunk)
		done += n
		b.written += int64(n)
		if err != nil {
			b.err = err
			return done, err
		}
	}
	return done, nil
}

// extendDeadline gives a client time to take the next chunk. The deadline stays on when
// an answer ends, for what is still in buffers then; the next request on the
// connection is granted its own.
func extendDeadline(c *http.ResponseController) {
	_ = c.SetWriteDeadline(time.Now().Add(writeStall)) // not every writer has deadlines
}
