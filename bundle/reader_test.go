package bundle

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
)

func TestManyReadersAtOnce(t *testing.T) {
	f := newFixture("demo", 9*mib, BlockSize, 100)
	dir := t.TempDir()
	sign(t, dir, f.write(t, dir, WriterOptions{VolumeSize: mib}))
	tr := openTrusted(t, dir)
	var wg, ready sync.WaitGroup
	ready.Add(3 * maxRooms)
	start := make(chan struct{})
	for n := range 3 * maxRooms {
		wg.Go(func() {
			i := n % len(f.sizes)
			b, err := tr.Open(blobDigest(f.seeds[i], f.sizes[i]))
			if err != nil {
				t.Error(err)
				ready.Done()
				return
			}
			from := min(int64(n)*10_007, f.sizes[i])
			r := b.NewReader(from, f.sizes[i])
			var first [1]byte // takes a room, if there is one
			if _, err := io.ReadFull(r, first[:]); err != nil && from < f.sizes[i] {
				t.Error(err)
			}
			ready.Done()
			<-start
			rest, err := io.ReadAll(r)
			if got := append(first[:], rest...); err != nil || from < f.sizes[i] && !bytes.Equal(got, f.bytes(i)[from:]) {
				t.Errorf("reader %d: wrong bytes, %v", n, err)
			}
			r.Close()
		})
	}
	ready.Wait()
	close(start)
	wg.Wait()
	if len(tr.rooms) != 0 {
		t.Errorf("%d rooms were not given back", len(tr.rooms))
	}
}

func TestReaderIsClosed(t *testing.T) {
	f := newFixture("demo", 2*mib)
	dir := t.TempDir()
	sign(t, dir, f.write(t, dir, WriterOptions{VolumeSize: mib}))
	tr := openTrusted(t, dir)
	b, err := tr.Open(f.slots[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	r := b.NewReader(0, 100)
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	r.Close()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if _, err := b.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("negative offset")
	}
	if n, err := b.ReadAt(make([]byte, 10), b.Size()-4); n != 4 || err != io.EOF {
		t.Error(n, err)
	}
	if n, err := b.ReadAt(make([]byte, 10), b.Size()); n != 0 || err != io.EOF {
		t.Error(n, err)
	}
	if len(tr.rooms) != 0 {
		t.Errorf("%d rooms were not given back", len(tr.rooms))
	}
	if _, err := tr.Open("sha256:zz"); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
	if _, err := tr.Open(sumOf([]byte("x")).digest()); !errors.Is(err, ErrUnknownBlob) {
		t.Error(err)
	}
}

// fickle is a stream whose bytes change after they were read once.
type fickle struct {
	headStream
	content []byte
	reads   map[int64]int
}

func (f *fickle) readAt(p []byte, offset int64, _ choice) error {
	copy(p, f.content[offset:])
	if f.reads[offset]++; f.reads[offset] > 1 {
		p[len(p)/2] ^= 1
	}
	return nil
}

func TestBytesThatChangeBetweenTwoReads(t *testing.T) {
	content := newFixture("demo", BlockSize+sieveChunk+5).bytes(0)
	r := newRecorder(int64(len(content)))
	if err := r.write(content); err != nil {
		t.Fatal(err)
	}
	s := &fickle{content: content, reads: map[int64]int{}}
	b := &Blob{proof: &proof{sumOf(content), int64(len(content)), r.values}, stream: s, rooms: make(rooms)}
	var got bytes.Buffer
	if _, err := b.NewReader(0, b.Size()).WriteTo(&got); !errors.Is(err, ErrTampered) || got.Len() != 0 {
		t.Errorf("%d bytes left the reader, %v", got.Len(), err)
	}
	got.Reset()
	b.rooms = nil // with a whole block in memory there is one read
	s.reads = map[int64]int{}
	if _, err := b.NewReader(0, b.Size()).WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), content) {
		t.Error(err)
	}
}

// TestNotARegularFile: a pipe on a medium must not stall a reader.
func TestNotARegularFile(t *testing.T) {
	f := newFixture("demo", 2*mib)
	dir := t.TempDir()
	sign(t, dir, f.write(t, dir, WriterOptions{VolumeSize: mib}))
	found, err := Scan(dir)
	if err != nil {
		t.Fatal(err)
	}
	found[0].Volumes[1] = []string{t.TempDir()}
	b, err := Read(found[0])
	if err != nil {
		t.Fatal(err)
	}
	tr, err := b.Trust(paperChecker{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	blob, err := tr.Open(f.slots[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blob.NewReader(0, blob.Size()).WriteTo(io.Discard); err == nil {
		t.Error("a directory was read as a volume")
	}
	if all := findings(t, tr); len(all) == 0 {
		t.Error("no finding")
	}
}
