package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// scaleServer is the upstream of generated stacks and the registry of their site at
// once: a chart repository, and a registry that has an image of every name. Images
// are made when they are asked for.
type scaleServer struct {
	Address string
	charts  map[string][]byte

	mu    sync.Mutex
	blobs map[digest.Digest][]byte
}

func startScaleServer(charts map[string][]byte) (*scaleServer, func(), error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	s := &scaleServer{Address: listener.Addr().String(), charts: charts, blobs: map[digest.Digest][]byte{}}
	server := &http.Server{Handler: s}
	go func() { _ = server.Serve(listener) }()
	return s, func() { _ = server.Close() }, nil
}

// ServeHTTP answers as a chart repository and as the pull side of a registry.
func (s *scaleServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	name, isArchive := strings.CutSuffix(strings.TrimPrefix(path, "/charts/"), "-1.0.0.tgz")
	repository, reference, isManifest := strings.Cut(strings.TrimPrefix(path, "/v2/"), "/manifests/")
	_, blob, isBlob := strings.Cut(path, "/blobs/")
	switch {
	case path == "/charts/index.yaml":
		fmt.Fprint(w, s.index())
	case isArchive && s.charts[name] != nil:
		_, _ = w.Write(s.charts[name])
	case path == "/v2/":
	case isManifest && strings.HasPrefix(reference, "sha256:"):
		s.serveBlob(w, r, digest.Digest(reference), ocispec.MediaTypeImageManifest)
	case isManifest && !strings.HasPrefix(reference, "sha256-"):
		s.serveBlob(w, r, s.image(repository+":"+reference), ocispec.MediaTypeImageManifest)
	case isBlob:
		s.serveBlob(w, r, digest.Digest(blob), "application/octet-stream")
	case strings.Contains(path, "/referrers/"):
		w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
		fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, ocispec.MediaTypeImageIndex)
	default:
		http.NotFound(w, r)
	}
}

func (s *scaleServer) index() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nentries:\n")
	for name, archive := range s.charts {
		fmt.Fprintf(&b, "  %s:\n  - {apiVersion: v2, name: %s, version: 1.0.0, digest: %s, urls: [%s/%s-1.0.0.tgz]}\n",
			name, name, digest.FromBytes(archive).Encoded(), chartsURL, name)
	}
	return b.String()
}

// image makes an image of one small layer.
func (s *scaleServer) image(name string) digest.Digest {
	layer := s.put([]byte("layer of " + name))
	config := s.putJSON(ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}},
	})
	config.MediaType, layer.MediaType = ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageLayer
	return s.putJSON(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{layer},
	}).Digest
}

func (s *scaleServer) putJSON(v any) ocispec.Descriptor {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain values
	}
	return s.put(data)
}

func (s *scaleServer) put(data []byte) ocispec.Descriptor {
	d := digest.FromBytes(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d] = data
	return ocispec.Descriptor{Digest: d, Size: int64(len(data))}
}

func (s *scaleServer) serveBlob(w http.ResponseWriter, r *http.Request, d digest.Digest, mediaType string) {
	s.mu.Lock()
	data, ok := s.blobs[d]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", string(d))
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(data)
	}
}
