package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
)

const (
	pieceSize   = 1 << 20
	slotPieces  = 4 // pieces of one slot in memory
	pieceMargin = 2 * sector
)

// piece is a run of bytes on its way to the volumes: perhaps a header, then
// content, then perhaps padding.
type piece struct {
	data   []byte
	lead   int   // bytes of header
	tail   int   // bytes of padding
	at     int64 // of the first byte in the stream
	front  int64 // content offset after this piece
	values []sum // of the blocks that end before front
}

func (p *piece) filledBytes() []byte { return p.data[p.lead : len(p.data)-p.tail] }

var pieces = sync.Pool{New: func() any { return &piece{data: make([]byte, 0, pieceSize+pieceMargin)} }}

// SlotWriter fills one slot from its first missing byte on. Hashing and writing
// run behind the caller, each on its own; at most 4 MiB are on the way. A
// SlotWriter is not safe for concurrent use.
type SlotWriter struct {
	ctx    context.Context
	writer *Writer
	slot   *slot
	hash   *recorder
	offset int64 // bytes accepted
	framed bool  // the header is written, or on its way
	now    *piece
	line   *pipeline
	noted  int64 // offset up to which progress was noted
	closed bool
}

// Slot opens slot i. The bytes kept from earlier writing are proven and, if
// observe is not nil, written to it, from the first byte on; a bad block and all
// that follows it are dropped first. Write then continues at Offset. Bytes given
// to Write are not written to observe. The caller commits or closes the writer;
// a slot can be opened once at a time, and not once finished.
func (w *Writer) Slot(ctx context.Context, i int, observe io.Writer) (*SlotWriter, error) {
	s := w.slots[i]
	if err := s.claim(); err != nil {
		return nil, err
	}
	sw := &SlotWriter{ctx: ctx, writer: w, slot: s, hash: newRecorder(s.size)}
	if err := sw.replayKept(observe); err != nil {
		s.unclaim()
		return nil, fmt.Errorf("resuming %s: %w", s.Key, err)
	}
	return sw, nil
}

func (s *slot) claim() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy || s.committed {
		return fmt.Errorf("opening slot %s: in use or finished", s.Key)
	}
	s.busy = true
	return nil
}

func (s *slot) unclaim() {
	s.mu.Lock()
	s.busy = false
	s.mu.Unlock()
}

// replayKept proves the kept blocks where that is still to be done and shows them to
// observe.
func (sw *SlotWriter) replayKept(observe io.Writer) error {
	s := sw.slot
	if !s.proven || observe != nil {
		kept, err := sw.replayBlocks(observe)
		if err != nil {
			return err
		}
		if kept < int64(len(s.values)) {
			if err := sw.writer.shortenSlot(s, kept); err != nil {
				return err
			}
		}
		s.proven = true
	}
	sw.offset = s.keptBytes()
	sw.noted = sw.offset
	return sw.hash.resumeAfter(s.values)
}

func (sw *SlotWriter) replayBlocks(observe io.Writer) (int64, error) {
	buf := blockBuffers.Get().(*blockBuffer)
	defer blockBuffers.Put(buf)
	blob := sw.slot.keptBlob(sw.writer.volumes)
	for i := range int64(len(sw.slot.values)) {
		if err := sw.ctx.Err(); err != nil {
			return 0, err
		}
		p, err := blob.readBlock(i, buf)
		if err != nil {
			return i, nil
		}
		if observe == nil {
			continue
		}
		if _, err := observe.Write(p); err != nil {
			return 0, err
		}
	}
	return int64(len(sw.slot.values)), nil
}

// Offset is the number of bytes that the slot has, kept and written.
func (sw *SlotWriter) Offset() int64 { return sw.offset }

// Size is the number of bytes that the slot takes.
func (sw *SlotWriter) Size() int64 { return sw.slot.size }

var errClosedSlot = errors.New("slot writer is closed")

// Write takes the next bytes; more than the slot takes is ErrSize and none of
// them are kept. It may return before the bytes are hashed and written; Commit
// waits for that. The slice is not retained.
func (sw *SlotWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > sw.slot.size-sw.offset {
		return 0, sw.sizeError(sw.offset + int64(len(p)))
	}
	total := 0
	for len(p) > 0 {
		room, err := sw.freeRoom()
		if err != nil {
			return total, err
		}
		n := copy(room, p)
		p, total = p[n:], total+n
		if err := sw.acceptBytes(n); err != nil {
			return total, err
		}
	}
	return total, nil
}

