package catalog

import (
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
)

// Stack is trusted bundles that are read as one. It is safe for concurrent use
// until it is closed.
type Stack []*bundle.Trusted

// Catalog reads the union of the stack's heads.
func (s Stack) Catalog() (*Catalog, error) {
	sources := make([]Source, len(s))
	for i, b := range s {
		sources[i] = Source{Head: b, Sequence: b.Statement().Predicate.Sequence}
	}
	return Read(sources...)
}

// Close closes every bundle; they were only read, so there is nothing to lose.
func (s Stack) Close() {
	for _, b := range s {
		_ = b.Close()
	}
}

// Open returns length bytes of a blob from offset. The first bundle that has
// the blob gives it; where its copy is damaged or a volume is missing, the next
// one goes on from there. Opening reads nothing; bundle.ErrUnknownBlob if no
// bundle has the blob. The caller closes the reader, which one goroutine may use.
func (s Stack) Open(d digest.Digest, offset, length int64) (*Reader, error) {
	r := &Reader{at: offset, end: offset + length}
	var first error
	for _, t := range s {
		b, err := t.Open(d)
		if err == nil {
			r.copies = append(r.copies, b)
		} else if first == nil {
			first = err
		}
	}
	if len(r.copies) == 0 {
		if first == nil {
			first = bundle.ErrUnknownBlob
		}
		return nil, first
	}
	r.end = min(r.end, r.copies[0].Size())
	r.inner = r.copies[0].NewReader(r.at, r.end-r.at)
	return r, nil
}

// Reader reads a blob of a stack. It implements io.ReadCloser and io.WriterTo.
type Reader struct {
	copies  []*bundle.Blob // those not found wanting, the one in use first
	inner   *bundle.BlobReader
	at, end int64
	failed  error // what was wrong with the first copy
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for {
		n, err := r.inner.Read(p)
		r.at += int64(n)
		if n > 0 || err == nil || err == io.EOF || !r.next(err) {
			return n, r.explain(err)
		}
	}
}

// WriteTo implements io.WriterTo.
func (r *Reader) WriteTo(w io.Writer) (total int64, err error) {
	out := &outlet{w: w}
	for {
		n, err := r.inner.WriteTo(out)
		r.at += n
		total += n
		if err == nil || out.err != nil || !r.next(err) {
			return total, r.explain(err)
		}
	}
}

// next turns to another copy.
func (r *Reader) next(err error) bool {
	if r.failed == nil {
		r.failed = err
	}
	if len(r.copies) < 2 || errors.Is(err, io.ErrClosedPipe) {
		return false
	}
	_ = r.inner.Close()
	r.copies = r.copies[1:]
	r.inner = r.copies[0].NewReader(r.at, r.end-r.at)
	return true
}

// explain prefers what was wrong with the first copy to what was wrong with the
// last.
func (r *Reader) explain(err error) error {
	if err == nil || err == io.EOF || r.failed == nil || len(r.copies) > 1 {
		return err
	}
	return r.failed
}

// Close gives the reader's buffer back.
func (r *Reader) Close() error { return r.inner.Close() }

// outlet tells errors of writing from those of reading.
type outlet struct {
	w   io.Writer
	err error
}

func (o *outlet) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.err = err
	return n, err
}
