package resolve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

// shelf is a registry that holds whatever a test puts there, right or wrong,
// and has the referrers API. Repositories are not told apart.
type shelf struct {
	testing.TB
	mu        sync.Mutex
	manifests map[string]stored // by digest and by tag
	blobs     map[string][]byte
	referrers map[string][]ocispec.Descriptor
	status    map[string]int // by path: answered instead of content
	asked     map[string]int
}

type stored struct {
	mediaType string
	data      []byte
}

// newShelf starts a shelf as reg.example of a site.
func newShelf(s *site) *shelf {
	s.Helper()
	h := &shelf{TB: s.TB, manifests: map[string]stored{}, blobs: map[string][]byte{}, referrers: map[string][]ocispec.Descriptor{}, status: map[string]int{}, asked: map[string]int{}}
	srv := httptest.NewServer(h)
	s.Cleanup(srv.Close)
	s.write("upstreams.yaml", strings.TrimSuffix(string(s.UpstreamsYAML()), "\n")+fmt.Sprintf("\n  - {from: reg.example, to: %q}\n", srv.URL))
	return h
}

func (h *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked[r.URL.Path]++
	if code := h.status[r.URL.Path]; code != 0 {
		w.WriteHeader(code)
		return
	}
	if r.URL.Path == "/v2/" {
		return
	}
	parts := strings.Split(r.URL.Path, "/")
	kind, name := parts[len(parts)-2], parts[len(parts)-1]
	switch kind {
	case "manifests":
		if m, ok := h.manifests[name]; ok {
			w.Header().Set("Content-Type", m.mediaType)
			w.Write(m.data)
			return
		}
	case "blobs":
		if b, ok := h.blobs[name]; ok {
			w.Write(b)
			return
		}
	case "referrers":
		w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
		json.NewEncoder(w).Encode(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: append([]ocispec.Descriptor{}, h.referrers[name]...)})
		return
	}
	w.WriteHeader(http.StatusNotFound)
}

// put stores a manifest or index and tags it.
func (h *shelf) put(mediaType string, v any, tags ...string) ocispec.Descriptor {
	h.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		h.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range append(tags, string(d.Digest)) {
		h.manifests[name] = stored{mediaType, data}
	}
	return d
}

func (h *shelf) blob(mediaType string, data string) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(data), Size: int64(len(data))}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blobs[string(d.Digest)] = []byte(data)
	return d
}

// image stores an image for a platform and returns its descriptor with it.
func (h *shelf) image(platform string, layers ...ocispec.Descriptor) ocispec.Descriptor {
	h.Helper()
	parts := append(strings.Split(platform, "/"), "")
	p := ocispec.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
	config, _ := json.Marshal(p)
	if layers == nil {
		layers = []ocispec.Descriptor{h.blob(ocispec.MediaTypeImageLayerGzip, "layer of "+platform)}
	}
	d := h.put(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: h.blob(ocispec.MediaTypeImageConfig, string(config)), Layers: layers,
	})
	d.Platform = &p
	return d
}

func (h *shelf) index(tag string, children ...ocispec.Descriptor) ocispec.Descriptor {
	h.Helper()
	return h.put(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: append([]ocispec.Descriptor{}, children...),
	}, tag)
}

// tag names a stored manifest.
func (h *shelf) tag(name string, d ocispec.Descriptor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.manifests[name] = h.manifests[string(d.Digest)]
}

// addReferrer stores an artifact that refers to subject and lists it as a referrer.
func (h *shelf) addReferrer(subject ocispec.Descriptor, kind string) ocispec.Descriptor {
	h.Helper()
	subject.Platform = nil
	d := h.put(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: kind,
		Config: h.blob(ocispec.MediaTypeEmptyJSON, "{}"), Layers: []ocispec.Descriptor{h.blob("text/plain", kind+" of "+string(subject.Digest))},
		Subject: &subject,
	})
	h.list(subject, d)
	return d
}

func (h *shelf) list(subject, d ocispec.Descriptor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.referrers[string(subject.Digest)] = append(h.referrers[string(subject.Digest)], d)
}

// imageStack is a stack of one component with images alone.
func imageStack(platforms string, images ...string) string {
	return "apiVersion: caisson.dev/v1alpha1\nkind: Stack\nmetadata: {name: t, version: 1.0.0}\nplatforms: [" + platforms + "]\ncomponents:\n" +
		"  - name: c\n    images:\n      - " + strings.Join(images, "\n      - ") + "\n"
}

func shelfSite(t *testing.T) (*site, *shelf) {
	s := newSite(t, upstreamtest.Options{})
	return s, newShelf(s)
}
