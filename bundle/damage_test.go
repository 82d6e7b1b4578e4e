package bundle

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// damageCount is how many flips TestDamage tries; CAISSON_DAMAGE=2000 makes it
// thorough.
func damageCount() int {
	if n, err := strconv.Atoi(os.Getenv("CAISSON_DAMAGE")); err == nil {
		return n
	}
	return 200
}

// damageFixture is a small bundle with every kind of byte: headers, a blob of
// two blocks, padding, trailer, several volumes with cuts inside a block.
func damageFixture(t testing.TB, dir string) *fixture {
	f := newFixture("demo", 700, BlockSize+300_000, 0, 512, 3000, 200_000).pend(1)
	sign(t, dir, f.write(t, dir, WriterOptions{VolumeSize: mib, NoSync: true}))
	return f
}

// site is a copy of a bundle that is damaged and mended again.
type site struct {
	*fixture
	t   *testing.T
	dir string
}

func newSite(t *testing.T) site {
	dir := t.TempDir()
	return site{damageFixture(t, dir), t, dir}
}

func (s site) path(name string) string { return filepath.Join(s.dir, name) }

// alter changes a file for the time of a function.
func (s site) alter(name string, change func([]byte) []byte, then func()) {
	s.t.Helper()
	good, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), change(bytes.Clone(good)), 0o644); err != nil {
		s.t.Fatal(err)
	}
	then()
	if err := os.WriteFile(s.path(name), good, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// noWrongByte reads every blob in every way: what comes is right, or it is an
// error; it returns how many blobs could not be read whole.
func (s site) noWrongByte(tr *Trusted) (failed int) {
	s.t.Helper()
	for i, n := range s.sizes {
		want := s.bytes(i)
		b, err := tr.Open(blobDigest(s.seeds[i], n))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, room := range []rooms{nil, make(rooms)} {
			b.rooms = room
			var got bytes.Buffer
			_, err = b.NewReader(0, n).WriteTo(&got)
			if !bytes.HasPrefix(want, got.Bytes()) || err == nil && got.Len() != len(want) {
				s.t.Fatalf("blob %d gave a wrong byte", i)
			}
			at := n / 3
			part := make([]byte, n/3)
			m, e := b.ReadAt(part, at)
			if !bytes.Equal(part[:m], want[at:at+int64(m)]) {
				s.t.Fatalf("blob %d gave a wrong byte by ReadAt", i)
			}
			if e != nil && e != io.EOF && err == nil {
				s.t.Errorf("blob %d: whole reads, part does not: %v", i, e)
			}
		}
		if err != nil {
			failed++
			if !errors.Is(err, ErrTampered) && !errors.Is(err, ErrMissing) && !errors.Is(err, io.ErrUnexpectedEOF) {
				s.t.Errorf("blob %d: %v", i, err)
			}
		}
	}
	return failed
}

func (s site) volumes() []string {
	names, _ := filepath.Glob(s.path("demo.vol-*.tar"))
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	slices.Sort(names)
	return names
}

func TestDamage(t *testing.T) {
	s := newSite(t)
	rng := rand.New(rand.NewPCG(1, 2))
	names := append(s.volumes(), "demo.head.tar", "demo.head.tar", "demo.paper.sigstore.json")
	for range damageCount() {
		name := names[rng.IntN(len(names))]
		var at int
		s.alter(name, func(b []byte) []byte {
			at = rng.IntN(len(b))
			b[at] ^= 1 << rng.IntN(8)
			return b
		}, func() {
			if strings.Contains(name, ".vol-") {
				s.flipIsFound(name, int64(at))
			} else if tr, err := tryOpen(s.dir); err == nil {
				tr.Close()
				t.Errorf("flip at %d of %s went unnoticed", at, name)
			}
		})
	}
}

// flipIsFound requires one finding at the right place, and blobs that are right
// or refused.
func (s site) flipIsFound(name string, at int64) {
	s.t.Helper()
	tr, err := tryOpen(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	defer tr.Close()
	hit := false
	for _, f := range findings(s.t, tr) {
		inside := f.Volume == name && f.Offset <= at && at < f.Offset+f.Length
		hit = hit || inside
		if !inside && f.Code != BadBlock {
			s.t.Errorf("flip at %d of %s: finding elsewhere: %+v", at, name, f)
		}
		if want := s.blobAt(tr, f.VolumeIndex, at); inside && f.Blob != want {
			s.t.Errorf("flip at %d of %s: finding names blob %q, not %q", at, name, f.Blob, want)
		}
	}
	if !hit {
		s.t.Errorf("flip at %d of %s: no finding", at, name)
	}
	if failed := s.noWrongByte(tr); failed > 1 {
		s.t.Errorf("flip at %d of %s: %d blobs unreadable", at, name, failed)
	}
}

// blobAt says whose entry a byte of a volume belongs to, by a plain walk.
func (s site) blobAt(tr *Trusted, volume int, at int64) digest.Digest {
	offset := int64(volume)*tr.Table().VolumeSize() + at
	for i := range tr.Table().Len() {
		e := tr.Table().Entry(i)
		if offset >= e.Offset-sector && offset < e.Offset+e.Size+paddingLength(e.Size) {
			return e.Digest
		}
	}
	return ""
}

func TestTruncation(t *testing.T) {
	s := newSite(t)
	rng := rand.New(rand.NewPCG(3, 4))
	names := append(s.volumes(), "demo.head.tar", "demo.paper.sigstore.json")
	for range max(20, damageCount()/10) {
		name := names[rng.IntN(len(names))]
		var at int
		s.alter(name, func(b []byte) []byte {
			at = rng.IntN(len(b))
			return b[:at]
		}, func() {
			tr, err := tryOpen(s.dir)
			if !strings.Contains(name, ".vol-") {
				if err == nil {
					t.Errorf("%s cut at %d went unnoticed", name, at)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			all := findings(t, tr)
			if len(all) != 1 || all[0].Code != ShortVolume || all[0].Volume != name || all[0].Offset != int64(at) {
				t.Errorf("%s cut at %d: %+v", name, at, all)
			}
			s.noWrongByte(tr)
		})
	}
}

func TestLongVolume(t *testing.T) {
	s := newSite(t)
	for _, name := range append(s.volumes(), "demo.head.tar") {
		s.alter(name, func(b []byte) []byte { return append(b, make([]byte, sector)...) }, func() {
			tr, err := tryOpen(s.dir)
			if name == "demo.head.tar" {
				if err == nil {
					t.Error("longer head went unnoticed")
				}
				return
			}
			defer tr.Close()
			if all := findings(t, tr); len(all) != 1 || all[0].Code != LongVolume || all[0].Volume != name {
				t.Errorf("%s too long: %+v", name, all)
			}
			if s.noWrongByte(tr) != 0 {
				t.Errorf("%s too long: blobs unreadable", name)
			}
		})
	}
}

func TestEverySetOfMissingVolumes(t *testing.T) {
	s := newSite(t)
	names := s.volumes()
	for set := 1; set < 1<<len(names); set++ {
		away := t.TempDir()
		for i, n := range names {
			if set>>i&1 == 1 {
				if err := os.Rename(s.path(n), filepath.Join(away, n)); err != nil {
					t.Fatal(err)
				}
			}
		}
		tr, err := tryOpen(s.dir)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, f := range findings(t, tr) {
			if f.Code != MissingVolume || set>>f.VolumeIndex&1 == 0 || f.Volume != names[f.VolumeIndex] || f.Blobs == 0 && f.VolumeIndex < len(names)-1 {
				t.Errorf("missing %b: %+v", set, f)
			}
			found |= 1 << f.VolumeIndex
		}
		if found != set {
			t.Errorf("missing %b, found %b", set, found)
		}
		if s.noWrongByte(tr) == 0 {
			t.Errorf("missing %b: every blob readable", set)
		}
		tr.Close()
		// Elsewhere is as good as here.
		if tr, err = tryOpen(away, s.dir); err != nil {
			t.Fatal(err)
		}
		if all := findings(t, tr); len(all) != 0 {
			t.Errorf("volumes %b elsewhere: %+v", set, all)
		}
		tr.Close()
		for i, n := range names {
			if set>>i&1 == 1 {
				if err := os.Rename(filepath.Join(away, n), s.path(n)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func TestSwappedVolumes(t *testing.T) {
	s := newSite(t)
	a, b, c := s.path("demo.vol-00001.tar"), s.path("demo.vol-00002.tar"), s.path("tmp")
	for _, step := range [][2]string{{a, c}, {b, a}, {c, b}} {
		if err := os.Rename(step[0], step[1]); err != nil {
			t.Fatal(err)
		}
	}
	tr := openTrusted(t, s.dir)
	for _, f := range findings(t, tr) {
		if f.VolumeIndex > 3 && f.Code != BadBlock {
			t.Errorf("%+v", f)
		}
	}
	if s.noWrongByte(tr) != 1 {
		t.Error("the one blob in both volumes should be unreadable")
	}
}

func TestGoodCopyServesForABadOne(t *testing.T) {
	s := newSite(t)
	other := t.TempDir()
	if err := os.CopyFS(other, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	// Each place has damage that the other has not, within one block even.
	flip(t, s.dir, "demo.vol-00001.tar", 10)
	flip(t, other, "demo.vol-00002.tar", 10)
	if err := os.Truncate(filepath.Join(s.dir, "demo.vol-00004.tar"), 100); err != nil {
		t.Fatal(err)
	}
	tr := openTrusted(t, s.dir, other)
	all := findings(t, tr)
	if len(all) == 0 {
		t.Error("damaged copies went unnoticed")
	}
	for _, f := range all {
		if f.Code != BadCopy || !f.Harmless() {
			t.Errorf("%+v", f)
		}
	}
	if s.noWrongByte(tr) != 0 {
		t.Error("blobs unreadable although each byte has a good copy")
	}
}

func TestUnknownVolumeIsReported(t *testing.T) {
	s := newSite(t)
	if err := os.WriteFile(s.path("demo.vol-00099.tar"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	tr := openTrusted(t, s.dir)
	if all := findings(t, tr); len(all) != 1 || all[0].Code != ExtraVolume {
		t.Errorf("%+v", all)
	}
}

func TestAllDamageAtOnce(t *testing.T) {
	s := newSite(t)
	flip(t, s.dir, "demo.vol-00000.tar", 100)          // header of blob 0
	flip(t, s.dir, "demo.vol-00000.tar", sector+700+5) // its padding
	flip(t, s.dir, "demo.vol-00000.tar", sector+3)     // its content
	if err := os.Remove(s.path("demo.vol-00002.tar")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.path("demo.vol-00003.tar")); err != nil {
		t.Fatal(err)
	}
	codes := map[Code]int{}
	for _, f := range findings(t, openTrusted(t, s.dir)) {
		codes[f.Code]++
	}
	if codes[BadHeader] != 1 || codes[BadPadding] != 1 || codes[BadBlock] != 1 || codes[MissingVolume] != 2 || len(codes) != 4 {
		t.Errorf("findings: %v", codes)
	}
}
