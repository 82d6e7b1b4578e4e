package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Slot is room for one blob in the volumes.
type Slot struct {
	Key    string        // unique in the bundle: the digest, or a name while that is pending
	Digest digest.Digest // empty: known after streaming
	Size   int64
}

// WriterOptions are the optional parts of Create.
type WriterOptions struct {
	VolumeSize int64 // bytes; a multiple of VolumeUnit; 0: DefaultVolumeSize
	Workers    int   // goroutines that prove what is there already; 0: one per CPU
	NoSync     bool  // for measuring: nothing is made durable
}

// Writer fills a bundle in place. Different slots may be written concurrently;
// all other methods are safe for concurrent use.
type Writer struct {
	dir     string
	job     jobRecord
	options WriterOptions
	layout  layout
	slots   []*slot
	volumes *volumes
	journal *journal
	commits *committer

	noteEvery int64   // bytes of one slot between two entries in the journal
	syncEvery int64   // bytes of all slots between two syncs
	sealed    *Bundle // the head that was there

	mu  sync.Mutex
	err error // first failure of a call that has no error result
}

// slot is a Slot and how far it is.
type slot struct {
	Slot
	proof // values grow as blocks are complete
	index int
	at    int64 // of the content in the stream

	mu        sync.Mutex
	noted     int // values that are journaled
	busy      bool
	committed bool // complete; digest is final
	durable   bool // and journaled
	proven    bool // what values cover was re-hashed, or written by this process
}

// Create starts writing the bundle NAME into dir, or takes up where an earlier
// writer stopped: what its journal lists is re-hashed, and what is not as
// recorded is dropped from its slot. A bundle that is already sealed for the
// same job is proven like that, too. job is the digest of the lock; it, the
// slots and the volume size together are what two runs must agree in
// (ErrOtherJob). Other errors are ErrBusy, ErrNoSpace, ErrStray, ErrFormat, or
// those of the disk. The caller closes the writer.
func Create(ctx context.Context, dir, name string, job digest.Digest, slots []Slot, opt WriterOptions) (*Writer, error) {
	w, err := newWriter(dir, name, job, slots, opt)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("creating bundle: %w", err)
	}
	if w.journal, err = openJournal(dir, name, opt.NoSync); err != nil {
		return nil, err
	}
	if err := w.beginWriting(ctx); err != nil {
		_ = w.volumes.close()
		_ = w.journal.close()
		return nil, err
	}
	w.commits = startCommitter(w)
	return w, nil
}

func newWriter(dir, name string, job digest.Digest, slots []Slot, opt WriterOptions) (*Writer, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if _, err := parseDigest(job); err != nil {
		return nil, err
	}
	if opt.VolumeSize == 0 {
		opt.VolumeSize = DefaultVolumeSize
	}
	if opt.Workers <= 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	l, err := newLayout(opt.VolumeSize, len(slots), func(i int) int64 { return slots[i].Size })
	if err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, options: opt, layout: l, noteEvery: noteBytes, syncEvery: commitBytes}
	w.job = jobRecord{FormatVersion, name, job, opt.VolumeSize, slotsDigest(slots)}
	w.volumes = newVolumes(dir, name, &w.layout, opt.NoSync)
	return w, w.takeSlots(slots)
}

func (w *Writer) takeSlots(slots []Slot) error {
	keys, digests := map[string]bool{}, map[digest.Digest]bool{}
	w.slots = make([]*slot, len(slots))
	for i, s := range slots {
		if s.Key == "" || keys[s.Key] || digests[s.Digest] {
			return fmt.Errorf("slot %d, key %q: %w", i, s.Key, ErrDuplicate)
		}
		keys[s.Key] = true
		w.slots[i] = &slot{Slot: s, proof: proof{size: s.Size}, index: i, at: w.layout.offsets[i]}
		if s.Digest == "" {
			continue
		}
		digests[s.Digest] = true
		d, err := parseDigest(s.Digest)
		if err != nil {
			return err
		}
		w.slots[i].digest = d
	}
	return nil
}

func slotsDigest(slots []Slot) digest.Digest {
	h := sha256.New()
	for _, s := range slots {
		fmt.Fprintf(h, "%q %s %d\n", s.Key, s.Digest, s.Size)
	}
	return digest.NewDigest(digest.SHA256, h)
}

