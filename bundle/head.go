package bundle

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"sort"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const layoutFile = `{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`

// head is a parsed head: where each blob lies in it. Content is read from the
// file on demand and proven again each time.
type head struct {
	file  io.ReaderAt
	size  int64
	index []byte // index.json
	blobs []headBlob
}

type headBlob struct {
	proof
	offset int64
}

// parseHead reads a head from its first byte to its last: entries in their one
// order, canonical headers, zero padding, every blob equal to its name, nothing
// after the last entry. Memory: index.json plus about 72 bytes a blob.
func parseHead(file io.ReaderAt, size int64) (*head, error) {
	if size > maxHead || size%sector != 0 {
		return nil, formatError("head of %d bytes", size)
	}
	in := io.NewSectionReader(file, 0, size)
	p := headParser{in: bufio.NewReaderSize(in, 256<<10), left: size, chain: newChain()}
	h := &head{file: file, size: size}
	if err := p.parseHead(h); err != nil {
		return nil, err
	}
	return h, nil
}

// headParser walks the entries of a head.
type headParser struct {
	in    *bufio.Reader
	left  int64
	chain *chain
}

func (p *headParser) parseHead(h *head) (err error) {
	layout, err := p.readFixedEntry("oci-layout", int64(len(layoutFile)))
	if err != nil {
		return err
	}
	if string(layout) != layoutFile {
		return formatError("oci-layout is not %s", layoutFile)
	}
	if h.index, err = p.readFixedEntry("index.json", maxIndex); err != nil {
		return err
	}
	for p.left > 0 {
		b, err := p.readBlob(h.size)
		if err != nil {
			return err
		}
		if n := len(h.blobs); n > 0 && bytes.Compare(h.blobs[n-1].digest[:], b.digest[:]) >= 0 {
			return formatError("head entry %s is out of order", b.digest.digest())
		}
		h.blobs = append(h.blobs, b)
	}
	return nil
}

// readEntry reads a header and requires that its entry ends within the head.
func (p *headParser) readEntry() (name string, size int64, err error) {
	var h header
	if _, err := io.ReadFull(p.in, h[:]); err != nil {
		return "", 0, headReadError(err)
	}
	if name, size, err = h.parseEntry(); err != nil {
		return "", 0, err
	}
	if size > p.left-sector || entrySize(size) > p.left {
		return "", 0, formatError("head entry %q reaches beyond the end", name)
	}
	p.left -= entrySize(size)
	return name, size, nil
}

func headReadError(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return formatError("head ends early")
	}
	return fmt.Errorf("reading head: %w", err)
}

