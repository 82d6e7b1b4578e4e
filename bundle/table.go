package bundle

import (
	"bufio"
	"bytes"
	"io"
	"strconv"

	"github.com/opencontainers/go-digest"
)

// Where says where the content of an entry comes from. Format version 1 knows
// Here alone; the other words are reserved for delta bundles.
type Where string

const (
	Here   Where = "here"   // in the volumes, at Offset
	Base   Where = "base"   // in the parent bundle
	Recipe Where = "recipe" // put together from ranges of parent blobs and literals
)

// Entry is one blob of the volumes.
type Entry struct {
	Digest digest.Digest
	Size   int64
	Offset int64 // of its first content byte, from the start of volume 0
	Where  Where
}

// Table lists the blobs of the volumes in stream order, with what proves their
// blocks. It takes about 56 bytes of memory a blob and 8 MiB per TiB.
type Table struct {
	layout layout
	blobs  []proof
}

// Len is the number of blobs in the volumes.
func (t *Table) Len() int { return len(t.blobs) }

// Entry returns blob i, counted in stream order from 0.
func (t *Table) Entry(i int) Entry {
	b := &t.blobs[i]
	return Entry{b.digest.digest(), b.size, t.layout.offsets[i], Here}
}

// Volumes is the number of volumes, at least one.
func (t *Table) Volumes() int { return t.layout.volumeCount() }

// VolumeSize is the size in bytes of every volume but the last.
func (t *Table) VolumeSize() int64 { return t.layout.volumeSize }

// VolumeLength is the size in bytes of volume n.
func (t *Table) VolumeLength(n int) int64 { return t.layout.volumeLength(n) }

// StreamSize is the size in bytes of all volumes together.
func (t *Table) StreamSize() int64 { return t.layout.streamSize }

// ContentSize is the size in bytes of all blobs in the volumes.
func (t *Table) ContentSize() (n int64) {
	for i := range t.blobs {
		n += t.blobs[i].size
	}
	return n
}

// writeTo writes the table's one canonical form (FORMAT.md, "Blob table").
func (t *Table) writeTo(w io.Writer) error {
	b := bufio.NewWriterSize(w, 64<<10)
	line := make([]byte, 0, 256)
	line = appendField(line, `{"formatVersion":`, FormatVersion)
	line = appendField(line, `,"blockSize":`, BlockSize)
	line = appendField(line, `,"volumeSize":`, t.layout.volumeSize)
	line = appendField(line, `,"streamSize":`, t.layout.streamSize)
	_, _ = b.Write(append(line, `,"entries":[`...))
	for i := range t.blobs {
		if i > 0 {
			_ = b.WriteByte(',')
		}
		_, _ = b.Write(t.appendEntry(line[:0], i))
	}
	_, _ = b.WriteString("]}")
	return b.Flush()
}

func appendField(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(b, name...), n, 10)
}

func (t *Table) appendEntry(b []byte, i int) []byte {
	b = append(append(b, `{"digest":"sha256:`...), t.blobs[i].digest.hex()...)
	b = appendField(b, `","size":`, t.blobs[i].size)
	b = appendField(b, `,"offset":`, t.layout.offsets[i])
	return append(b, `,"where":"here"}`...)
}

// checkValues returns the check values of all blobs, in stream order.
func (t *Table) checkValues() []byte {
	var b bytes.Buffer
	for i := range t.blobs {
		for _, v := range t.blobs[i].values {
			_, _ = b.Write(v[:])
		}
	}
	return b.Bytes()
}

// parseTable reads a table in its canonical form and requires every offset to be
// the one that its sizes give. Memory grows with the entries read, never with a
// number that the table declares.
func parseTable(r io.Reader) (*Table, error) {
	s := tableScanner{in: bufio.NewReaderSize(r, 64<<10)}
	if v := s.scanField(`{"formatVersion":`); s.err == nil && v != FormatVersion {
		return nil, versionError(v)
	}
	if n := s.scanField(`,"blockSize":`); s.err == nil && n != BlockSize {
		return nil, formatError("block size %d", n)
	}
	volumeSize := s.scanField(`,"volumeSize":`)
	streamSize := s.scanField(`,"streamSize":`)
	s.scanLiteral(`,"entries":[`)
	blobs, offsets := s.scanEntries()
	s.scanEnd()
	if s.err != nil {
		return nil, s.err
	}
	return assembleTable(blobs, offsets, volumeSize, streamSize)
}

