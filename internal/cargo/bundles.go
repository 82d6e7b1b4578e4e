package cargo

import (
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/cargo/catalog"
)

// Bundles are several bundles that are read as one. They are safe for concurrent
// use until they are closed.
type Bundles []*Bundle

// Catalog shows what the bundles hold together as a registry would.
func (bs Bundles) Catalog() (*catalog.Catalog, error) {
	sources := make([]catalog.Source, len(bs))
	for i, b := range bs {
		sources[i] = catalog.Source{Head: b, Sequence: b.Sequence()}
	}
	c, err := catalog.Read(sources...)
	if err != nil {
		return nil, fmt.Errorf("reading the bundles' catalogue: %w", err)
	}
	return c, nil
}

// Names are those in the bundles themselves, in their order.
func (bs Bundles) Names() []string {
	names := make([]string, len(bs))
	for i, b := range bs {
		names[i] = b.Name()
	}
	return names
}

// Keep returns the bundle with the given index.json and closes all others; nil
// where there is none such.
func (bs Bundles) Keep(index digest.Digest) *Bundle {
	var kept *Bundle
	for _, b := range bs {
		if kept == nil && b.IndexDigest() == index {
			kept = b
			continue
		}
		_ = b.Close()
	}
	return kept
}

// Close closes every bundle; they were only read, so there is nothing to lose.
func (bs Bundles) Close() {
	for _, b := range bs {
		_ = b.Close()
	}
}

// Open returns length bytes of a blob from offset. The first bundle that has
// the blob gives it; where its copy is damaged or a volume is missing, the next
// one goes on from there. Opening reads nothing; bundle.ErrUnknownBlob if no
// bundle has the blob. The caller closes the reader, which one goroutine may use.
func (bs Bundles) Open(d digest.Digest, offset, length int64) (*Reader, error) {
	r := &Reader{at: offset, end: offset + length}
	var first error
	for _, one := range bs {
		b, err := one.Open(d)
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

// Reader reads a blob of several bundles. It implements io.ReadCloser and io.WriterTo.
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
		if n > 0 || err == nil || err == io.EOF || !r.tryNextCopy(err) {
			return n, r.firstError(err)
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
		if err == nil || out.err != nil || !r.tryNextCopy(err) {
			return total, r.firstError(err)
		}
	}
}

// tryNextCopy turns to another copy.
func (r *Reader) tryNextCopy(err error) bool {
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

// firstError prefers what was wrong with the first copy to what was wrong with the
// last.
func (r *Reader) firstError(err error) error {
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
