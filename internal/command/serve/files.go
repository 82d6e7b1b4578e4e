package serve

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo/catalog"
)

// fileShelf holds files and manifests by COMPONENT/NAME.
type fileShelf struct {
	byPath  map[string]shelved
	listing []shelved // by path
}

// shelved is one line of the listing.
type shelved struct {
	Path      string        `json:"path"` // COMPONENT/NAME
	Kind      lock.Kind     `json:"kind"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
	MediaType string        `json:"mediaType"`
	Reference string        `json:"reference"`
}

func newFileShelf(h *Handler) *fileShelf {
	s := &fileShelf{byPath: map[string]shelved{}, listing: []shelved{}}
	rank := map[string]int64{}
	for _, e := range h.catalog.Entries {
		if f, ok := shelveEntry(h.catalog, e); ok {
			s.putFile(h, f, rank, h.bundles[e.Source].Sequence())
		}
	}
	for _, p := range slices.Sorted(maps.Keys(s.byPath)) {
		s.listing = append(s.listing, s.byPath[p])
	}
	return s
}

// putFile enters f; of two files with one path the one with the highest sequence
// stays, the earlier bundle's if those are equal.
func (s *fileShelf) putFile(h *Handler, f shelved, rank map[string]int64, sequence int64) {
	have, clash := s.byPath[f.Path]
	kept, dropped := f, have
	switch {
	case !clash || have.Digest == f.Digest:
		s.byPath[f.Path], rank[f.Path] = f, max(rank[f.Path], sequence)
		return
	case sequence > rank[f.Path]:
		s.byPath[f.Path], rank[f.Path] = f, sequence
	default:
		kept, dropped = have, f
	}
	h.emitWarning("file-clash", "file %s differs between bundles; the one with the highest sequence is served: %s, not %s", f.Path, kept.Digest, dropped.Digest)
}

// shelveEntry makes a file of an entry that is one: an artifact with one raw layer.
func shelveEntry(c *catalog.Catalog, e catalog.Entry) (shelved, bool) {
	path, ok := strings.CutPrefix(e.Ref.Repository(), lock.FilesHost)
	m, known := c.Manifest(e.Descriptor.Digest)
	if !ok || !known || len(m.Layers) != 1 || !e.Kind.Info().Plain {
		return shelved{}, false
	}
	l := m.Layers[0]
	return shelved{path, e.Kind, l.Digest, l.Size, l.MediaType, string(e.Ref)}, true
}

func (h *Handler) serveFiles(w http.ResponseWriter, r *http.Request) error {
	if err := requireRead(w, r); err != nil {
		return err
	}
	path := strings.TrimPrefix(r.URL.Path, "/files/")
	if path == "" {
		writeJSON(w, http.StatusOK, h.files.listing)
		return nil
	}
	f, ok := h.files.byPath[path]
	if !ok {
		return &failure{http.StatusNotFound, "UNKNOWN", "no bundle here has a file " + path}
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return h.sendContent(w, r, h.blobContent(f.Digest, "application/octet-stream", f.Size))
}
