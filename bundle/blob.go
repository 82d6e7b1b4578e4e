package bundle

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
)

// stream is what a blob lies in: the volumes or the head.
type stream interface {
	readAt(p []byte, offset int64, by choice) error
	otherChoices(offset, length int64) []choice
	findPlaces(offset, length int64) []Place
	readAhead(offset, length int64) // a hint
}

// Place is a range of a file of the bundle.
type Place struct {
	Volume int    // its number; -1 for the head
	File   string // base name
	Offset int64  // in the file
	Length int64
}

func (p Place) String() string {
	return fmt.Sprintf("%s, bytes %d to %d", p.File, p.Offset, p.Offset+p.Length-1)
}

// BlockError says that a block is not what the signature covers. A block that
// lies across a volume boundary has several places, and any of them may be the
// damaged one. It matches ErrTampered unless the disk refused to read, which
// leaves the place in the volume that it refused, or that is too short.
type BlockError struct {
	Blob   digest.Digest
	Places []Place
	Err    error
}

func (e *BlockError) Error() string {
	return fmt.Sprintf("blob %s in %v: %v", e.Blob, e.Places, e.Err)
}

func (e *BlockError) Unwrap() error { return e.Err }

// Blob is content of a trusted bundle. Every block is hashed before a byte of it
// leaves. It is safe for concurrent use and needs no closing; Close is there for
// those who expect it.
type Blob struct {
	*proof
	offset int64
	stream stream
	rooms  rooms
}

// Size is the blob's size in bytes.
func (b *Blob) Size() int64 { return b.size }

// Digest is the blob's digest.
func (b *Blob) Digest() digest.Digest { return b.digest.digest() }

// Close does nothing.
func (b *Blob) Close() error { return nil }

// blockBuffer is room for one block and what hashes it.
type blockBuffer struct {
	data  []byte
	chain *chain
}

var blockBuffers = sync.Pool{New: func() any { return &blockBuffer{make([]byte, BlockSize), newChain()} }}

// readBlock reads block i into the buffer and proves it, if need be from another
// copy of a volume.
func (b *Blob) readBlock(i int64, buf *blockBuffer) ([]byte, error) {
	at, n := b.blockSpan(i)
	p := buf.data[:n]
	first := b.tryBlock(i, p, buf.chain, nil)
	if first == nil {
		return p, nil
	}
	for _, c := range b.stream.otherChoices(b.offset+at, n) {
		if b.tryBlock(i, p, buf.chain, c) == nil {
			return p, nil
		}
	}
	clear(p)
	return nil, first
}

func (b *Blob) tryBlock(i int64, p []byte, c *chain, by choice) error {
	at, n := b.blockSpan(i)
	err := b.stream.readAt(p, b.offset+at, by)
	if err == nil {
		var good bool
		if good, err = b.checkBlock(c, i, p); good {
			return nil
		}
		if err == nil {
			err = ErrTampered
		}
	}
	return b.describeFailure(at, n, err)
}

// describeFailure says what is wrong with a range of the blob.
func (b *Blob) describeFailure(at, n int64, err error) error {
	if missing, ok := err.(*MissingError); ok {
		return fmt.Errorf("reading blob %s: %w", b.digest.digest(), missing)
	}
	places := b.stream.findPlaces(b.offset+at, n)
	if refused := new(segmentError); errors.As(err, &refused) {
		places = slices.DeleteFunc(places, func(p Place) bool { return p.Volume != refused.volume })
	}
	return &BlockError{b.digest.digest(), places, err}
}

// ReadAt implements io.ReaderAt. Each call reads and hashes the whole blocks
// that it touches; for more than a few bytes NewReader costs less.
func (b *Blob) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("reading blob %s: negative offset", b.digest.digest())
	}
	if offset >= b.size {
		return 0, io.EOF
	}
	r := b.NewReader(offset, int64(len(p)))
	defer r.Close()
	n, err := io.ReadFull(r, p[:min(int64(len(p)), b.size-offset)])
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// NewReader reads length bytes from offset, less where the blob ends. It is not
// safe for concurrent use; the caller closes it. It holds a buffer of BlockSize
// between the first read and its end or Close; beyond maxRooms such readers of
// one bundle a further one makes do with 64 KiB, and hashes twice.
func (b *Blob) NewReader(offset, length int64) *BlobReader {
	offset = min(max(0, offset), b.size)
	return &BlobReader{blob: b, at: offset, end: offset + min(max(0, length), b.size-offset)}
}

