package pack

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
)

// assembly follows a layer that is put together from parts: where in it the
// next byte belongs, and the hash of the file that is under way. It learns of
// every byte of the layer exactly once, in order.
type assembly struct {
	parts []lock.Part
	at    int   // part that the next byte belongs to
	pos   int64 // bytes of it already there
	hash  hash.Hash
	head  hash.Hash // of the file's beginning, where the lock says what that is
	bad   error     // the first file whose content is wrong
}

func newAssembly(parts []lock.Part) *assembly {
	a := &assembly{parts: parts, hash: sha256.New(), head: sha256.New()}
	a.closeParts()
	return a
}

// resetToStart goes back to the layer's first byte.
func (a *assembly) resetToStart() {
	a.at, a.pos, a.bad = 0, 0, nil
	a.hash.Reset()
	a.head.Reset()
	a.closeParts()
}

// isComplete says whether every part is complete.
func (a *assembly) isComplete() bool { return a.at == len(a.parts) }

// currentPart is the part under way; done must be false.
func (a *assembly) currentPart() lock.Part { return a.parts[a.at] }

// Write takes the layer's next bytes. It never fails; see bad.
func (a *assembly) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 && !a.isComplete() {
		n := min(int64(len(p)), a.currentPart().Size-a.pos)
		if f := a.currentPart().File; f != nil {
			a.hash.Write(p[:n])
			a.hashHead(f, p[:n])
		}
		a.pos += n
		p = p[n:]
		a.closeParts()
	}
	return total, nil
}

// closeParts closes the parts that are complete, empty ones included.
func (a *assembly) closeParts() {
	for !a.isComplete() && a.pos == a.currentPart().Size {
		if f := a.currentPart().File; f != nil {
			a.compareFile(f)
			a.hash.Reset()
			a.head.Reset()
		}
		a.at, a.pos = a.at+1, 0
	}
}

// hashHead takes the next bytes of a file as far as they belong to its beginning,
// and compares that as soon as it is there.
func (a *assembly) hashHead(f *lock.ModelFile, p []byte) {
	if f.Head == nil || a.pos >= f.Head.Size {
		return
	}
	p = p[:min(int64(len(p)), f.Head.Size-a.pos)]
	a.head.Write(p)
	if a.pos+int64(len(p)) < f.Head.Size {
		return
	}
	if got := digest.NewDigest(digest.SHA256, a.head); got != f.Head.SHA256 && a.bad == nil {
		a.bad = &wrongContent{what: "the beginning of " + f.Path, want: string(f.Head.SHA256), got: string(got)}
	}
}

func (a *assembly) compareFile(f *lock.ModelFile) {
	if got := digest.NewDigest(digest.SHA256, a.hash); got != f.SHA256 && a.bad == nil {
		a.bad = &wrongContent{what: f.Path, want: string(f.SHA256), got: string(got)}
	}
}

// window is one file of a layer as a destination of its own. The layer cannot
// go back to where the file began, so when the upstream starts the file over,
// the bytes already there are read and dropped; the file's hash covers what
// was kept.
type window struct {
	layer io.Writer // the slot
	sum   *assembly
	begin int   // the part
	seen  int64 // bytes of the file's stream that came since its (re)start
}

func newWindow(layer io.Writer, a *assembly) *window {
	return &window{layer: layer, sum: a, begin: a.at, seen: a.pos}
}

// Offset is where the file's stream goes on.
func (w *window) Offset() int64 { return w.seen }

// Reset makes the stream start over.
func (w *window) Reset() error { w.seen = 0; return nil }

// Write hashes and stores side by side.
func (w *window) Write(p []byte) (int, error) {
	skip := min(max(w.keptBytes()-w.seen, 0), int64(len(p)))
	fresh := p[skip:]
	if len(fresh) > 0 {
		if err := w.put(fresh); err != nil {
			return int(skip), err
		}
	}
	w.seen += int64(len(p))
	return len(p), nil
}

// keptBytes is how much of the file the layer holds.
func (w *window) keptBytes() int64 {
	if w.sum.at != w.begin {
		return w.sum.parts[w.begin].Size
	}
	return w.sum.pos
}

func (w *window) put(p []byte) error {
	hashed := make(chan struct{})
	go func() {
		defer close(hashed)
		_, _ = w.sum.Write(p)
	}()
	_, err := w.layer.Write(p)
	<-hashed
	if err == nil {
		err = w.sum.bad // a wrong beginning ends the file: there may be gigabytes to come
	}
	return err
}

// wrongContent is content that is not what the lock says.
type wrongContent struct {
	what      string
	want, got string
}

func (e *wrongContent) Error() string {
	return fmt.Sprintf("%s is %s, the lock says %s", e.what, e.got, e.want)
}

// Is reports true for ErrUpstreamChanged.
func (e *wrongContent) Is(target error) bool { return target == ErrUpstreamChanged }
