package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Dst takes a stream. Offset is how many bytes it holds; Write appends; Reset
// drops all of them. Its errors end the stream without a retry. Stream calls
// it from one goroutine at a time. A Dst that is an io.ReaderFrom as well reads
// the content itself, into buffers of its own; it must return the errors of
// what it reads from unchanged.
type Dst interface {
	Offset() int64
	Write(p []byte) (int, error)
	Reset() error
}

// bufferSize is one read: large enough that system calls and hand-overs cost
// nothing beside the hashing. A stream holds at most depth+2 of them.
const (
	bufferSize = 1 << 20
	depth      = 2
)

// progressStep is how much further than ever before a stream must come for its
// failed tries to be forgotten.
const progressStep = 1 << 20

// Stream fetches r into dst, continuing at dst.Offset by a range request. When
// it returns nil, dst holds exactly r.Size bytes (or all of them when the size
// is unknown). It reads at most one byte more than r.Size.
//
// Tries that end by a reset, an early end, a stall, 429 or 5xx are repeated with
// backoff; the limit counts tries without progress. An upstream that ignores
// the range, or whose content changed, makes dst start over. Errors: ErrSize
// for a length that the upstream states or proves to be another, ErrStatus,
// ErrStalled, ErrShort, or what dst returned.
func (c *Client) Stream(ctx context.Context, r Request, dst Dst) error {
	_, err := c.stream(ctx, r, dst)
	return err
}

func (c *Client) stream(ctx context.Context, r Request, dst Dst) (http.Header, error) {
	s := &stream{client: c, req: r, dst: dst, best: dst.Offset()}
	tries := NewTries(c.opt.Attempts, c.opt.Backoff)
	err := tries.Do(ctx, func() error {
		err := s.tryOnce(ctx)
		if s.hasAdvanced() {
			tries.Reset()
		}
		tries.AtLeast(s.after)
		if err != nil && (ctx.Err() != nil || !isTransient(err)) {
			return backoff.Permanent(err)
		}
		return err
	}, func(failed int, wait time.Duration, why error) {
		c.emitRetry(r.itemName(), failed, wait, why)
	})
	switch {
	case err == nil:
		return s.header, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, cleanError(r.itemName(), unwrapLocal(err))
}

func unwrapLocal(err error) error {
	if local := new(localError); errors.As(err, &local) {
		return local.err
	}
	return err
}

// stream is the state that survives from try to try.
type stream struct {
	client *Client
	req    Request
	dst    Dst
	header http.Header   // of the last answer
	tag    string        // strong entity tag of what dst holds, if known
	after  time.Duration // what the last answer asked to wait
	best   int64         // furthest offset reached when tries were last forgotten
	whole  bool          // ranges do not work here
}

// hasAdvanced says whether the stream came a step further than ever before.
func (s *stream) hasAdvanced() bool {
	if s.dst.Offset() < s.best+progressStep {
		return false
	}
	s.best = s.dst.Offset()
	return true
}

func (s *stream) tryOnce(ctx context.Context) error {
	s.after = 0
	if s.req.Size >= 0 && s.dst.Offset() == s.req.Size && s.req.Size > 0 {
		return nil
	}
	if err := s.startOver(s.whole || s.dst.Offset() > s.req.Size && s.req.Size >= 0 || s.req.Size < 0 && s.tag == ""); err != nil {
		return err
	}
	ctx, watch := newWatch(context.WithValue(ctx, singleTry{}, true), s.client.opt.Stall)
	defer watch.stop()
	resp, err := s.requestRest(ctx)
	if err != nil {
		return watch.explainStall(err)
	}
	defer resp.Body.Close()
	if err := s.acceptAnswer(resp); err != nil {
		return err
	}
	watch.start()
	return watch.explainStall(s.copyBody(watched{resp.Body, watch}))
}

// startOver empties dst when cond holds and there is something in it.
func (s *stream) startOver(cond bool) error {
	if !cond || s.dst.Offset() == 0 {
		return nil
	}
	s.tag = ""
	if err := s.dst.Reset(); err != nil {
		return &localError{err}
	}
	return nil
}

func (s *stream) requestRest(ctx context.Context) (*http.Response, error) {
	req, err := s.client.newRequest(ctx, s.req, http.MethodGet)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProtocol, err)
	}
	if at := s.dst.Offset(); at > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", at))
		if s.tag != "" {
			req.Header.Set("If-Range", s.tag)
		}
	}
	return s.client.httpClient(s.req).Do(req)
}

// acceptAnswer compares the answer's head with what was asked for.
func (s *stream) acceptAnswer(resp *http.Response) error {
	s.header = resp.Header
	s.after = RetryAfter(resp.Header, time.Now())
	switch resp.StatusCode {
	case http.StatusPartialContent:
		return s.acceptPart(resp)
	case http.StatusOK:
		return s.acceptWhole(resp)
	case http.StatusRequestedRangeNotSatisfiable:
		return s.refuseRange(resp)
	}
	return checkStatus(resp)
}