// ReadFrom implements io.ReaderFrom: it reads r to its end, straight into the
// buffers. A byte more than the slot takes is ErrSize.
func (sw *SlotWriter) ReadFrom(r io.Reader) (total int64, err error) {
	for sw.offset < sw.slot.size {
		room, err := sw.freeRoom()
		if err != nil {
			return total, err
		}
		n, err := r.Read(room)
		total += int64(n)
		if e := sw.acceptBytes(n); e != nil {
			return total, e
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
	return total, sw.expectEnd(r)
}

func (sw *SlotWriter) expectEnd(r io.Reader) error {
	var extra [1]byte
	n, err := io.ReadFull(r, extra[:])
	if n > 0 {
		return sw.sizeError(sw.offset + 1)
	}
	if err == io.EOF {
		return nil
	}
	return err
}

func (sw *SlotWriter) sizeError(got int64) error {
	return fmt.Errorf("%s: %w: %d bytes, expected %d", sw.slot.Key, ErrSize, got, sw.slot.size)
}

// freeRoom is where the next bytes go.
func (sw *SlotWriter) freeRoom() ([]byte, error) {
	if sw.closed {
		return nil, errClosedSlot
	}
	if sw.now == nil {
		if err := sw.newPiece(); err != nil {
			return nil, err
		}
	}
	p := sw.now
	n := min(int64(pieceSize-(len(p.data)-p.lead)), sw.slot.size-sw.offset)
	return p.data[len(p.data) : len(p.data)+int(n)], nil
}

func (sw *SlotWriter) newPiece() (err error) {
	if sw.line == nil {
		sw.line = startPipeline(sw)
	}
	if sw.now, err = sw.line.takeEmptyPiece(); err != nil {
		return err
	}
	p := sw.now
	p.data, p.lead, p.tail, p.at = p.data[:0], 0, 0, sw.slot.at+sw.offset
	if sw.offset == 0 && sw.slot.Digest != "" {
		h := blobHeader(sw.slot.digest, sw.slot.size)
		p.data, p.lead, p.at = append(p.data, h[:]...), sector, p.at-sector
		sw.framed = true
	}
	return nil
}

// acceptBytes counts n bytes that were put into freeRoom and sends a full piece off.
func (sw *SlotWriter) acceptBytes(n int) error {
	p := sw.now
	p.data = p.data[:len(p.data)+n]
	sw.offset += int64(n)
	last := sw.offset == sw.slot.size
	if last {
		p.tail = int(paddingLength(sw.slot.size))
		p.data = append(p.data, make([]byte, p.tail)...)
	}
	if last || len(p.data)-p.lead >= pieceSize {
		return sw.sendPiece()
	}
	return nil
}

func (sw *SlotWriter) sendPiece() error {
	p := sw.now
	sw.now = nil
	p.front = sw.offset
	return sw.line.sendPiece(p)
}

// Reset throws away what the slot has, kept bytes included; Write starts over at
// offset 0.
func (sw *SlotWriter) Reset() error {
	if sw.closed {
		return errClosedSlot
	}
	_ = sw.drainPipeline() // what went wrong with the old bytes does not matter
	sw.offset, sw.noted, sw.framed = 0, 0, false
	if err := sw.slot.forgetContent(sw.writer); err != nil {
		return err
	}
	return sw.hash.resumeAfter(nil)
}

func (s *slot) forgetContent(w *Writer) error {
	s.mu.Lock()
	s.values, s.noted = nil, 0
	s.mu.Unlock()
	return w.journal.appendReset(s.index)
}

// drainPipeline waits until all bytes accepted are hashed and written.
func (sw *SlotWriter) drainPipeline() error {
	if sw.line == nil {
		return nil
	}
	line := sw.line
	if sw.now != nil {
		_ = sw.sendPiece()
	}
	sw.line = nil
	return line.awaitPieces()
}

// Commit ends the slot: all bytes must be there (ErrSize) and, where the digest
// was known, must have it (ErrDigestMismatch; the slot is then reset). It
// returns the digest. The slot counts as finished once it is durable and
// journaled, which happens in the background; Flush or Seal wait for it. After
// an error other than these two the slot keeps what was written.
func (sw *SlotWriter) Commit() (digest.Digest, error) {
	if sw.closed {
		return "", errClosedSlot
	}
	if sw.offset != sw.slot.size {
		return "", sw.sizeError(sw.offset)
	}
	if err := sw.drainPipeline(); err != nil {
		return "", err
	}
	d := sw.hash.chain.finalSum()
	if sw.slot.Digest != "" && d != sw.slot.digest {
		got := d.digest()
		if err := sw.Reset(); err != nil {
			return "", err
		}
		return got, fmt.Errorf("%s: %w: got %s", sw.slot.Key, ErrDigestMismatch, got)
	}
	return d.digest(), sw.commitDigest(d)
}

func (sw *SlotWriter) commitDigest(d sum) error {
	if !sw.framed {
		h := blobHeader(d, sw.slot.size)
		if err := sw.writer.volumes.writeAt(h[:], sw.slot.at-sector); err != nil {
			return err
		}
	}
	sw.closed = true
	sw.slot.markFinished(d, sw.hash.values)
	if err := sw.noteProgress(sw.offset); err != nil {
		return err
	}
	if err := sw.writer.journal.appendCommit(sw.slot.index, d); err != nil {
		return err
	}
	return sw.writer.commits.countWritten(0, sw.slot)
}

// writePiece puts a piece into the volumes and notes progress from time to time.
func (sw *SlotWriter) writePiece(p *piece) error {
	if err := sw.writer.volumes.writeAt(p.data, p.at); err != nil {
		return err
	}
	sw.slot.mu.Lock()
	sw.slot.values = p.values
	sw.slot.mu.Unlock()
	if p.front-sw.noted < sw.writer.noteEvery || p.front == sw.slot.size {
		return nil
	}
	return sw.noteProgress(p.front)
}

// noteProgress journals what was written up to a content offset and has it made durable.
func (sw *SlotWriter) noteProgress(front int64) error {
	values := sw.slot.takeUnnoted()
	bytes := front - sw.noted
	sw.noted = front
	if err := sw.writer.journal.appendProgress(sw.slot.index, values); err != nil {
		return err
	}
	return sw.writer.commits.countWritten(bytes, nil)
}

// takeUnnoted returns the values that are not journaled and counts them as such.
func (s *slot) takeUnnoted() []sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := s.values[s.noted:]
	s.noted = len(s.values)
	return values
}

func (s *slot) markFinished(d sum, values []sum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.digest, s.values = d, values
	s.committed, s.proven, s.busy = true, true, false
}

// Close gives the slot up without ending it; whole blocks that were written are
// kept. Close after Commit does nothing.
func (sw *SlotWriter) Close() error {
	if sw.closed {
		return nil
	}
	err := sw.drainPipeline()
	sw.closed = true
	if e := sw.noteProgress(sw.offset); err == nil {
		err = e
	}
	sw.slot.unclaim()
	return err
}