// beginWriting finds out what is there: a sealed bundle, a journal, or nothing.
func (w *Writer) beginWriting(ctx context.Context) error {
	head := filepath.Join(w.dir, headName(w.job.Name))
	if _, err := os.Lstat(head); err == nil {
		return w.reopenSealed(ctx, head)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	started, err := w.journal.replayRecords(journalReplay{w})
	if err != nil {
		return err
	}
	if !started {
		return w.startAfresh()
	}
	if err := w.checkRoom(); err != nil {
		return err
	}
	return w.proveSlots(ctx)
}

// startAfresh begins from nothing; volumes of unknown origin are not overwritten.
func (w *Writer) startAfresh() error {
	for n := range w.layout.volumeCount() {
		if _, err := os.Lstat(w.volumes.volumePath(n)); err == nil {
			w.journal.removeIfEmpty()
			return fmt.Errorf("%s: %w", w.volumes.volumePath(n), ErrStray)
		}
	}
	if err := w.checkRoom(); err != nil {
		w.journal.removeIfEmpty()
		return err
	}
	if err := w.journal.startJob(w.job); err != nil {
		return err
	}
	return syncDirectory(w.dir)
}

const headRoom = 8 << 20 // manifests, lock and SBOM of a large stack

// checkRoom requires disk space for what is not there yet.
func (w *Writer) checkRoom() error {
	have, err := w.volumes.allocatedBytes()
	if err != nil {
		return err
	}
	head := int64(headRoom) + int64(len(w.slots))*160 + w.layout.streamSize/BlockSize*int64(len(sum{}))
	return requireRoom(w.dir, w.layout.streamSize-have+head)
}

// reopenSealed takes a sealed bundle up: its table says what must be in the slots.
func (w *Writer) reopenSealed(ctx context.Context, path string) error {
	b, err := Read(Files{Name: w.job.Name, Head: path})
	if err != nil {
		w.journal.removeIfEmpty()
		return err
	}
	if err := w.sameJob(b); err != nil {
		b.Close()
		w.journal.removeIfEmpty()
		return err
	}
	w.sealed = b
	for i, s := range w.slots {
		s.proof = b.table.blobs[i]
		s.committed, s.durable = true, true
	}
	if err := w.journal.restartWith(w.job); err != nil {
		return err
	}
	if err := w.volumes.createUpTo(w.layout.volumeCount() - 1); err != nil {
		return err
	}
	if err := w.proveSlots(ctx); err != nil || w.isComplete() {
		return err
	}
	return w.checkRoom()
}

// sameJob requires that a head came from the same lock, laid out the same way.
func (w *Writer) sameJob(b *Bundle) error {
	here := jobRecord{FormatVersion, b.Name(), b.LockDigest(), b.table.VolumeSize(), w.job.Slots}
	same := here.Job == w.job.Job && here.VolumeSize == w.job.VolumeSize
	if same && !w.fitsTable(b.table) {
		same, here.Slots = false, "of the sealed head"
	}
	if !same {
		return &OtherJobError{w.dir, here.String(), w.job.String()}
	}
	return nil
}

func (w *Writer) fitsTable(t *Table) bool {
	if t.Len() != len(w.slots) {
		return false
	}
	for i, s := range w.slots {
		if t.blobs[i].size != s.Size || s.Digest != "" && t.blobs[i].digest != s.digest {
			return false
		}
	}
	return true
}

// Sealed reports whether the directory already held the sealed bundle of this
// job. Slots that are unfinished nonetheless were found damaged; rewriting them
// makes the bundle whole under the same head.
func (w *Writer) Sealed() bool { return w.sealed != nil }

// Finished reports whether slot i is complete: written, made durable, journaled,
// and, if that was done by an earlier writer, proven again.
func (w *Writer) Finished(i int) bool {
	s := w.slots[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable
}

// SlotDigest is the digest of slot i, once that is known.
func (w *Writer) SlotDigest(i int) (digest.Digest, bool) {
	s := w.slots[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.digest.digest(), s.committed || s.Digest != ""
}

// Kept is how many bytes of slot i need not be fetched.
func (w *Writer) Kept(i int) int64 {
	s := w.slots[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keptBytes()
}

func (s *slot) keptBytes() int64 {
	if s.committed {
		return s.size
	}
	return int64(len(s.values)) * BlockSize
}

// proveSlots re-hashes what earlier writers left, all slots in parallel, and drops
// what is not as recorded.
func (w *Writer) proveSlots(ctx context.Context) error {
	g := new(errgroup.Group)
	g.SetLimit(w.options.Workers)
	var damage damages
	for _, s := range w.slots {
		if !s.committed && (s.Digest == "" || len(s.values) == 0) {
			continue // a pending slot is proven when it is replayed
		}
		s.proven = true
		for i := range s.provableBlocks() {
			if ctx.Err() != nil {
				break
			}
			g.Go(func() error { return damage.checkBlock(w, s, i) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return w.dropDamage(damage.first)
}

// provableBlocks is the number of blocks that can be checked.
func (s *slot) provableBlocks() int64 {
	if s.committed {
		return blockCount(s.size)
	}
	return int64(len(s.values))
}

func (s *slot) keptBlob(v *volumes) *Blob { return &Blob{proof: &s.proof, offset: s.at, stream: v} }

// damages collects the first bad block of each slot.
type damages struct {
	mu    sync.Mutex
	first map[*slot]int64
}

func (d *damages) checkBlock(w *Writer, s *slot, i int64) error {
	buf := blockBuffers.Get().(*blockBuffer)
	defer blockBuffers.Put(buf)
	if _, err := s.keptBlob(w.volumes).readBlock(i, buf); err == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.first == nil {
		d.first = map[*slot]int64{}
	}
	if at, ok := d.first[s]; !ok || i < at {
		d.first[s] = i
	}
	return nil
}

// dropDamage shortens the damaged slots and mends what surrounds the good ones.
func (w *Writer) dropDamage(first map[*slot]int64) error {
	for _, s := range w.slots {
		if i, bad := first[s]; bad {
			if err := w.shortenSlot(s, i); err != nil {
				return err
			}
		} else if s.committed {
			if err := w.mendFrame(s); err != nil {
				return err
			}
		}
	}
	return w.mendTrailer()
}

// shortenSlot keeps the blocks of a slot before the given one.
func (w *Writer) shortenSlot(s *slot, blocks int64) error {
	s.mu.Lock()
	s.values = append([]sum(nil), s.values[:blocks]...)
	s.noted, s.committed, s.durable = int(blocks), false, false
	s.mu.Unlock()
	if err := w.journal.appendReset(s.index); err != nil {
		return err
	}
	return w.journal.appendProgress(s.index, s.values)
}

// mendFrame writes header and padding of a complete slot where they differ.
func (w *Writer) mendFrame(s *slot) error {
	var got header
	want := blobHeader(s.digest, s.size)
	if err := w.volumes.readAt(got[:], s.at-sector, nil); err != nil || got != want {
		if err := w.volumes.writeAt(want[:], s.at-sector); err != nil {
			return err
		}
	}
	return w.mendZeros(s.at+s.size, paddingLength(s.size))
}

func (w *Writer) mendTrailer() error {
	if w.sealed == nil {
		return nil
	}
	return w.mendZeros(w.layout.trailerOffset(), trailerSize)
}

func (w *Writer) mendZeros(at, n int64) error {
	got := make([]byte, n)
	if err := w.volumes.readAt(got, at, nil); err == nil && allZero(got) {
		return nil
	}
	clear(got)
	return w.volumes.writeAt(got, at)
}

// Meta returns a head blob that was put before, by this writer or an earlier one.
func (w *Writer) Meta(d digest.Digest) ([]byte, bool) {
	s, err := parseDigest(d)
	if err != nil {
		return nil, false
	}
	return w.readHeadBlob(s)
}

func (w *Writer) readHeadBlob(s sum) ([]byte, bool) {
	if b, ok := w.journal.readHeadBlob(s); ok {
		return b, true
	}
	if w.sealed == nil {
		return nil, false
	}
	b, err := w.sealed.Manifest(s.digest())
	return b, err == nil
}

// PutMeta keeps a manifest, index or config of at most MaxMeta bytes for the
// head. If that fails, Seal says so.
func (w *Writer) PutMeta(b []byte) digest.Digest {
	s, err := w.journal.putMeta(b)
	w.fail(err)
	return s.digest()
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *Writer) firstError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Flush waits until all that was written is durable and journaled.
func (w *Writer) Flush(ctx context.Context) error {
	if err := w.commits.awaitRound(ctx); err != nil {
		return err
	}
	return w.firstError()
}

// Close makes durable what was written and keeps it for a later Create. No slot
// may be open.
func (w *Writer) Close() error {
	err := w.commits.stop()
	if e := w.volumes.close(); err == nil {
		err = e
	}
	if w.sealed != nil {
		_ = w.sealed.Close()
		if w.isComplete() && err == nil {
			err = w.journal.remove()
		}
	}
	if e := w.journal.close(); err == nil {
		err = e
	}
	return err
}

func (w *Writer) isComplete() bool {
	for _, s := range w.slots {
		if !w.Finished(s.index) {
			return false
		}
	}
	return true
}

// journalReplay applies a journal to the writer's slots.
type journalReplay struct{ *Writer }

func (r journalReplay) replayJob(j jobRecord) error {
	if j != r.Writer.job {
		return &OtherJobError{r.dir, j.String(), r.Writer.job.String()}
	}
	return nil
}

func (r journalReplay) openSlot(i int) (*slot, bool) {
	if i < 0 || i >= len(r.slots) {
		return nil, false
	}
	return r.slots[i], true
}

func (r journalReplay) replayProgress(i int, values []sum) bool {
	s, ok := r.openSlot(i)
	if !ok || s.committed || int64(len(s.values)+len(values)) > valueCount(s.size) {
		return false
	}
	s.values = append(s.values, values...)
	s.noted = len(s.values)
	return true
}

func (r journalReplay) replayCommit(i int, d sum) bool {
	s, ok := r.openSlot(i)
	if !ok || int64(len(s.values)) != valueCount(s.size) || s.Digest != "" && s.digest != d {
		return false
	}
	s.digest, s.committed, s.durable = d, true, true
	return true
}

func (r journalReplay) replayReset(i int) bool {
	s, ok := r.openSlot(i)
	if ok {
		s.values, s.noted, s.committed, s.durable = nil, 0, false, false
	}
	return ok
}
