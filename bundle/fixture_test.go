package bundle

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// fixture is a small stack: images that share layers, a model whose layer digest
// is pending, an empty blob. Everything follows from the seed.
type fixture struct {
	name    string
	lock    []byte
	slots   []Slot
	sizes   []int64
	seeds   []uint64
	metas   [][]byte // manifests and configs
	entries []ocispec.Descriptor
	pending int // index of the pending slot; -1 for none
}

// blobReader generates blob content from a seed.
func blobReader(seed uint64, size int64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return io.LimitReader(rand.NewChaCha8(key), size)
}

func blobDigest(seed uint64, size int64) digest.Digest {
	d, err := digest.SHA256.FromReader(blobReader(seed, size))
	if err != nil {
		panic(err)
	}
	return d
}

func newFixture(name string, sizes ...int64) *fixture {
	f := &fixture{name: name, pending: -1}
	for i, n := range sizes {
		f.sizes, f.seeds = append(f.sizes, n), append(f.seeds, uint64(i+1))
		d := blobDigest(uint64(i+1), n)
		f.slots = append(f.slots, Slot{Key: d.String(), Digest: d, Size: n})
	}
	f.image("registry.example/app:1", 0, len(sizes))
	f.seal()
	return f
}

// pend makes the digest of a slot known only after streaming.
func (f *fixture) pend(i int) *fixture {
	f.pending = i
	f.slots[i] = Slot{Key: "pending/model.safetensors", Size: f.sizes[i]}
	return f
}

func (f *fixture) seal() {
	f.lock = []byte(fmt.Sprintf("lock of %s: %v\n", f.name, f.slots))
}

// image adds an image of the slots from first up to limit.
func (f *fixture) image(ref string, first, limit int) {
	config := []byte(fmt.Sprintf(`{"architecture":"amd64","os":"linux","ref":%q}`, ref))
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    describe(ocispec.MediaTypeImageConfig, config),
	}
	for i := first; i < limit; i++ {
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: blobDigest(f.seeds[i], f.sizes[i]), Size: f.sizes[i]})
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	d := describe(m.MediaType, text)
	d.Annotations = map[string]string{ocispec.AnnotationRefName: ref, AnnotationKind: "image"}
	f.metas = append(f.metas, config, text)
	f.entries = append(f.entries, d)
}

func describe(mediaType string, b []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

func (f *fixture) contents() Contents {
	return Contents{Name: f.name, Version: "1.0.0", Lock: f.lock, SBOM: []byte(`{"spdxVersion":"SPDX-2.3"}`), Descriptors: f.entries}
}

func (f *fixture) create(t testing.TB, dir string, opt WriterOptions) *Writer {
	t.Helper()
	w, err := Create(context.Background(), dir, f.name, digest.FromBytes(f.lock), f.slots, opt)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// fill writes the slots that are unfinished and returns how many bytes it gave.
func (f *fixture) fill(ctx context.Context, w *Writer, i int) (int64, error) {
	if w.Finished(i) {
		return 0, nil
	}
	sw, err := w.Slot(ctx, i, nil)
	if err != nil {
		return 0, err
	}
	defer sw.Close()
	r := blobReader(f.seeds[i], f.sizes[i])
	if _, err := io.CopyN(io.Discard, r, sw.Offset()); err != nil {
		return 0, err
	}
	n, err := io.Copy(sw, r)
	if err != nil {
		return n, err
	}
	got, err := sw.Commit()
	if err == nil && got != blobDigest(f.seeds[i], f.sizes[i]) {
		err = errors.New("commit returned another digest")
	}
	return n, err
}

// write writes the whole bundle.
func (f *fixture) write(t testing.TB, dir string, opt WriterOptions) Sealed {
	t.Helper()
	w := f.create(t, dir, opt)
	defer w.Close()
	for i := range f.slots {
		if _, err := f.fill(context.Background(), w, i); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range f.metas {
		w.PutMeta(m)
	}
	s, err := w.Seal(context.Background(), f.contents())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// paperChecker accepts a payload behind its own digest: real signatures are not
// this package's business.
type paperChecker struct{}

func (paperChecker) CheckSignature(b []byte) ([]byte, string, error) {
	sum, payload, ok := bytes.Cut(b, []byte("\n"))
	if !ok || string(sum) != digest.FromBytes(payload).String() {
		return nil, "", errors.New("not a paper signature")
	}
	return payload, "paper", nil
}

func paper(payload []byte) []byte {
	return append([]byte(digest.FromBytes(payload).String()+"\n"), payload...)
}

func sign(t testing.TB, dir string, s Sealed) {
	t.Helper()
	st := s.Statement()
	st.Predicate.Sequence, st.Predicate.Created = 7, "2001-02-03T04:05:06Z"
	b, err := st.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := WriteSignature(dir, s.Name, "paper", paper(b)); err != nil {
		t.Fatal(err)
	}
}

func openTrusted(t testing.TB, paths ...string) *Trusted {
	t.Helper()
	tr, err := tryOpen(paths...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

func tryOpen(paths ...string) (*Trusted, error) {
	found, err := Scan(paths...)
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%d bundles", len(found))
	}
	b, err := Read(found[0])
	if err != nil {
		return nil, err
	}
	tr, err := b.Trust(paperChecker{})
	if err != nil {
		b.Close()
		return nil, err
	}
	return tr, nil
}

func findings(t testing.TB, tr *Trusted) (all []Finding) {
	t.Helper()
	err := tr.Check(context.Background(), CheckOptions{}, func(f Finding) { all = append(all, f) })
	damage := 0
	for _, f := range all {
		if !f.Harmless() {
			damage++
		}
	}
	if (damage > 0) != errors.Is(err, ErrDamaged) || (err != nil && damage == 0) {
		t.Fatalf("%d findings and error %v", len(all), err)
	}
	return all
}

// digests hashes every file of a directory.
func digests(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name()] = digest.FromBytes(b).String()
	}
	return all
}
