package bundle

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
)

const mib = 1 << 20

// awkward are blob sizes around every boundary of the format; with volumes of
// 1 MiB, cuts fall into headers, content, padding and the trailer.
var awkward = []int64{0, 1, 511, 512, 513, BlockSize - 1, BlockSize, BlockSize + 1, 3*BlockSize + 77, 9 * mib, 1023}

func joined(t testing.TB, dir, name string) io.Reader {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, name+".vol-*.tar"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no volumes", err)
	}
	slices.Sort(paths)
	var readers []io.Reader
	for _, p := range append([]string{filepath.Join(dir, name+".head.tar")}, paths...) {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, bytes.NewReader(b))
	}
	return io.MultiReader(readers...)
}

func TestJoinedTarIsALayout(t *testing.T) {
	f := newFixture("demo", awkward...)
	dir := t.TempDir()
	s := f.write(t, dir, WriterOptions{VolumeSize: mib})
	seen := map[string]int64{}
	r := joined(t, dir, "demo")
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || h.Mode != 0o644 || h.Uid|h.Gid != 0 || h.Uname+h.Gname != "" || h.ModTime.Unix() != 0 {
			t.Errorf("header %+v", h)
		}
		d, err := digest.SHA256.FromReader(in)
		if err != nil {
			t.Fatal(err)
		}
		if base, ok := bytes.CutPrefix([]byte(h.Name), []byte(blobDirectory)); ok && string(base) != d.Encoded() {
			t.Errorf("%s holds %s", h.Name, d)
		}
		if h.Name == "index.json" && d != s.Index {
			t.Errorf("index is %s, Seal said %s", d, s.Index)
		}
		if _, twice := seen[h.Name]; twice {
			t.Errorf("%s occurs twice", h.Name)
		}
		seen[h.Name] = h.Size
	}
	if left, _ := io.Copy(io.Discard, r); left != 0 {
		t.Errorf("%d bytes after the end of the archive", left)
	}
	for i, n := range f.sizes {
		if got, ok := seen[blobDirectory+blobDigest(f.seeds[i], n).Encoded()]; !ok || got != n {
			t.Errorf("blob %d: size %d, present %v", i, got, ok)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	f := newFixture("demo", awkward...).pend(8)
	dir := t.TempDir()
	sign(t, dir, f.write(t, dir, WriterOptions{VolumeSize: 2 * mib}))
	tr := openTrusted(t, dir)
	if got := findings(t, tr); len(got) != 0 {
		t.Fatalf("findings in a good bundle: %v", got)
	}
	for i, n := range f.sizes {
		b, err := tr.Open(blobDigest(f.seeds[i], n))
		if err != nil {
			t.Fatal(err)
		}
		want, _ := io.ReadAll(blobReader(f.seeds[i], n))
		for _, cut := range [][2]int64{{0, n}, {0, 1}, {n / 2, n}, {n - 1, 5}, {BlockSize - 3, 6}, {n, 1}} {
			from := max(0, min(cut[0], n))
			got := new(bytes.Buffer)
			r := b.NewReader(from, cut[1])
			if _, err := r.WriteTo(got); err != nil {
				t.Fatal(err)
			}
			r.Close()
			if !bytes.Equal(got.Bytes(), want[from:min(n, from+cut[1])]) {
				t.Errorf("blob %d, range %v: wrong bytes", i, cut)
			}
		}
		all, err := io.ReadAll(io.NewSectionReader(b, 0, n))
		if err != nil || !bytes.Equal(all, want) {
			t.Errorf("blob %d by ReadAt: %v", i, err)
		}
	}
	for _, m := range f.metas {
		if got, err := tr.Manifest(digest.FromBytes(m)); err != nil || !bytes.Equal(got, m) {
			t.Errorf("manifest: %v", err)
		}
	}
	if !bytes.Equal(tr.Lock(), f.lock) || tr.Name() != "demo" || tr.Statement().Predicate.Sequence != 7 {
		t.Error("metadata differs")
	}
}

func TestSameBytesWhateverTheOrder(t *testing.T) {
	f := newFixture("demo", awkward...).pend(9)
	var first map[string]string
	for _, order := range [][]int{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, {10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}} {
		dir := t.TempDir()
		w := f.create(t, dir, WriterOptions{VolumeSize: 3 * mib})
		for _, i := range order {
			if _, err := f.fill(t.Context(), w, i); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range f.metas {
			w.PutMeta(m)
		}
		if _, err := w.Seal(t.Context(), f.contents()); err != nil {
			t.Fatal(err)
		}
		w.Close()
		got := digests(t, dir)
		if first == nil {
			first = got
		}
		if !maps.Equal(first, got) {
			t.Errorf("bytes differ: %v and %v", first, got)
		}
	}
}

func TestNoPayload(t *testing.T) {
	f := newFixture("empty")
	dir := t.TempDir()
	sign(t, dir, f.write(t, dir, WriterOptions{}))
	info, err := os.Stat(filepath.Join(dir, "empty.vol-00000.tar"))
	if err != nil || info.Size() != trailerSize {
		t.Fatalf("volume 0: %v, %v", info, err)
	}
	if got := findings(t, openTrusted(t, dir)); len(got) != 0 {
		t.Error(got)
	}
}

// TestEmptyBlobAlone: an empty blob and an empty list of check values must not be
// taken for one another.
func TestEmptyBlobAlone(t *testing.T) {
	f := newFixture("demo", 0, 17)
	dir := t.TempDir()
	sign(t, dir, f.write(t, dir, WriterOptions{}))
	tr := openTrusted(t, dir)
	if got := findings(t, tr); len(got) != 0 {
		t.Error(got)
	}
	if b, err := tr.Open(f.slots[0].Digest); err != nil || b.Size() != 0 {
		t.Error(b, err)
	}
}