func assembleTable(blobs []proof, offsets []int64, volumeSize, streamSize int64) (*Table, error) {
	l, err := newLayout(volumeSize, len(blobs), func(i int) int64 { return blobs[i].size })
	if err != nil {
		return nil, err
	}
	if l.streamSize != streamSize {
		return nil, formatError("table declares %d bytes, its entries make %d", streamSize, l.streamSize)
	}
	for i, o := range offsets {
		if o != l.offsets[i] {
			return nil, formatError("entry %d lies at %d, its predecessors end before %d", i, o, l.offsets[i])
		}
	}
	return &Table{layout: l, blobs: blobs}, nil
}

// takeBlocks gives each blob its check values.
func (t *Table) takeBlocks(b []byte) error {
	values := make([]sum, len(b)/len(sum{}))
	if len(b) != len(values)*len(sum{}) {
		return formatError("%d bytes of check values", len(b))
	}
	for i := range values {
		copy(values[i][:], b[i*len(sum{}):])
	}
	for i := range t.blobs {
		n := valueCount(t.blobs[i].size)
		if n > int64(len(values)) {
			return formatError("check values missing from blob %d on", i)
		}
		t.blobs[i].values, values = values[:n:n], values[n:]
	}
	if len(values) > 0 {
		return formatError("%d check values too many", len(values))
	}
	return nil
}

// tableScanner reads the canonical form of a table and nothing else. Its first
// error sticks.
type tableScanner struct {
	in  *bufio.Reader
	err error
}

func (s *tableScanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = formatError(format, args...)
	}
}

func (s *tableScanner) readByte() byte {
	if s.err != nil {
		return 0
	}
	b, err := s.in.ReadByte()
	if err != nil {
		s.fail("table ends early")
	}
	return b
}

func (s *tableScanner) scanLiteral(want string) {
	for i := range len(want) {
		if b := s.readByte(); s.err == nil && b != want[i] {
			s.fail("table is not in canonical form near %q", want)
		}
	}
}

// scanField reads a name and a decimal number without sign or leading zero.
func (s *tableScanner) scanField(name string) int64 {
	s.scanLiteral(name)
	digits := make([]byte, 0, 20)
	for s.err == nil {
		p, err := s.in.Peek(1)
		if err != nil || p[0] < '0' || p[0] > '9' {
			break
		}
		if digits = append(digits, s.readByte()); len(digits) > 18 {
			s.fail("number of more than 18 digits in table")
		}
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || (digits[0] == '0' && len(digits) > 1) {
		s.fail("number %q in table", digits)
	}
	return n
}

func (s *tableScanner) scanEntries() (blobs []proof, offsets []int64) {
	if p, err := s.in.Peek(1); err != nil || p[0] != '{' {
		return nil, nil
	}
	for s.err == nil {
		b, offset := s.scanEntry()
		blobs, offsets = append(blobs, b), append(offsets, offset)
		if len(blobs) > maxEntries {
			s.fail("more than %d blobs", maxEntries)
		}
		if p, err := s.in.Peek(1); err != nil || p[0] != ',' {
			break
		}
		s.scanLiteral(",")
	}
	return blobs, offsets
}

func (s *tableScanner) scanEntry() (b proof, offset int64) {
	s.scanLiteral(`{"digest":"sha256:`)
	var digits [64]byte
	for i := range digits {
		digits[i] = s.readByte()
	}
	if s.err == nil && !hexDigits(digits[:]) {
		s.fail("digest %q in table", digits)
	}
	b.digest.decode(string(digits[:]))
	b.size = s.scanField(`","size":`)
	if s.err == nil && b.size == 0 && b.digest != sumOf(nil) {
		s.fail("empty blob with digest %s", b.digest.digest())
	}
	offset = s.scanField(`,"offset":`)
	s.scanWhere()
	return b, offset
}

// scanWhere accepts "here" and names a delta bundle as what it is.
func (s *tableScanner) scanWhere() {
	s.scanLiteral(`,"where":"`)
	for _, w := range []Where{Base, Recipe} {
		if p, err := s.in.Peek(len(w) + 1); err == nil && string(p) == string(w)+`"` && s.err == nil {
			s.err = ErrDelta
		}
	}
	s.scanLiteral(`here"}`)
}

func (s *tableScanner) scanEnd() {
	s.scanLiteral("]}")
	if _, err := s.in.ReadByte(); err != io.EOF {
		s.fail("bytes after the table")
	}
}

func hexDigits(p []byte) bool {
	for _, b := range p {
		if (b < '0' || b > '9') && (b < 'a' || b > 'f') {
			return false
		}
	}
	return true
}
