package cli

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/command/serve"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/bundletest"
	"github.com/caisson/caisson/internal/ui/explain"
)

// How much the damage tests try; 2000 flips are thorough and give 200 cuts.
const envFlips = "CAISSON_TEST_FLIPS"

func flips() int {
	if n, err := strconv.Atoi(os.Getenv(envFlips)); err == nil && n > 0 {
		return n
	}
	return 200
}

func cuts() int { return max(20, flips()/10) }

// damageSeed makes a run's choices; they are the same every time.
const damageSeed = 2

// victim is a packed bundle that is damaged and mended again, with what an
// independent reader makes of it: tar headers walked by archive/tar, manifests
// read as JSON.
type victim struct {
	*road
	files   map[string][]byte // by name, undamaged
	names   []string          // of files, sorted
	volume  int64             // bytes of a whole volume
	entries []entry           // of the volumes, by offset
	blobs   map[digest.Digest][]byte
	refs    map[digest.Digest][]string // references that need a blob
}

// entry is a file in the joined volumes, from its header to its padding.
type entry struct {
	begin, end int64
	blob       digest.Digest
}

func newVictim(t *testing.T, volumeSize string) *victim {
	t.Helper()
	v := &victim{road: packedRoad(t, volumeSize), files: map[string][]byte{}, blobs: map[digest.Digest][]byte{}, refs: map[digest.Digest][]string{}}
	list, err := os.ReadDir(v.path("out"))
	if err != nil {
		t.Fatal(err)
	}
	var head, volumes []byte
	for _, f := range list {
		data, err := os.ReadFile(v.at(f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		v.names, v.files[f.Name()] = append(v.names, f.Name()), data
		switch {
		case strings.Contains(f.Name(), ".vol-"):
			v.volume = max(v.volume, int64(len(data)))
			volumes = append(volumes, data...)
		case strings.HasSuffix(f.Name(), ".head.tar"):
			head = data
		}
	}
	v.walk(append(bytes.Clone(head), volumes...), int64(len(head)))
	return v
}

// walk reads the joined stream, whose first bytes are the head.
func (v *victim) walk(stream []byte, head int64) {
	v.t.Helper()
	r := bytes.NewReader(stream)
	var index []byte
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			v.t.Fatal(err)
		}
		begin := int64(len(stream)) - int64(r.Len())
		data, err := io.ReadAll(archive)
		if err != nil {
			v.t.Fatal(err)
		}
		if h.Name == "index.json" {
			index = data
		}
		hex, isBlob := strings.CutPrefix(h.Name, "blobs/sha256/")
		if !isBlob || h.Typeflag != tar.TypeReg {
			continue
		}
		d := digest.NewDigestFromEncoded(digest.SHA256, hex)
		v.blobs[d] = data
		if begin >= head {
			const block = 512
			end := begin + (h.Size+block-1)/block*block
			v.entries = append(v.entries, entry{begin - block - head, end - head, d})
		}
	}
	v.follow(index)
}

// follow notes which reference of the index needs which blob.
func (v *victim) follow(index []byte) {
	v.t.Helper()
	var list ocispec.Index
	if err := json.Unmarshal(index, &list); err != nil {
		v.t.Fatal(err)
	}
	for _, d := range list.Manifests {
		v.need(d.Annotations[ocispec.AnnotationRefName], d.Digest, d.MediaType)
	}
}

func (v *victim) need(ref string, d digest.Digest, mediaType string) {
	if !slices.Contains(v.refs[d], ref) {
		v.refs[d] = append(v.refs[d], ref)
	}
	if !strings.Contains(mediaType, ".manifest.") && !strings.Contains(mediaType, ".index.") {
		return
	}
	var m struct{ Config, Layers, Manifests json.RawMessage }
	_ = json.Unmarshal(v.blobs[d], &m)
	var all []ocispec.Descriptor
	for _, raw := range []json.RawMessage{m.Layers, m.Manifests} {
		var some []ocispec.Descriptor
		_ = json.Unmarshal(raw, &some)
		all = append(all, some...)
	}
	var config ocispec.Descriptor
	if json.Unmarshal(m.Config, &config) == nil {
		all = append(all, config)
	}
	for _, c := range all {
		v.need(ref, c.Digest, c.MediaType)
	}
}

func (v *victim) at(name string) string { return v.path("out/" + name) }