// BlobReader reads a range of a blob. It implements io.ReadCloser and
// io.WriterTo.
type BlobReader struct {
	blob  *Blob
	at    int64
	end   int64
	buf   *blockBuffer
	sieve *sieve // instead of buf while too many readers are at work
	view  []byte // proven and not yet handed out
	err   error
}

// fillView makes view the proven bytes from at on.
func (r *BlobReader) fillView() error {
	if r.err != nil || len(r.view) > 0 {
		return r.err
	}
	if r.at >= r.end {
		r.releaseBuffer()
		return io.EOF
	}
	i := r.at / BlockSize
	if r.buf == nil && (r.sieve == nil || r.sieve.block != i) && r.blob.rooms.takeRoom() {
		r.buf = blockBuffers.Get().(*blockBuffer)
	}
	if r.buf == nil {
		return r.fillLittle()
	}
	p, err := r.blob.readBlock(i, r.buf)
	if err != nil {
		r.err = err
		r.releaseBuffer()
		return err
	}
	start := i * BlockSize
	r.view = p[r.at-start : min(r.end-start, int64(len(p)))]
	r.prefetchBlock(start + BlockSize)
	return nil
}

// prefetchBlock lets the disk fetch the next block while this one is on its way out.
func (r *BlobReader) prefetchBlock(next int64) {
	if next < r.end {
		r.blob.stream.readAhead(r.blob.offset+next, min(BlockSize, r.end-next))
	}
}

// fillLittle is fill without room for a whole block.
func (r *BlobReader) fillLittle() (err error) {
	if r.sieve == nil {
		r.sieve = newSieve(r.blob)
	}
	p, err := r.sieve.readChunk(r.at)
	if err != nil {
		r.err = err
		return err
	}
	r.view = p[:min(r.end-r.at, int64(len(p)))]
	return nil
}

func (r *BlobReader) releaseBuffer() {
	if r.buf != nil {
		blockBuffers.Put(r.buf)
		r.blob.rooms.giveBack()
	}
	r.buf, r.sieve, r.view = nil, nil, nil
}

func (r *BlobReader) advance(n int) {
	r.at, r.view = r.at+int64(n), r.view[n:]
}

// Read implements io.Reader.
func (r *BlobReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.fillView(); err != nil {
		return 0, err
	}
	n := copy(p, r.view)
	r.advance(n)
	return n, nil
}

// WriteTo implements io.WriterTo: whole blocks without another copy.
func (r *BlobReader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if err := r.fillView(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := w.Write(r.view)
		total += int64(n)
		r.advance(n)
		if err != nil {
			return total, err
		}
	}
}

// Close gives the buffer back. Reading on is an error.
func (r *BlobReader) Close() error {
	r.releaseBuffer()
	if r.err == nil {
		r.err = io.ErrClosedPipe
	}
	return nil
}

// headStream reads blobs of the head.
type headStream struct {
	head *head
	file string
}

func (s headStream) readAt(p []byte, offset int64, _ choice) error {
	if _, err := s.head.file.ReadAt(p, offset); err != nil {
		return headReadError(err)
	}
	return nil
}

func (s headStream) otherChoices(int64, int64) []choice { return nil }

func (s headStream) readAhead(int64, int64) {}

func (s headStream) findPlaces(offset, length int64) []Place {
	return []Place{{-1, s.file, offset, length}}
}

func (s *source) findPlaces(offset, length int64) []Place {
	var all []Place
	for _, seg := range s.layout.cutSegments(offset, length) {
		all = append(all, Place{seg.volume, s.fileName(seg.volume), seg.offset, seg.length})
	}
	return all
}