func (p *headParser) readFixedEntry(want string, limit int64) ([]byte, error) {
	name, size, err := p.readEntry()
	if err != nil {
		return nil, err
	}
	if name != want || size > limit {
		return nil, formatError("head entry %q of %d bytes where %s belongs", name, size, want)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(p.in, b); err != nil {
		return nil, headReadError(err)
	}
	return b, p.readPadding(size)
}

// readBlob reads one content blob and requires that its name is its digest.
func (p *headParser) readBlob(total int64) (b headBlob, err error) {
	at := total - p.left + sector
	name, size, err := p.readEntry()
	if err != nil {
		return b, err
	}
	r := recorder{chain: p.chain, size: size}
	p.chain.Reset()
	if err := p.recordContent(&r, size); err != nil {
		return b, err
	}
	b = headBlob{proof{p.chain.finalSum(), size, r.values}, at}
	if name != blobName(b.digest) {
		return b, formatError("head entry %q holds %s", name, b.digest.digest())
	}
	return b, p.readPadding(size)
}

func (p *headParser) recordContent(r *recorder, size int64) error {
	for size > 0 {
		b, err := p.in.Peek(int(min(size, int64(p.in.Size()))))
		if err != nil {
			return headReadError(err)
		}
		if err := r.write(b); err != nil {
			return err
		}
		n, _ := p.in.Discard(len(b))
		size -= int64(n)
	}
	return nil
}

func (p *headParser) readPadding(size int64) error {
	var b [sector]byte
	pad := b[:paddingLength(size)]
	if _, err := io.ReadFull(p.in, pad); err != nil {
		return headReadError(err)
	}
	if !allZero(pad) {
		return formatError("padding in the head is not zero")
	}
	return nil
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// findBlob returns the blob with the given digest.
func (h *head) findBlob(s sum) (int, bool) {
	i := sort.Search(len(h.blobs), func(i int) bool { return bytes.Compare(h.blobs[i].digest[:], s[:]) >= 0 })
	return i, i < len(h.blobs) && h.blobs[i].digest == s
}

// readBlob returns a whole blob of at most limit bytes, proven.
func (h *head) readBlob(i int, limit int64) ([]byte, error) {
	b := &h.blobs[i]
	if b.size > limit {
		return nil, formatError("blob %s of %d bytes, at most %d are allowed", b.digest.digest(), b.size, limit)
	}
	p := make([]byte, b.size)
	if _, err := h.file.ReadAt(p, b.offset); err != nil {
		return nil, headReadError(err)
	}
	if sumOf(p) != b.digest {
		return nil, fmt.Errorf("reading %s from the head: %w", b.digest.digest(), ErrTampered)
	}
	return p, nil
}

// streamBlob hands a blob to parse and proves the very bytes that parse was given:
// a medium that answers differently the second time is found out. What parse
// made of them counts only when stream returns nil.
func (h *head) streamBlob(i int, parse func(io.Reader) error) error {
	b := &h.blobs[i]
	hash := sha256.New()
	r := io.TeeReader(io.NewSectionReader(h.file, b.offset, b.size), hash)
	parsed := parse(r)
	if _, err := io.Copy(io.Discard, r); err != nil {
		return headReadError(err)
	}
	if sum(hash.Sum(nil)) != b.digest {
		return fmt.Errorf("reading %s from the head: %w", b.digest.digest(), ErrTampered)
	}
	return parsed
}

// headBuilder collects what goes into a head.
type headBuilder struct {
	blobs map[sum]headContent
}

// headContent is a blob to be: its size, and what writes it.
type headContent struct {
	size  int64
	write func(io.Writer) error
}

func bytesContent(p []byte) headContent {
	return headContent{int64(len(p)), func(w io.Writer) error {
		_, err := w.Write(p)
		return err
	}}
}

func newHeadBuilder() *headBuilder { return &headBuilder{blobs: map[sum]headContent{}} }

func (b *headBuilder) addBlob(p []byte) sum {
	s := sumOf(p)
	b.blobs[s] = bytesContent(p)
	return s
}

// addStream adds what write writes, now and again.
func (b *headBuilder) addStream(write func(io.Writer) error) (sum, int64, error) {
	count := countingHash{Hash: sha256.New()}
	if err := write(&count); err != nil {
		return sum{}, 0, err
	}
	s := sum(count.Sum(nil))
	b.blobs[s] = headContent{count.n, write}
	return s, count.n, nil
}

type countingHash struct {
	hash.Hash
	n int64
}

func (c *countingHash) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.Hash.Write(p)
}

// writeHead writes the head: a function of index.json and the blobs alone.
func (b *headBuilder) writeHead(w io.Writer, index []byte) error {
	if err := writeEntry(w, "oci-layout", bytesContent([]byte(layoutFile))); err != nil {
		return err
	}
	if err := writeEntry(w, "index.json", bytesContent(index)); err != nil {
		return err
	}
	for _, s := range b.sortedSums() {
		if err := writeEntry(w, blobName(s), b.blobs[s]); err != nil {
			return err
		}
	}
	return nil
}

func (b *headBuilder) sortedSums() []sum {
	order := make([]sum, 0, len(b.blobs))
	for s := range b.blobs {
		order = append(order, s)
	}
	sort.Slice(order, func(i, j int) bool { return bytes.Compare(order[i][:], order[j][:]) < 0 })
	return order
}

func writeEntry(w io.Writer, name string, c headContent) error {
	h := newHeader(name, c.size)
	if _, err := w.Write(h[:]); err != nil {
		return err
	}
	if err := c.write(w); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	var zeros [sector]byte
	_, err := w.Write(zeros[:paddingLength(c.size)])
	return err
}
