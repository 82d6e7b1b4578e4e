package pack

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/event"
)

// stock is what older bundles hold. Whose they are does not matter: every byte that is
// taken from them is hashed, and counts only with the digest that the lock says.
type stock struct {
	heads []*cargo.Head
	blobs map[digest.Digest]*bundle.Unproven
	named map[string]digest.Digest // of blobs by their slots' keys, where these are no digests
}

// openStock opens the bundles in paths; none is an error.
func openStock(paths []string) (*stock, error) {
	s := &stock{blobs: map[digest.Digest]*bundle.Unproven{}, named: map[string]digest.Digest{}}
	if len(paths) == 0 {
		return s, nil
	}
	found, err := cargo.Find("looking for bundles to reuse", paths...)
	if err != nil {
		return nil, err
	}
	for _, files := range found {
		h, err := cargo.ReadHead(files)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("looking for bundles to reuse: %w", err), s.Close())
		}
		s.addBundle(h)
	}
	return s, nil
}

// addBundle takes in what a bundle holds. Layers whose digest a lock does not know are
// found by its lock; one that cannot be read names none.
func (s *stock) addBundle(h *cargo.Head) {
	s.heads = append(s.heads, h)
	content, table := h.UnsafeContent(), h.Table()
	for i := range table.Len() {
		s.blobs[table.Entry(i).Digest] = content
	}
	l, err := h.Lock()
	if err != nil {
		return
	}
	slots := l.Slots()
	if len(slots) != table.Len() {
		return
	}
	for i, slot := range slots {
		if slot.Digest == "" && table.Entry(i).Size == slot.Size {
			s.named[slot.Key] = table.Entry(i).Digest
		}
	}
}

// Close closes the bundles.
func (s *stock) Close() error {
	var errs []error
	for _, h := range s.heads {
		errs = append(errs, h.Close())
	}
	return errors.Join(errs...)
}

// find opens the blob that a slot wants, or gives nil.
func (s *stock) find(slot lock.Slot) *bundle.Blob {
	d := slot.Digest
	if d == "" {
		d = s.named[slot.Key]
	}
	content := s.blobs[d]
	if content == nil {
		return nil
	}
	blob, err := content.Open(d)
	if err != nil || blob.Size() != slot.Size {
		return nil
	}
	return blob
}

// head is a manifest or config that an older bundle has, or nil.
func (s *stock) head(h lock.HeadBlob) []byte {
	for _, from := range s.heads {
		data, err := from.Manifest(h.Digest)
		if err == nil && digest.FromBytes(data) == h.Digest && int64(len(data)) == h.Size {
			return data
		}
	}
	return nil
}

// copyFromStock fills the slot from an older bundle. It is false where that was not
// possible; the slot then begins where it has to, and is fetched.
func (a *attempt) copyFromStock(ctx context.Context, blob *bundle.Blob) (filled bool, err error) {
	r := blob.NewReader(a.writer.Offset(), a.slot.Size)
	defer r.Close()
	w := &reusing{attempt: a, ctx: ctx}
	if _, err = io.Copy(w, r); err == nil {
		err = w.prove()
	}
	switch {
	case err == nil:
		a.meter.addReused(w.n)
		return true, nil
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case a.dst.err != nil:
		return false, fmt.Errorf("packing %s: %w", ownerOf(a.slot), a.dst.err)
	}
	a.sink.Emit(event.Event{
		Kind: event.Warning, Item: ownerOf(a.slot),
		Message: fmt.Sprintf("what an older bundle has of it cannot be reused, and is fetched: %v", err),
	})
	return false, a.discardWrong()
}

// reusing writes what comes from an older bundle into the slot.
type reusing struct {
	*attempt
	ctx context.Context // copying knows none
	n   int64
}

func (w *reusing) Write(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	if w.sum != nil {
		_, _ = w.sum.Write(p)
	}
	n, err := w.writer.Write(p)
	w.n += int64(n)
	w.meter.countPresent(ownerOf(w.slot), int64(n))
	if err != nil {
		w.dst.err = err
	}
	return n, err
}

// prove requires that the slot holds what the lock says, and ends it.
func (w *reusing) prove() error {
	switch {
	case w.sum != nil && w.sum.bad != nil:
		return w.sum.bad
	case w.sum != nil && !w.sum.isComplete():
		return io.ErrUnexpectedEOF
	}
	_, err := w.writer.Commit()
	if errors.Is(err, bundle.ErrDigestMismatch) { // the slot is empty again
		w.meter.takeBack(ownerOf(w.slot), w.slot.Size)
	}
	return err
}
