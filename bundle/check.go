package bundle

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Code classifies a Finding.
type Code string

// What Check can find.
const (
	MissingVolume Code = "missing-volume" // no copy of the volume was found
	ShortVolume   Code = "short-volume"   // the file ends early
	LongVolume    Code = "long-volume"    // bytes after the volume's end
	BadBlock      Code = "bad-block"      // content differs from its digest
	BadHeader     Code = "bad-header"     // a tar header differs
	BadPadding    Code = "bad-padding"    // bytes between entries, or after the last, are not zero
	Unreadable    Code = "unreadable"     // the disk refused
	BadCopy       Code = "bad-copy"       // one copy of a volume is damaged, another is good there
	ExtraVolume   Code = "extra-volume"   // a volume of this name that the bundle does not have
)

// Finding is one thing that is wrong with the volumes.
type Finding struct {
	Code        Code
	Message     string
	Blob        digest.Digest // empty where no single blob is concerned
	Volume      string        // file name
	VolumeIndex int
	Offset      int64 // in the volume
	Length      int64
	Blobs       int // blobs that are incomplete because of a missing, short or unreadable volume
}

// Harmless says that the bundle's content is whole nonetheless.
func (f Finding) Harmless() bool { return f.Code == BadCopy || f.Code == ExtraVolume }

// CheckOptions are the optional parts of Check.
type CheckOptions struct {
	Workers  int               // 0: one per CPU
	Progress func(bytes int64) // called with counts of bytes checked; concurrently
}

// DamageError ends a Check that found damage. It matches ErrDamaged.
type DamageError struct{ Findings int }