func (s *stream) acceptWhole(resp *http.Response) error {
	if err := s.checkTotal(resp.ContentLength); err != nil {
		return err
	}
	if err := s.startOver(true); err != nil {
		return err
	}
	s.tag = strongTag(resp.Header)
	return nil
}

func (s *stream) acceptPart(resp *http.Response) error {
	first, total, err := parseContentRange(resp.Header.Get("Content-Range"))
	if err != nil || first != s.dst.Offset() {
		s.whole = true
		return fmt.Errorf("%w: asked for bytes from %d, got Content-Range %q", ErrShort, s.dst.Offset(), makePrintable(resp.Header.Get("Content-Range")))
	}
	if s.tag == "" {
		s.tag = strongTag(resp.Header)
	}
	return s.checkTotal(total)
}

// refuseRange handles an upstream that has nothing from our offset on: it names
// another length, or is asked again for the whole.
func (s *stream) refuseRange(resp *http.Response) error {
	if _, total, err := parseContentRange(resp.Header.Get("Content-Range")); err == nil {
		if err := s.checkTotal(total); err != nil {
			return err
		}
	}
	s.whole = true
	return fmt.Errorf("%w: the upstream has no bytes from %d on", ErrShort, s.dst.Offset())
}

func (s *stream) checkTotal(total int64) error {
	if total < 0 || s.req.Size < 0 || total == s.req.Size {
		return nil
	}
	return &SizeError{URL: Redact(s.req.URL), Want: s.req.Size, Got: total}
}

// copyBody moves the body into dst and compares lengths.
func (s *stream) copyBody(body io.Reader) error {
	want := int64(-1)
	if s.req.Size >= 0 {
		want = s.req.Size - s.dst.Offset()
	}
	n, err := pumpBody(body, s.dst, want)
	if err != nil {
		return err
	}
	if want < 0 {
		return nil
	}
	if n < want {
		return fmt.Errorf("%w: %d of %d bytes", ErrShort, s.dst.Offset(), s.req.Size)
	}
	return s.checkEnd(body)
}

// checkEnd looks for one byte more than the content may have. Failing to look is
// no failure: all bytes are there.
func (s *stream) checkEnd(body io.Reader) error {
	var one [1]byte
	if n, _ := io.ReadFull(body, one[:]); n > 0 {
		return &SizeError{URL: Redact(s.req.URL), Want: s.req.Size, Got: -1}
	}
	return nil
}

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// pumpBody copies up to limit bytes (all when negative). Reading and writing run
// side by side for content that does not fit one buffer. Errors of dst come
// back as localError.
func pumpBody(src io.Reader, dst io.Writer, limit int64) (int64, error) {
	if limit >= 0 {
		src = io.LimitReader(src, limit)
	}
	if to, ok := dst.(io.ReaderFrom); ok {
		return pumpInto(to, src)
	}
	if limit >= 0 && limit <= bufferSize {
		return pumpOnce(src, dst)
	}
	return pumpParallel(src, dst)
}

func pumpInto(dst io.ReaderFrom, src io.Reader) (int64, error) {
	from := &keeper{Reader: src}
	n, err := dst.ReadFrom(from)
	if err == nil || from.err != nil && err == from.err {
		return n, err
	}
	return n, &localError{err}
}

// keeper remembers how its reader failed.
type keeper struct {
	io.Reader
	err error
}

func (k *keeper) Read(p []byte) (int, error) {
	n, err := k.Reader.Read(p)
	if err != nil && err != io.EOF {
		k.err = err
	}
	return n, err
}

func pumpOnce(src io.Reader, dst io.Writer) (int64, error) {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	n, err := fillBuffer(src, buf[:])
	if werr := writeAll(dst, buf[:n]); werr != nil {
		return 0, werr
	}
	if err == io.EOF {
		err = nil
	}
	return int64(n), err
}

type chunk struct {
	buf *[bufferSize]byte
	n   int
	err error
}

func pumpParallel(src io.Reader, dst io.Writer) (total int64, err error) {
	chunks, quit := make(chan chunk, depth), make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		readChunks(src, chunks, quit)
	}()
	defer func() {
		close(quit)
		<-done // src is free again when pump returns
	}()
	for c := range chunks {
		werr := writeAll(dst, c.buf[:c.n])
		buffers.Put(c.buf)
		if werr != nil {
			return total, werr
		}
		total += int64(c.n)
		if c.err != nil && c.err != io.EOF {
			return total, c.err
		}
	}
	return total, nil
}

// readChunks sends full buffers and, at the end or at an error, what is left.
func readChunks(src io.Reader, chunks chan<- chunk, quit <-chan struct{}) {
	defer close(chunks)
	for {
		c := chunk{buf: buffers.Get().(*[bufferSize]byte)}
		c.n, c.err = fillBuffer(src, c.buf[:])
		select {
		case chunks <- c:
		case <-quit:
			buffers.Put(c.buf)
			return
		}
		if c.err != nil {
			return
		}
	}
}

// fillBuffer reads until buf is full; what came before an error counts.
func fillBuffer(src io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = src.Read(buf[n:])
		n += m
	}
	return n, err
}

func writeAll(dst io.Writer, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := dst.Write(p); err != nil {
		return &localError{err}
	}
	return nil
}
