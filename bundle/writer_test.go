package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func openSlot(t *testing.T, w *Writer, i int) *SlotWriter {
	t.Helper()
	sw, err := w.Slot(t.Context(), i, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sw
}

func (f *fixture) bytes(i int) []byte {
	b, _ := io.ReadAll(blobReader(f.seeds[i], f.sizes[i]))
	return b
}

// finish writes what is missing and seals.
func (f *fixture) finish(t *testing.T, w *Writer) (fetched int64) {
	t.Helper()
	for i := range f.slots {
		n, err := f.fill(t.Context(), w, i)
		if err != nil {
			t.Fatal(err)
		}
		fetched += n
	}
	for _, m := range f.metas {
		w.PutMeta(m)
	}
	if _, err := w.Seal(t.Context(), f.contents()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return fetched
}

func TestWrongContentIsRefused(t *testing.T) {
	f := newFixture("demo", 5*mib)
	w := f.create(t, t.TempDir(), WriterOptions{VolumeSize: mib})
	defer w.Close()
	sw := openSlot(t, w, 0)
	good := f.bytes(0)
	bad := bytes.Clone(good)
	bad[len(bad)-1] ^= 1
	if _, err := sw.Write(bad); err != nil {
		t.Fatal(err)
	}
	if _, err := sw.Commit(); !errors.Is(err, ErrDigestMismatch) || sw.Offset() != 0 {
		t.Fatalf("commit of wrong bytes: %v, offset %d", err, sw.Offset())
	}
	if _, err := sw.Write(append(good, 0)); !errors.Is(err, ErrSize) {
		t.Errorf("a byte too many: %v", err)
	}
	if _, err := sw.ReadFrom(bytes.NewReader(append(good, 0))); !errors.Is(err, ErrSize) {
		t.Errorf("a byte too many by ReadFrom: %v", err)
	}
	if err := sw.Reset(); err != nil {
		t.Fatal(err)
	}
	if _, err := sw.Write(good[:len(good)-1]); err != nil {
		t.Fatal(err)
	}
	if _, err := sw.Commit(); !errors.Is(err, ErrSize) {
		t.Errorf("a byte too few: %v", err)
	}
	if _, err := sw.Write(good[len(good)-1:]); err != nil {
		t.Fatal(err)
	}
	if d, err := sw.Commit(); err != nil || d != f.slots[0].Digest {
		t.Errorf("commit: %s, %v", d, err)
	}
	if _, err := sw.Write([]byte{1}); err == nil {
		t.Error("write after commit")
	}
	if _, err := w.Slot(t.Context(), 0, nil); err == nil {
		t.Error("a finished slot was opened again")
	}
}

func TestSealNeedsEverySlot(t *testing.T) {
	f := newFixture("demo", 10, 20)
	dir := t.TempDir()
	w := f.create(t, dir, WriterOptions{VolumeSize: mib})
	defer w.Close()
	if _, err := f.fill(t.Context(), w, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Seal(t.Context(), f.contents()); !errors.Is(err, ErrUnfinished) {
		t.Errorf("sealed without slot 1: %v", err)
	}
	if _, err := f.fill(t.Context(), w, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Seal(t.Context(), f.contents()); !errors.Is(err, ErrUnknownBlob) {
		t.Errorf("sealed without manifests: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "demo.head.tar")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a head was left behind")
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if len(left) != 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

func TestSealRefusesUnreferencedSlot(t *testing.T) {
	f := newFixture("demo", 10, 20)
	f.metas, f.entries = nil, nil
	f.image("registry.example/app:1", 0, 1)
	w := f.create(t, t.TempDir(), WriterOptions{VolumeSize: mib})
	defer w.Close()
	for i := range f.slots {
		if _, err := f.fill(t.Context(), w, i); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range f.metas {
		w.PutMeta(m)
	}
	if _, err := w.Seal(t.Context(), f.contents()); !errors.Is(err, ErrFormat) {
		t.Errorf("sealed with a slot that nothing refers to: %v", err)
	}
}

func TestOneWriterAtATime(t *testing.T) {
	f := newFixture("demo", 10)
	dir := t.TempDir()
	w := f.create(t, dir, WriterOptions{VolumeSize: mib})
	if _, err := Create(t.Context(), dir, "demo", digest.FromBytes(f.lock), f.slots, WriterOptions{VolumeSize: mib}); !errors.Is(err, ErrBusy) {
		t.Errorf("second writer: %v", err)
	}
	f.finish(t, w)
}

func TestOtherJob(t *testing.T) {
	f := newFixture("demo", 10, 5000)
	for _, sealed := range []bool{false, true} {
		dir := t.TempDir()
		w := f.create(t, dir, WriterOptions{VolumeSize: mib})
		if sealed {
			f.finish(t, w)
		} else {
			w.Close()
		}
		before := digests(t, dir)
		lock := digest.FromString("another lock")
		for what, try := range map[string]func() (*Writer, error){
			"lock": func() (*Writer, error) {
				return Create(t.Context(), dir, "demo", lock, f.slots, WriterOptions{VolumeSize: mib})
			},
			"volume size": func() (*Writer, error) {
				return Create(t.Context(), dir, "demo", digest.FromBytes(f.lock), f.slots, WriterOptions{VolumeSize: 2 * mib})
			},
			"slots": func() (*Writer, error) {
				return Create(t.Context(), dir, "demo", digest.FromBytes(f.lock), f.slots[:1], WriterOptions{VolumeSize: mib})
			},
		} {
			_, err := try()
			var other *OtherJobError
			if !errors.As(err, &other) || !errors.Is(err, ErrOtherJob) {
				t.Fatalf("another %s over sealed=%v: %v", what, sealed, err)
			}
			if what == "lock" && (!strings.Contains(err.Error(), lock.String()) || !strings.Contains(err.Error(), digest.FromBytes(f.lock).String())) {
				t.Errorf("error does not name both jobs: %v", err)
			}
		}
		if !maps.Equal(before, digests(t, dir)) {
			t.Error("a refused job changed the directory")
		}
	}
}

func TestStrayVolumesAreNotOverwritten(t *testing.T) {
	f := newFixture("demo", 10)
	dir := t.TempDir()
	stray := filepath.Join(dir, "demo.vol-00000.tar")
	if err := os.WriteFile(stray, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(t.Context(), dir, "demo", digest.FromBytes(f.lock), f.slots, WriterOptions{}); !errors.Is(err, ErrStray) {
		t.Fatal(err)
	}
	if all := digests(t, dir); len(all) != 1 || all["demo.vol-00000.tar"] != digest.FromString("precious").String() {
		t.Errorf("directory was changed: %v", all)
	}
}

func TestResumeMidBlob(t *testing.T) {
	f := newFixture("demo", 11*mib, 3*mib).pend(0)
	whole := t.TempDir()
	f.write(t, whole, WriterOptions{VolumeSize: 2 * mib})
	dir := t.TempDir()
	w := f.create(t, dir, WriterOptions{VolumeSize: 2 * mib})
	sw := openSlot(t, w, 0)
	if _, err := sw.Write(f.bytes(0)[:9*mib]); err != nil {
		t.Fatal(err)
	}
	sw.Close()
	sw = openSlot(t, w, 0) // the same writer, later
	if sw.Offset() != 2*BlockSize {
		t.Errorf("offset %d", sw.Offset())
	}
	sw.Close()
	w.Close()
	// Damage the second block: only the first is kept.
	flip(t, dir, "demo.vol-00003.tar", 5000)
	w = f.create(t, dir, WriterOptions{VolumeSize: 2 * mib})
	var seen bytes.Buffer
	sw, err := w.Slot(t.Context(), 0, &seen)
	if err != nil {
		t.Fatal(err)
	}
	if sw.Offset() != BlockSize || !bytes.Equal(seen.Bytes(), f.bytes(0)[:BlockSize]) {
		t.Errorf("offset %d, replayed %d bytes", sw.Offset(), seen.Len())
	}
	sw.Close()
	if n := f.finish(t, w); n != (11+3)*mib-BlockSize {
		t.Errorf("%d bytes fetched", n)
	}
	if !maps.Equal(digests(t, whole), digests(t, dir)) {
		t.Error("bytes differ")
	}
}

// flip inverts one byte of a file.
func flip(t testing.TB, dir, name string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x20
	if _, err := f.WriteAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
}

func TestFinishedSlotsAreProvenOnResume(t *testing.T) {
	f := newFixture("demo", 3*mib, 3*mib, 5*mib)
	dir := t.TempDir()
	w := f.create(t, dir, WriterOptions{VolumeSize: mib})
	for i := range 2 {
		if _, err := f.fill(t.Context(), w, i); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	flip(t, dir, "demo.vol-00004.tar", 100) // in slot 1
	flip(t, dir, "demo.vol-00000.tar", 3)   // in slot 0's header: mended without fetching
	w = f.create(t, dir, WriterOptions{VolumeSize: mib})
	if !w.Finished(0) || w.Finished(1) || w.Finished(2) {
		t.Error("finished:", w.Finished(0), w.Finished(1), w.Finished(2))
	}
	if n := f.finish(t, w); n != 8*mib {
		t.Errorf("%d bytes fetched", n)
	}
	whole := t.TempDir()
	f.write(t, whole, WriterOptions{VolumeSize: mib})
	if !maps.Equal(digests(t, whole), digests(t, dir)) {
		t.Error("bytes differ")
	}
}

func TestSealedBundleIsTakenUp(t *testing.T) {
	f := newFixture("demo", awkward...).pend(8)
	dir := t.TempDir()
	f.write(t, dir, WriterOptions{VolumeSize: 2 * mib})
	before := digests(t, dir)
	w := f.create(t, dir, WriterOptions{VolumeSize: 2 * mib})
	if !w.Sealed() {
		t.Fatal("not sealed")
	}
	if n := f.finish(t, w); n != 0 {
		t.Errorf("%d bytes fetched of an unchanged lock", n)
	}
	if !maps.Equal(before, digests(t, dir)) {
		t.Error("bytes differ after the second run")
	}
	flip(t, dir, "demo.vol-00010.tar", 77)
	if err := os.Remove(filepath.Join(dir, "demo.vol-00003.tar")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "demo.vol-00005.tar"), 3*mib); err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	for i := range 40 {
		if info, err := os.Stat(filepath.Join(dir, volumeName("demo", i))); err == nil && info.Size() < 2*mib {
			last = info.Size()
			flip(t, dir, volumeName("demo", i), last-1) // the trailer
		}
	}
	if last == 0 {
		t.Fatal("no last volume")
	}
	w = f.create(t, dir, WriterOptions{VolumeSize: 2 * mib})
	if n := f.finish(t, w); n == 0 || n > 30*mib {
		t.Errorf("%d bytes fetched to mend", n)
	}
	if !maps.Equal(before, digests(t, dir)) {
		t.Error("bytes differ after mending")
	}
}

func TestMetaSurvives(t *testing.T) {
	f := newFixture("demo", 10)
	dir := t.TempDir()
	w := f.create(t, dir, WriterOptions{})
	d := w.PutMeta(f.metas[0])
	if again := w.PutMeta(f.metas[0]); again != d || d != digest.FromBytes(f.metas[0]) {
		t.Error(d, again)
	}
	w.Close()
	w = f.create(t, dir, WriterOptions{})
	if b, ok := w.Meta(d); !ok || !bytes.Equal(b, f.metas[0]) {
		t.Error("lost", ok)
	}
	if _, ok := w.Meta(digest.FromString("other")); ok {
		t.Error("found what was never put")
	}
	w.PutMeta(make([]byte, MaxMeta+1))
	if err := w.Flush(t.Context()); !errors.Is(err, ErrFormat) {
		t.Errorf("too large a manifest: %v", err)
	}
	w.Close()
}

func TestTornJournal(t *testing.T) {
	f := newFixture("demo", 3*mib, 5*mib)
	master := t.TempDir()
	w := f.create(t, master, WriterOptions{VolumeSize: mib})
	for i := range f.slots {
		if _, err := f.fill(t.Context(), w, i); err != nil {
			t.Fatal(err)
		}
	}
	w.PutMeta(f.metas[0])
	w.Close()
	journal, err := os.ReadFile(filepath.Join(master, "demo.pack-journal"))
	if err != nil {
		t.Fatal(err)
	}
	var last map[string]string
	for cut := len(journal); cut > 250; cut -= 13 {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(master)); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, "demo.pack-journal"), int64(cut)); err != nil {
			t.Fatal(err)
		}
		w := f.create(t, dir, WriterOptions{VolumeSize: mib, NoSync: true})
		f.finish(t, w)
		if got := digests(t, dir); last != nil && !maps.Equal(got, last) {
			t.Fatalf("journal cut at %d: bytes differ", cut)
		} else {
			last = got
		}
	}
}

func TestBadArguments(t *testing.T) {
	d := digest.FromString("x")
	good := []Slot{{Key: "a", Digest: d, Size: 1}}
	for what, try := range map[string]struct {
		name  string
		job   digest.Digest
		slots []Slot
		opt   WriterOptions
	}{
		"path in name":   {"a/b", d, good, WriterOptions{}},
		"no name":        {"", d, good, WriterOptions{}},
		"hidden name":    {".a", d, good, WriterOptions{}},
		"job":            {"a", "sha256:12", good, WriterOptions{}},
		"sha512":         {"a", digest.Digest("sha512:" + strings.Repeat("ab", 64)), good, WriterOptions{}},
		"key twice":      {"a", d, append(good, Slot{Key: "a", Size: 1}), WriterOptions{}},
		"digest twice":   {"a", d, append(good, Slot{Key: "b", Digest: d, Size: 1}), WriterOptions{}},
		"negative size":  {"a", d, []Slot{{Key: "a", Size: -1}}, WriterOptions{}},
		"absurd size":    {"a", d, []Slot{{Key: "a", Size: 1 << 62}}, WriterOptions{}},
		"absurd sum":     {"a", d, []Slot{{Key: "a", Size: maxStream}, {Key: "b", Size: maxStream}}, WriterOptions{}},
		"odd volumes":    {"a", d, good, WriterOptions{VolumeSize: mib + 1}},
		"slim volumes":   {"a", d, []Slot{{Key: "a", Size: maxVolumes * mib}}, WriterOptions{VolumeSize: mib}},
		"negative limit": {"a", d, good, WriterOptions{VolumeSize: -mib}},
	} {
		dir := t.TempDir()
		if _, err := Create(t.Context(), dir, try.name, try.job, try.slots, try.opt); !errors.Is(err, ErrFormat) && !errors.Is(err, ErrDuplicate) {
			t.Errorf("%s: %v", what, err)
		}
		if files, _ := os.ReadDir(dir); len(files) != 0 {
			t.Errorf("%s: left %v", what, files)
		}
	}
	if _, err := Create(t.Context(), t.TempDir(), "a", d, []Slot{{Key: "a", Size: 1 << 48}}, WriterOptions{VolumeSize: 1 << 40}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("256 TiB: %v", err)
	}
}

func TestCanceledProofIsNoProof(t *testing.T) {
	f := newFixture("demo", 3*mib)
	dir := t.TempDir()
	f.write(t, dir, WriterOptions{VolumeSize: mib})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Create(ctx, dir, "demo", digest.FromBytes(f.lock), f.slots, WriterOptions{VolumeSize: mib}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	w := f.create(t, dir, WriterOptions{VolumeSize: mib})
	if n := f.finish(t, w); n != 0 {
		t.Errorf("%d bytes fetched", n)
	}
}