func (e *DamageError) Error() string        { return fmt.Sprintf("%v: %d findings", ErrDamaged, e.Findings) }
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// Check reads every byte of the volumes once and reports all that is wrong:
// first which volumes are missing or have the wrong size, then every block,
// header and padding, in parallel. Calls of report do not overlap and come in no
// particular order. Where a volume has several copies, a later one is read only
// where an earlier one is bad. The head was checked whole by Read. Memory:
// about 0.3 MiB a worker. The error is a *DamageError if there was any finding
// that is not harmless.
func (t *Trusted) Check(ctx context.Context, opt CheckOptions, report func(Finding)) error {
	if opt.Workers <= 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	if opt.Progress == nil {
		opt.Progress = func(int64) {}
	}
	c := &check{trusted: t, progress: opt.Progress, report: report}
	c.checkVolumeFiles()
	units := &unitSource{table: t.table}
	g, ctx := errgroup.WithContext(ctx)
	for range opt.Workers {
		g.Go(func() error { return c.checkUnits(ctx, units) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if n := c.damage.Load(); n > 0 {
		return &DamageError{int(n)}
	}
	return nil
}

// check is one Check under way.
type check struct {
	trusted  *Trusted
	progress func(int64)
	readable []int64 // bytes of each volume that some copy has
	damage   atomic.Int64

	mu     sync.Mutex
	report func(Finding)
}

func (c *check) addFinding(f Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.Harmless() {
		c.damage.Add(1)
	}
	c.report(f)
}

// checkVolumeFiles finds missing volumes and wrong sizes.
func (c *check) checkVolumeFiles() {
	s := c.trusted.source
	c.readable = make([]int64, len(s.copies))
	for n := range s.copies {
		c.checkVolumeFile(n)
	}
	for n, paths := range c.trusted.files.Volumes {
		if n >= len(s.copies) {
			name := filepath.Base(paths[0])
			c.addFinding(Finding{
				Code: ExtraVolume, Volume: name, VolumeIndex: n,
				Message: name + " is not part of the bundle",
			})
		}
	}
}

func (c *check) checkVolumeFile(n int) {
	s := c.trusted.source
	want, largest := s.layout.volumeLength(n), int64(-1)
	for _, path := range s.copies[n] {
		if info, err := os.Stat(path); err == nil {
			largest = max(largest, info.Size())
			if info.Size() == want {
				c.readable[n] = want
				return
			}
		}
	}
	c.readable[n] = min(max(0, largest), want)
	f := Finding{Volume: s.fileName(n), VolumeIndex: n}
	switch {
	case largest < 0:
		f.Code, f.Length = MissingVolume, want
	case largest < want:
		f.Code, f.Offset, f.Length = ShortVolume, largest, want-largest
	default:
		f.Code, f.Offset, f.Length = LongVolume, want, largest-want
	}
	f.Blobs = c.countAffected(n, f)
	f.Message = surveyMessage(f, want)
	c.addFinding(f)
}

func surveyMessage(f Finding, want int64) string {
	switch f.Code {
	case MissingVolume:
		return fmt.Sprintf("%s is missing: %d bytes, %d blobs incomplete", f.Volume, want, f.Blobs)
	case ShortVolume:
		return fmt.Sprintf("%s ends at byte %d of %d: %d blobs incomplete", f.Volume, f.Offset, want, f.Blobs)
	}
	return fmt.Sprintf("%s has %d bytes after its end at %d", f.Volume, f.Length, want)
}

// countAffected counts the blobs that have a byte in what a volume lacks.
func (c *check) countAffected(n int, f Finding) (count int) {
	if f.Code == LongVolume {
		return 0
	}
	l := &c.trusted.table.layout
	from := int64(n)*l.volumeSize + f.Offset
	to := from + f.Length
	for i := l.entryAt(from); i < len(l.offsets); i++ {
		start := l.offsets[i] - sector
		if start >= to {
			break
		}
		if start+entrySize(c.trusted.table.blobs[i].size) > from {
			count++
		}
	}
	return count
}

// liesInGap reports whether a range lies where no copy has bytes.
func (c *check) liesInGap(offset, length int64) bool {
	for _, seg := range c.trusted.table.layout.cutSegments(offset, length) {
		if seg.offset+seg.length > c.readable[seg.volume] {
			return true
		}
	}
	return false
}

// part is a range of the stream that is checked as one.
type part struct {
	kind   byte // h(eader), b(lock), p(adding)
	blob   int  // index in the table; -1 for the trailer
	block  int64
	offset int64 // in the stream
	length int64
}

// checkUnits checks units until there are none left.
func (c *check) checkUnits(ctx context.Context, units *unitSource) error {
	w := checkWorker{
		check: c,
		in:    bufio.NewReaderSize(nil, 256<<10),
		chain: newChain(),
	}
	for {
		unit := units.nextUnit(w.parts[:0])
		if len(unit) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		w.parts = unit
		w.checkUnit(unit)
	}
}

// checkWorker checks units one after the other.
type checkWorker struct {
	*check
	in    *bufio.Reader
	chain *chain
	parts []part
}

// checkUnit reads a unit in one go; what does not hold is looked at alone.
func (w *checkWorker) checkUnit(parts []part) {
	first, last := parts[0], parts[len(parts)-1]
	from, to := first.offset, last.offset+last.length
	w.progress(to - from)
	w.trusted.source.readAhead(from, to-from)
	w.in.Reset(&sourceReader{w.trusted.source, from, to})
	broken := w.liesInGap(from, to-from)
	for _, p := range parts {
		good := false
		if !broken {
			var err error
			if good, err = w.streamPart(p); err != nil {
				broken = true
			}
		}
		if !good {
			w.checkAlone(p)
		}
	}
}

// streamPart checks the next part of the unit as it is read.
func (w *checkWorker) streamPart(p part) (good bool, err error) {
	t := w.trusted.table
	good = true
	switch p.kind {
	case 'h':
		h := blobHeader(t.blobs[p.blob].digest, t.blobs[p.blob].size)
		want := h[:]
		err = w.passChunks(p.length, func(b []byte) {
			good = good && bytes.Equal(b, want[:len(b)])
			want = want[len(b):]
		})
	case 'p':
		err = w.passChunks(p.length, func(b []byte) { good = good && allZero(b) })
	default:
		if err := t.blobs[p.blob].beginBlock(w.chain, p.block); err != nil {
			return false, err
		}
		if err := w.passChunks(p.length, func(b []byte) { _, _ = w.chain.Write(b) }); err != nil {
			return false, err
		}
		return t.blobs[p.blob].blockHolds(w.chain, p.block)
	}
	return good, err
}

// passChunks passes the next n bytes on as they lie in the buffer.
func (w *checkWorker) passChunks(n int64, take func([]byte)) error {
	for n > 0 {
		if _, err := w.in.Peek(1); err != nil {
			return err
		}
		b, _ := w.in.Peek(int(min(n, int64(w.in.Buffered()))))
		take(b)
		_, _ = w.in.Discard(len(b))
		n -= int64(len(b))
	}
	return nil
}

// checkAlone looks at one part again, from every copy, and reports what is wrong.
func (w *checkWorker) checkAlone(p part) {
	if w.liesInGap(p.offset, p.length) {
		return // the volume's own finding says so
	}
	buf := blockBuffers.Get().(*blockBuffer)
	defer blockBuffers.Put(buf)
	b := buf.data[:p.length]
	bad := w.tryChoice(p, b, nil)
	if bad == nil {
		return
	}
	wrong := bytesWrong(p, w.trusted.table, b, bad)
	for _, by := range w.trusted.source.otherChoices(p.offset, p.length) {
		if w.tryChoice(p, b, by) == nil {
			w.reportPart(p, wrong, bad, true)
			return
		}
	}
	w.reportPart(p, wrong, bad, false)
}

// tryChoice returns nil if the part holds when read by choice.
func (w *checkWorker) tryChoice(p part, b []byte, by choice) error {
	if err := w.trusted.source.readAt(b, p.offset, by); err != nil {
		return err
	}
	t := w.trusted.table
	good := true
	var err error
	switch p.kind {
	case 'h':
		want := blobHeader(t.blobs[p.blob].digest, t.blobs[p.blob].size)
		good = string(b) == string(want[:])
	case 'p':
		good = allZero(b)
	default:
		good, err = t.blobs[p.blob].checkBlock(w.chain, p.block, b)
	}
	if err == nil && !good {
		err = ErrTampered
	}
	return err
}

// span is a range within a part.
type span struct{ from, to int64 }

// bytesWrong narrows a bad header or padding down to the bytes that differ; of a
// block only the whole can be said to be bad.
func bytesWrong(p part, t *Table, got []byte, bad error) span {
	all := span{0, p.length}
	if p.kind == 'b' || !errors.Is(bad, ErrTampered) {
		return all
	}
	var want header
	if p.kind == 'h' {
		want = blobHeader(t.blobs[p.blob].digest, t.blobs[p.blob].size)
	}
	s := span{-1, 0}
	for i := range got {
		if got[i] != want[i%sector] {
			if s.from < 0 {
				s.from = int64(i)
			}
			s.to = int64(i) + 1
		}
	}
	return s
}

// reportPart reports a bad range once for each volume that it lies in.
func (w *checkWorker) reportPart(p part, wrong span, bad error, harmless bool) {
	f := Finding{Code: partCode(p, bad)}
	if p.blob >= 0 {
		f.Blob = w.trusted.table.blobs[p.blob].digest.digest()
	}
	if harmless {
		f.Code = BadCopy
	}
	places := w.trusted.source.findPlaces(p.offset+wrong.from, wrong.to-wrong.from)
	for _, at := range places {
		f.Volume, f.VolumeIndex, f.Offset, f.Length = at.File, at.Volume, at.Offset, at.Length
		f.Message = partMessage(f, at, bad, len(places) > 1)
		w.addFinding(f)
	}
}

func partCode(p part, bad error) Code {
	switch {
	case !errors.Is(bad, ErrTampered):
		return Unreadable
	case p.kind == 'h':
		return BadHeader
	case p.kind == 'p':
		return BadPadding
	}
	return BadBlock
}

func partMessage(f Finding, at Place, bad error, several bool) string {
	text := map[Code]string{
		BadBlock:   "content differs from its digest",
		BadHeader:  "tar header differs",
		BadPadding: "bytes between entries are not zero",
		BadCopy:    "this copy is damaged, another one is good",
		Unreadable: "cannot be read",
	}[f.Code]
	if several {
		text += " (the block continues in another volume; either may be the damaged one)"
	}
	if f.Code == Unreadable {
		return fmt.Sprintf("%s: %s: %v", at, text, bad)
	}
	return fmt.Sprintf("%s: %s", at, text)
}

// sourceReader reads a range of the stream once.
type sourceReader struct {
	source   *source
	from, to int64
}

func (r *sourceReader) Read(p []byte) (int, error) {
	n := min(int64(len(p)), r.to-r.from)
	if n == 0 {
		return 0, io.EOF
	}
	if err := r.source.readAt(p[:n], r.from, nil); err != nil {
		return 0, err
	}
	r.from += n
	return int(n), nil
}

// unitSource cuts the stream into units of about a block. It is safe for
// concurrent use.
type unitSource struct {
	table *Table

	mu    sync.Mutex
	blob  int
	block int64
	ended bool
}

// nextUnit appends the parts of the next unit, which are contiguous; none at the
// end.
func (u *unitSource) nextUnit(parts []part) []part {
	u.mu.Lock()
	defer u.mu.Unlock()
	for size := int64(0); size < BlockSize && !u.ended; {
		parts = u.appendStep(parts)
		last := parts[len(parts)-1]
		size = last.offset + last.length - parts[0].offset
	}
	return parts
}

// appendStep appends one block with the header before and the padding after it, or the
// trailer.
func (u *unitSource) appendStep(parts []part) []part {
	if u.blob == u.table.Len() {
		u.ended = true
		return append(parts, part{'p', -1, 0, u.table.layout.trailerOffset(), trailerSize})
	}
	b, at := &u.table.blobs[u.blob], u.table.layout.offsets[u.blob]
	if u.block == 0 {
		parts = append(parts, part{'h', u.blob, 0, at - sector, sector})
	}
	if b.size > 0 {
		offset, n := b.blockSpan(u.block)
		parts = append(parts, part{'b', u.blob, u.block, at + offset, n})
	}
	if u.block++; u.block < blockCount(b.size) {
		return parts
	}
	if n := paddingLength(b.size); n > 0 {
		parts = append(parts, part{'p', u.blob, 0, at + b.size, n})
	}
	u.blob, u.block = u.blob+1, 0
	return parts
}