// alter changes a file while then runs.
func (v *victim) alter(name string, damaged []byte, then func()) {
	v.t.Helper()
	if err := os.WriteFile(v.at(name), damaged, 0o644); err != nil {
		v.t.Fatal(err)
	}
	then()
	if err := os.WriteFile(v.at(name), v.files[name], 0o644); err != nil {
		v.t.Fatal(err)
	}
}

func (v *victim) verify() said {
	return say(v.t.Context(), "verify", v.path("out"), "--key", v.key(), "--output", "json")
}

func isVolume(name string) bool { return strings.Contains(name, ".vol-") }

// bitFlip is one changed bit.
type bitFlip struct {
	name string
	at   int64
	bit  byte
}

func (f bitFlip) String() string {
	return fmt.Sprintf("flip of bit %d at %d of %s", f.bit, f.at, f.name)
}

func (v *victim) flipped(f bitFlip) []byte {
	data := bytes.Clone(v.files[f.name])
	data[f.at] ^= 1 << f.bit
	return data
}

// randomFlip chooses a volume half of the time, else the head, a signature or
// the ledger.
func (v *victim) randomFlip(rng *rand.Rand) bitFlip {
	var some []string
	payload := rng.IntN(2) == 0
	for _, name := range v.names {
		if isVolume(name) == payload {
			some = append(some, name)
		}
	}
	name := some[rng.IntN(len(some))]
	return bitFlip{name, rng.Int64N(int64(len(v.files[name]))), byte(rng.IntN(8))}
}

// TestEveryFlipIsFound: verify finds each flipped bit, ends with 3 or 4 and
// names what has to be copied again; of a volume also item, blob and place.
func TestEveryFlipIsFound(t *testing.T) {
	v := newVictim(t, "2MiB")
	before := v.trusted()
	rng := rand.New(rand.NewPCG(damageSeed, 1))
	for range flips() {
		f := v.randomFlip(rng)
		v.alter(f.name, v.flipped(f), func() {
			s := v.verify()
			switch {
			case isVolume(f.name):
				v.placed(f, s)
			case s.code == explain.Done && strings.HasSuffix(f.name, ".sigstore.json"):
				if after := v.trusted(); !reflect.DeepEqual(before, after) {
					t.Errorf("%s: accepted with another statement or key: %+v", f, after)
				}
			default:
				v.named(f.String(), f.name, s)
			}
		})
	}
}

// trusted is what the bundle's signatures say, or nil.
func (v *victim) trusted() []bundle.Signature {
	v.t.Helper()
	b, err := cargo.Open(v.t.Context(), []string{v.path("out")}, []string{v.key()}, cargo.Options{}, event.Discard)
	if err != nil {
		return nil
	}
	defer b.Close()
	return b.Signatures()
}

// placed requires that a flip in a volume is found where it is. A finding tells
// no more than the block; where that lies in several volumes there is one for
// each.
func (v *victim) placed(f bitFlip, s said) {
	v.t.Helper()
	hit := false
	want, begin, end := v.owner(f)
	for _, got := range s.findings(v.t) {
		hit = hit || got.Volume == f.name && got.Offset <= f.at && f.at < got.Offset+got.Length
		if from := v.inStream(got.Volume, got.Offset); from < begin || from+got.Length > end {
			v.t.Errorf("%s: the finding is about %d bytes at %d of %s", f, got.Length, got.Offset, got.Volume)
		}
		if got.Blob != string(want) || !strings.Contains(got.Hint, got.Volume) {
			v.t.Errorf("%s: the finding names blob %q, not %q; advice %q", f, got.Blob, want, got.Hint)
		}
		v.itemIsOf(f, got, want)
	}
	if s.code != explain.Damaged || !hit {
		v.t.Errorf("%s: exit code %d, a finding there: %v", f, s.code, hit)
	}
}

// inStream is where a byte of a volume lies in the joined volumes.
func (v *victim) inStream(name string, at int64) int64 {
	v.t.Helper()
	_, number, _ := strings.Cut(strings.TrimSuffix(name, ".tar"), ".vol-")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		v.t.Fatal(err)
	}
	return n*v.volume + at
}

