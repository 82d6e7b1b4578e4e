package serve

import (
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/cargo/catalog"
)

// The pull side of the OCI distribution specification v1.1, straight from the
// volumes. Section names below are the specification's.

func (h *Handler) serveDistribution(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	if err := requireRead(w, r); err != nil {
		return err
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/v2"), "/")
	switch rest {
	case "":
		writeJSON(w, http.StatusOK, struct{}{})
		return nil
	case "_catalog":
		return h.serveCatalog(w, r)
	}
	q, err := h.resolveQuery(rest, r.URL.Query().Get("ns"))
	if err != nil {
		return err
	}
	switch q.kind {
	case "tags":
		return serveTags(w, r, q)
	case "manifests":
		return serveManifest(w, r, q)
	case "blobs":
		return h.serveBlob(w, r, q)
	}
	return serveReferrers(w, r, q)
}

// query is what a path below /v2/ asks for.
type query struct {
	repo      *catalog.Repository
	kind, ref string
}

func (h *Handler) resolveQuery(path, namespace string) (query, error) {
	name, kind, ref := splitPath(path)
	switch {
	case kind == "tags" && ref == "list", kind == "manifests", kind == "blobs", kind == "referrers":
	default:
		return query{}, &failure{http.StatusNotFound, "UNSUPPORTED", "no such endpoint"}
	}
	repo, ok := h.repositoryNamed(name, namespace)
	if !ok {
		return query{}, &failure{http.StatusNotFound, "NAME_UNKNOWN", "no bundle here has this repository"}
	}
	return query{repo, kind, ref}, nil
}

// splitPath cuts NAME/KIND/REF, where NAME may hold slashes.
func splitPath(path string) (name, kind, ref string) {
	path, ref = cutLast(path)
	name, kind = cutLast(path)
	return name, kind, ref
}

func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+1:]
}

// repositoryNamed finds name; with a namespace, as containerd sends it to a mirror,
// name lacks its host.
func (h *Handler) repositoryNamed(name, namespace string) (*catalog.Repository, bool) {
	if namespace != "" {
		if r, ok := h.catalog.Repositories[imageref.SitePath(namespace+"/"+name)]; ok {
			return r, true
		}
	}
	r, ok := h.catalog.Repositories[name]
	return r, ok
}

// serveManifest answers for one manifest of a repository.
func serveManifest(w http.ResponseWriter, r *http.Request, q query) error {
	m, err := q.findManifest()
	if err != nil {
		return err
	}
	raw, err := m.Bytes()
	if err != nil {
		return err
	}
	head, quoted := w.Header(), `"`+m.Digest.String()+`"`
	head.Set("Docker-Content-Digest", m.Digest.String())
	head.Set("ETag", quoted)
	if etagMatches(r.Header.Get("If-None-Match"), quoted) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	head.Set("Content-Type", m.MediaType)
	writeBytes(w, http.StatusOK, raw)
	return nil
}

func (q query) findManifest() (*catalog.Manifest, error) {
	d := digest.Digest(q.ref)
	if !strings.Contains(q.ref, ":") {
		d = q.repo.Tags[q.ref]
	} else if d.Validate() != nil {
		return nil, &failure{http.StatusBadRequest, "DIGEST_INVALID", "not a digest"}
	}
	m, ok := q.repo.Manifests[d]
	if !ok {
		return nil, &failure{http.StatusNotFound, "MANIFEST_UNKNOWN", "the bundle does not carry this manifest"}
	}
	return m, nil
}

// serveBlob answers for one blob. It is given from the repositories whose manifests name it.
func (h *Handler) serveBlob(w http.ResponseWriter, r *http.Request, q query) error {
	d := digest.Digest(q.ref)
	if d.Validate() != nil {
		return &failure{http.StatusBadRequest, "DIGEST_INVALID", "not a digest"}
	}
	desc, ok := q.repo.Blobs[d]
	if !ok {
		return &failure{http.StatusNotFound, "BLOB_UNKNOWN", "the bundle does not carry this blob"}
	}
	w.Header().Set("Docker-Content-Digest", d.String())
	return h.sendContent(w, r, h.blobContent(d, "application/octet-stream", desc.Size))
}

// serveTags lists the tags of a repository.
func serveTags(w http.ResponseWriter, r *http.Request, q query) error {
	page, err := paginateNames(w, r, q.repo.TagNames())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"name": q.repo.Name, "tags": page})
	return nil
}

func (h *Handler) serveCatalog(w http.ResponseWriter, r *http.Request) error {
	page, err := paginateNames(w, r, h.catalog.RepositoryNames())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"repositories": page})
	return nil
}

// paginateNames cuts sorted names by the n and last parameters and links the next
// page.
func paginateNames(w http.ResponseWriter, r *http.Request, names []string) ([]string, error) {
	values := r.URL.Query()
	if last := values.Get("last"); last != "" {
		names = names[sort.Search(len(names), func(i int) bool { return names[i] > last }):]
	}
	if values.Get("n") == "" {
		return names, nil
	}
	n, err := parseDecimal(values.Get("n"))
	if err != nil {
		return nil, &failure{http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n is not a number"}
	}
	if n >= int64(len(names)) {
		return names, nil
	}
	names = names[:n]
	if n > 0 {
		next := url.URL{Path: r.URL.Path, RawQuery: url.Values{"n": {strconv.FormatInt(n, 10)}, "last": {names[n-1]}}.Encode()}
		w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
	}
	return names, nil
}

// serveReferrers lists what refers to a manifest.
func serveReferrers(w http.ResponseWriter, r *http.Request, q query) error {
	subject := digest.Digest(q.ref)
	if subject.Validate() != nil {
		return &failure{http.StatusBadRequest, "DIGEST_INVALID", "not a digest"}
	}
	want := r.URL.Query().Get("artifactType")
	if want != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	list := []ocispec.Descriptor{}
	for _, m := range q.repo.Referrers[subject] {
		if want == "" || m.ArtifactType == want {
			list = append(list, m.Descriptor)
		}
	}
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	writeBytes(w, http.StatusOK, mustJSON(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": list}))
	return nil
}
