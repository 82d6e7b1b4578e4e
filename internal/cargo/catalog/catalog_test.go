package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/lock"
)

// head is a head in memory.
type head struct {
	index ocispec.Index
	meta  map[digest.Digest][]byte
}

func newHead() *head { return &head{meta: map[digest.Digest][]byte{}} }

func (h *head) Index() ocispec.Index { return h.index }

func (h *head) Manifest(d digest.Digest) ([]byte, error) {
	if raw, ok := h.meta[d]; ok {
		return raw, nil
	}
	return nil, errors.New("not there")
}

func (h *head) Stat(d digest.Digest) (int64, bool, bool) {
	raw, ok := h.meta[d]
	return int64(len(raw)), ok, ok
}

func (h *head) put(mediaType string, doc string) ocispec.Descriptor {
	d := digest.FromString(doc)
	h.meta[d] = []byte(doc)
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(doc))}
}

func (h *head) ref(d ocispec.Descriptor, name string) {
	d.Annotations = map[string]string{ocispec.AnnotationRefName: name, lock.AnnotationKind: "image"}
	h.index.Manifests = append(h.index.Manifests, d)
}

const manifestText = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"a/b","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[],"annotations":{"n":"%s"}}`

func image(h *head, salt string) ocispec.Descriptor {
	return h.put(ocispec.MediaTypeImageManifest, fmt.Sprintf(manifestText, salt))
}

func TestClashes(t *testing.T) {
	for _, c := range []struct {
		sequences [2]int64
		kept      string
		clashes   int
	}{
		{[2]int64{1, 2}, "second", 1}, {[2]int64{2, 1}, "first", 1}, {[2]int64{1, 1}, "first", 1},
	} {
		one, two := newHead(), newHead()
		one.ref(image(one, "first"), "r.example/a:1")
		two.ref(image(two, "second"), "r.example/a:1")
		got, err := Read(Source{one, c.sequences[0]}, Source{two, c.sequences[1]})
		if err != nil {
			t.Fatal(err)
		}
		want := digest.FromString(fmt.Sprintf(manifestText, c.kept))
		if got.Repositories["r.example/a"].Tags["1"] != want || len(got.Clashes) != c.clashes || got.Clashes[0].Kept != want {
			t.Errorf("%v: %+v", c.sequences, got.Clashes)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for name, make := range map[string]func(*head){
		"upper case": func(h *head) { h.ref(image(h, ""), "r.example/../A:1") },
		"bad tag":    func(h *head) { h.ref(image(h, ""), "r.example/a:-x") },
		"absent root": func(h *head) {
			h.ref(ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("x")}, "r.example/a:1")
		},
		"another size": func(h *head) { d := image(h, ""); d.Size++; h.ref(d, "r.example/a:1") },
		"another type": func(h *head) { d := image(h, ""); d.MediaType = DockerManifest; h.ref(d, "r.example/a:1") },
		"no manifest":  func(h *head) { d := image(h, ""); d.MediaType = "text/plain"; h.ref(d, "r.example/a:1") },
		"too deep":     deep,
	} {
		h := newHead()
		make(h)
		if _, err := Read(Source{Head: h}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func deep(h *head) {
	d := image(h, "")
	for range maxDepth + 2 {
		raw, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": []ocispec.Descriptor{d}})
		d = h.put(ocispec.MediaTypeImageIndex, string(raw))
	}
	h.ref(d, "r.example/a:1")
}

// TestManyReferencesToMuch: a small head may not ask for a large catalog, neither
// by many repositories nor by many tags of one.
func TestManyReferencesToMuch(t *testing.T) {
	const wide, many = 2000, maxHeld/(2*2000+1) + 1
	for _, form := range []string{"r.example/a%d:1", "r.example/a:%d"} {
		h := newHead()
		var children []ocispec.Descriptor
		for i := range wide {
			children = append(children, image(h, fmt.Sprint(i)))
		}
		raw, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": children})
		d := h.put(ocispec.MediaTypeImageIndex, string(raw))
		for i := range many {
			h.ref(d, fmt.Sprintf(form, i))
		}
		if _, err := Read(Source{Head: h}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", form, err)
		}
		h.index.Manifests = h.index.Manifests[:10]
		if c, err := Read(Source{Head: h}); err != nil || c.held != 10*(2*wide+1) {
			t.Errorf("%s: %v", form, err)
		}
	}
}

func TestAmbiguousManifests(t *testing.T) {
	for _, c := range []struct{ mediaType, doc string }{
		{ocispec.MediaTypeImageIndex, `{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"layers":[]}`},
		{ocispec.MediaTypeImageManifest, strings.Replace(manifestText, `"layers"`, `"manifests":[],"layers"`, 1)},
		{ocispec.MediaTypeImageManifest, `{"layers":[]}`},
		{ocispec.MediaTypeImageManifest, strings.Replace(manifestText, "sha256:4", "sha256:z", 1)},
		{ocispec.MediaTypeImageManifest, strings.Replace(manifestText, `"size":2`, `"size":-2`, 1)},
		{DockerManifest, manifestText},
	} {
		if m, err := ParseManifest(c.mediaType, []byte(c.doc)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s as %s: %+v, %v", c.doc, c.mediaType, m, err)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(ocispec.MediaTypeImageManifest, []byte(manifestText))
	f.Add(ocispec.MediaTypeImageIndex, []byte(`{"manifests":[{"digest":"sha256:","size":1}]}`))
	f.Fuzz(func(t *testing.T, mediaType string, raw []byte) {
		m, err := ParseManifest(mediaType, raw)
		if err != nil {
			return
		}
		if m.Index == (m.Config != nil) {
			t.Errorf("index %v with config %v", m.Index, m.Config)
		}
		for _, d := range m.Blobs() {
			if d.Digest.Validate() != nil {
				t.Errorf("accepted %q", d.Digest)
			}
		}
	})
}