// owner is the blob whose entry holds a byte of a volume, and the block of it,
// or the header or padding, in the joined volumes. At the end of the archive
// there is none.
func (v *victim) owner(f bitFlip) (blob digest.Digest, begin, end int64) {
	at := v.inStream(f.name, f.at)
	begin, end = 0, 1<<62
	for _, e := range v.entries {
		if e.end <= at {
			begin = e.end
		}
		if e.begin > at || at >= e.end {
			continue
		}
		content := e.begin + 512
		last := content + int64(len(v.blobs[e.blob]))
		switch {
		case at < content:
			return e.blob, e.begin, content
		case at >= last:
			return e.blob, last, e.end
		}
		begin = content + (at-content)/bundle.BlockSize*bundle.BlockSize
		return e.blob, begin, min(begin+bundle.BlockSize, last)
	}
	return "", begin, end
}

// itemIsOf requires that a finding names references that need its blob.
func (v *victim) itemIsOf(f bitFlip, got event.Finding, blob digest.Digest) {
	v.t.Helper()
	said, _, _ := strings.Cut(got.Item, " and ")
	if blob == "" {
		return
	}
	for ref := range strings.SplitSeq(said, ", ") {
		if !slices.Contains(v.refs[blob], ref) {
			v.t.Errorf("%s: the finding names %q; the blob is needed by %q", f, ref, v.refs[blob])
		}
	}
}

// named requires that damage to a file beside the volumes is refused with a
// finding that names the file.
func (v *victim) named(what, name string, s said) {
	v.t.Helper()
	found := s.findings(v.t)
	if s.code != explain.NotTrusted && s.code != explain.Damaged || len(found) == 0 {
		v.t.Errorf("%s: exit code %d, %d findings", what, s.code, len(found))
		return
	}
	if got := found[0]; got.Volume != name || !strings.Contains(got.Hint, name) {
		v.t.Errorf("%s: the finding is about %q, with the advice %q: %s", what, got.Volume, got.Hint, got.What)
	}
}

// TestEveryCutIsFound: the same for files cut short.
func TestEveryCutIsFound(t *testing.T) {
	v := newVictim(t, "2MiB")
	rng := rand.New(rand.NewPCG(damageSeed, 2))
	for range cuts() {
		name := v.names[rng.IntN(len(v.names))]
		at := rng.IntN(len(v.files[name]))
		v.alter(name, v.files[name][:at], func() {
			s, what := v.verify(), fmt.Sprintf("%s cut at %d", name, at)
			if !isVolume(name) {
				v.named(what, name, s)
				return
			}
			found := s.findings(t)
			if s.code != explain.Damaged || len(found) != 1 || found[0].Volume != name || found[0].Offset != int64(at) || found[0].Length != int64(len(v.files[name])-at) {
				t.Errorf("%s: exit code %d, %+v", what, s.code, found)
			}
		})
	}
}

// TestEveryMissingVolumeIsFound: each set of volumes that did not arrive is
// listed, whole.
func TestEveryMissingVolumeIsFound(t *testing.T) {
	v := newVictim(t, "2MiB")
	var volumes []string
	for _, name := range v.names {
		if isVolume(name) {
			volumes = append(volumes, name)
		}
	}
	if len(volumes) > 8 {
		t.Fatalf("%d volumes are too many sets", len(volumes))
	}
	away := t.TempDir()
	for set := 1; set < 1<<len(volumes); set++ {
		var gone []string
		for i, name := range volumes {
			if set>>i&1 == 1 {
				gone = append(gone, name)
				v.move(v.at(name), filepath.Join(away, name))
			}
		}
		s := v.verify()
		var found []string
		for _, f := range s.findings(t) {
			found = append(found, f.Volume)
			if f.Code != string(bundle.MissingVolume) || !strings.Contains(f.Hint, f.Volume) {
				t.Errorf("without %v: %+v", gone, f)
			}
		}
		slices.Sort(found)
		if s.code != explain.Damaged || !slices.Equal(found, gone) {
			t.Errorf("without %v: exit code %d, findings about %v", gone, s.code, found)
		}
		for _, name := range gone {
			v.move(filepath.Join(away, name), v.at(name))
		}
	}
}

func (v *victim) move(from, to string) {
	v.t.Helper()
	if err := os.Rename(from, to); err != nil {
		v.t.Fatal(err)
	}
}

// TestNoWrongByteLeaves: of a bundle with a flipped bit, serve and load give
// right bytes or none.
func TestNoWrongByteLeaves(t *testing.T) {
	v := newVictim(t, "2MiB")
	rng := rand.New(rand.NewPCG(damageSeed, 3))
	refused, broken := 0, 0
	for range max(12, flips()/20) {
		f := v.randomFlip(rng)
		v.alter(f.name, v.flipped(f), func() {
			if v.trusted() == nil {
				refused++
			}
			served := v.served(f)
			v.loaded(f, served)
			broken += served
		})
	}
	t.Logf("%d bundles were refused, %d answers were broken off", refused, broken)
	if refused == 0 || broken == 0 {
		t.Error("the flips are all of one kind")
	}
}

// served asks serve for every blob and returns how many it could not give.
func (v *victim) served(f bitFlip) (broken int) {
	v.t.Helper()
	opened, err := cargo.OpenAll(v.t.Context(), []string{v.path("out")}, []string{v.key()}, cargo.Options{}, event.Discard)
	if err != nil {
		return 0
	}
	defer opened.Close()
	handler, err := serve.New(opened, event.Discard)
	if err != nil {
		return 0
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = nil
	server.Start()
	defer server.Close()
	for d, want := range v.blobs {
		for _, ref := range v.refs[d] {
			got, whole := v.get(server.URL + "/v2/" + imageref.Ref(ref).SitePath() + "/blobs/" + string(d))
			if got != nil && !bytes.HasPrefix(want, got) || whole && len(got) != len(want) {
				v.t.Errorf("%s: serve gives wrong bytes of %s", f, d)
			}
			if got != nil && !whole {
				broken++
			}
		}
	}
	return broken
}

// get returns the body of a successful answer, as far as it came; none for a
// blob that is no repository's.
func (v *victim) get(url string) (body []byte, whole bool) {
	v.t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return []byte{}, false
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, false
	}
	if resp.StatusCode != http.StatusOK {
		return []byte{}, false
	}
	body, err = io.ReadAll(resp.Body)
	return append([]byte{}, body...), err == nil
}

// loaded loads into a registry and looks at every byte that is sent to it.
func (v *victim) loaded(f bitFlip, broken int) {
	v.t.Helper()
	registry := bundletest.NewRegistry(v.t, true)
	sent := &eavesdropper{}
	registry.Fault = sent.listen
	s := say(v.t.Context(), "load", v.path("out"), "--key", v.key(), "--registry", registry.Host, "--state-dir", v.t.TempDir())
	trusted := v.trusted() != nil
	switch {
	case !trusted && s.code != explain.NotTrusted && s.code != explain.Damaged, trusted && broken > 0 && s.code != explain.Damaged, trusted && broken == 0 && s.code != explain.Done:
		v.t.Errorf("%s: trusted %v, %d broken answers, but load ends with %d\n%s", f, trusted, broken, s.code, s.err)
	}
	if !trusted && len(sent.all()) > 0 {
		v.t.Errorf("%s: load sent something of a bundle that is not trusted", f)
	}
	for _, body := range sent.all() {
		if !v.isPrefix(body.sent()) {
			v.t.Errorf("%s: load sent wrong bytes to %s", f, body.path)
		}
	}
}

// isPrefix says whether sent begins some blob. Indexes of referrers are written
// anew by load and are none.
func (v *victim) isPrefix(sent []byte) bool {
	for _, b := range v.blobs {
		if bytes.HasPrefix(b, sent) {
			return true
		}
	}
	return bytes.HasPrefix(sent, []byte("{")) && bytes.Contains(sent, []byte(`"manifests"`))
}

// eavesdropper keeps every body that is written to a registry. The registry may
// still be reading when its client is gone.
type eavesdropper struct {
	mu     sync.Mutex
	bodies []*overheard
}

// overheard is one request's body, as far as it was read.
type overheard struct {
	path string
	io.ReadCloser
	mu   sync.Mutex
	data []byte
}

func (o *overheard) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.data = append(o.data, p[:n]...)
	return n, err
}

func (o *overheard) sent() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.data)
}

func (e *eavesdropper) listen(_ http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPut && r.Method != http.MethodPatch && r.Method != http.MethodPost {
		return false
	}
	o := &overheard{path: r.URL.Path, ReadCloser: r.Body}
	r.Body = o
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bodies = append(e.bodies, o)
	return false
}

func (e *eavesdropper) all() []*overheard {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.bodies)
}
