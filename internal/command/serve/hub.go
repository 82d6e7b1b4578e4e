package serve

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo/catalog"
)

// The model hub's HTTP API, as far as stock clients use it to look at a
// repository and to download it. There are no Xet headers, so clients download
// plainly.

const (
	maxPathsInfo = 1 << 20 // bytes of a paths-info request
	maxPaths     = 1000    // paths in one
)

// modelHub is every model of the bundles, by lower-case repository.
type modelHub struct{ repositories map[string]*hubRepository }

// hubRepository is every commit of one repository.
type hubRepository struct {
	name      string               // as the hub spells it
	commits   map[string]*hubModel // by commit
	revisions map[string]*hubModel // by requested branch or tag
}

// hubModel is a repository at one commit.
type hubModel struct {
	repository  string
	spec        *lock.HubModel
	files       map[string]hubFile
	directories map[string]bool
	sequence    int64
}

// hubFile is a model's file and where it lies.
type hubFile struct {
	lock.ModelFile
	layer  digest.Digest
	offset int64 // of its first byte in the layer
}

func newModelHub(h *Handler) (*modelHub, error) {
	m := &modelHub{repositories: map[string]*hubRepository{}}
	for source, b := range h.bundles {
		items := b.Lock().Items
		for i := range items {
			it := &items[i]
			spec, ok := lock.As[*lock.HubModel](it)
			if !ok {
				continue
			}
			model, err := locateModel(h.catalog, source, it.Ref, spec)
			if err != nil {
				return nil, fmt.Errorf("reading model %s: %w", it.Ref, err)
			}
			model.sequence = b.Sequence()
			m.addModel(h, model)
		}
	}
	return m, nil
}

// locateModel finds every file of a model in the layers of its manifest, which is of
// the bundle that the lock is of.
func locateModel(c *catalog.Catalog, source int, ref imageref.Ref, spec *lock.HubModel) (*hubModel, error) {
	manifest, err := modelManifest(c, source, ref, spec)
	if err != nil {
		return nil, err
	}
	m := &hubModel{repository: spec.Repository, spec: spec, files: map[string]hubFile{}, directories: directoriesOf(spec.Files)}
	for i, l := range spec.Layers {
		var at int64
		for _, path := range l.Files {
			f, ok := spec.File(path)
			if !ok {
				return nil, fmt.Errorf("layer %d holds %q, which is not a file of the model: %w", i, path, catalog.ErrInvalid)
			}
			const block = 512 // of a tar stream: one of header, then the content, padded
			m.files[path] = hubFile{f, manifest.Layers[i].Digest, at + block}
			at += block + (f.Size+block-1)/block*block
		}
		if at > l.Size {
			return nil, fmt.Errorf("layer %d is smaller than its files: %w", i, catalog.ErrInvalid)
		}
	}
	return m, nil
}

// directoriesOf is every folder that holds one of files.
func directoriesOf(files []lock.ModelFile) map[string]bool {
	out := map[string]bool{}
	for _, f := range files {
		for d := path.Dir(f.Path); d != "." && !out[d]; d = path.Dir(d) {
			out[d] = true
		}
	}
	return out
}

func modelManifest(c *catalog.Catalog, source int, ref imageref.Ref, spec *lock.HubModel) (*catalog.Manifest, error) {
	for _, e := range c.Entries {
		if e.Source != source || e.Ref != ref {
			continue
		}
		if m, ok := c.Manifest(e.Descriptor.Digest); ok && sameLayers(m.Layers, spec.Layers) {
			return m, nil
		}
	}
	return nil, fmt.Errorf("the lock's layers are not those of the manifest: %w", catalog.ErrInvalid)
}

// sameLayers says whether a manifest's layers are the lock's, as far as those
// were known when the lock was made.
func sameLayers(have []ocispec.Descriptor, want []lock.ModelLayer) bool {
	return slices.EqualFunc(have, want, func(d ocispec.Descriptor, l lock.ModelLayer) bool {
		return d.Size == l.Size && (l.Digest == "" || d.Digest == l.Digest)
	})
}

func (m *modelHub) addModel(h *Handler, model *hubModel) {
	key := strings.ToLower(model.repository)
	r, ok := m.repositories[key]
	if !ok {
		r = &hubRepository{model.repository, map[string]*hubModel{}, map[string]*hubModel{}}
		m.repositories[key] = r
	}
	if _, ok := r.commits[model.spec.Commit]; !ok {
		r.commits[model.spec.Commit] = model
	}
	have, ok := r.revisions[model.spec.Revision]
	if ok && have.spec.Commit != model.spec.Commit {
		h.emitWarning("revision-clash", "revision %s of model %s is two commits in these bundles; the one with the highest sequence is served", model.spec.Revision, model.repository)
	}
	if !ok || model.sequence > have.sequence {
		r.revisions[model.spec.Revision] = model
	}
}

var (
	errNoRepository = &failure{http.StatusNotFound, "RepoNotFound", "no bundle here has this model"}
	errNoRevision   = &failure{http.StatusNotFound, "RevisionNotFound", "the bundle has this model at other revisions only"}
	errNoEntry      = &failure{http.StatusNotFound, "EntryNotFound", "the bundle does not carry this file of the model"}
	errNoEndpoint   = &failure{http.StatusNotFound, "NotFound", "no such endpoint"}
)

// defaultBranch is the branch that clients mean who name none, or HEAD.
const defaultBranch = "main"

// resolveModel resolves a commit or a requested revision. Where a repository is here
// at one commit only, its default branch means that commit.
func (r *hubRepository) resolveModel(revision string) (*hubModel, error) {
	if revision == "HEAD" {
		revision = defaultBranch
	}
	if m, ok := r.commits[strings.ToLower(revision)]; ok {
		return m, nil
	}
	if m, ok := r.revisions[revision]; ok {
		return m, nil
	}
	if revision == defaultBranch && len(r.commits) == 1 {
		for _, m := range r.commits {
			return m, nil
		}
	}
	return nil, errNoRevision
}

// hubPath is a request path below the hub's root, cut at its slashes and then
// unescaped, so that a revision may hold a quoted slash.
type hubPath []string

func splitHubPath(u *url.URL, prefix string) (hubPath, error) {
	rest := strings.Trim(strings.TrimPrefix(u.EscapedPath(), prefix), "/")
	if rest == "" {
		return nil, nil
	}
	parts := strings.Split(rest, "/")
	for i, p := range parts {
		s, err := url.PathUnescape(p)
		if err != nil {
			return nil, errNoEndpoint
		}
		parts[i] = s
	}
	return parts, nil
}

// cutRepository takes the one or two segments that name a repository off p.
func (m *modelHub) cutRepository(p hubPath) (*hubRepository, hubPath, error) {
	for _, n := range []int{2, 1} {
		if len(p) < n {
			continue
		}
		if r, ok := m.repositories[strings.ToLower(strings.Join(p[:n], "/"))]; ok {
			return r, p[n:], nil
		}
	}
	return nil, nil, errNoRepository
}

func (h *Handler) serveHubAPI(w http.ResponseWriter, r *http.Request) error {
	p, err := splitHubPath(r.URL, "/api/models")
	if err != nil {
		return err
	}
	if len(p) == 0 {
		return h.models.listModels(w, r)
	}
	repo, rest, err := h.models.cutRepository(p)
	if err != nil {
		return err
	}
	if len(rest) == 2 && rest[0] == "paths-info" && r.Method == http.MethodPost {
		return repo.servePathsInfo(w, r, rest[1])
	}
	if err := requireRead(w, r); err != nil {
		return err
	}
	switch {
	case len(rest) == 0:
		return repo.serveInfo(w, r, defaultBranch)
	case len(rest) == 2 && rest[0] == "revision":
		return repo.serveInfo(w, r, rest[1])
	case len(rest) >= 2 && rest[0] == "tree":
		return repo.serveTree(w, r, rest[1], strings.Join(rest[2:], "/"))
	case len(rest) == 1 && rest[0] == "refs":
		return repo.serveRefs(w)
	}
	return errNoEndpoint
}

func (m *modelHub) listModels(w http.ResponseWriter, r *http.Request) error {
	if err := requireRead(w, r); err != nil {
		return err
	}
	out := []map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(m.repositories)) {
		repo := m.repositories[key]
		out = append(out, map[string]any{"id": repo.name, "modelId": repo.name, "private": false, "tags": []string{}})
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func (r *hubRepository) serveInfo(w http.ResponseWriter, req *http.Request, revision string) error {
	m, err := r.resolveModel(revision)
	if err != nil {
		return err
	}
	blobs := isTruthy(req.URL.Query().Get("blobs"))
	siblings := make([]map[string]any, 0, len(m.files))
	for _, f := range m.spec.Files {
		siblings = append(siblings, describeSibling(f, blobs))
	}
	doc := map[string]any{
		"_id": m.spec.Commit[:min(24, len(m.spec.Commit))], "id": r.name, "modelId": r.name, "sha": m.spec.Commit,
		"private": false, "gated": false, "disabled": false, "downloads": 0, "likes": 0,
		"tags": []string{}, "siblings": siblings,
	}
	if m.spec.License != "" {
		doc["cardData"] = m.describeLicense()
		doc["tags"] = []string{"license:" + m.spec.License}
	}
	w.Header().Set("X-Repo-Commit", m.spec.Commit)
	writeJSON(w, http.StatusOK, doc)
	return nil
}

// describeLicense is what the model's card says of its licence. That its owner lets
// people in is not repeated: at the site nobody is asked.
func (m *hubModel) describeLicense() map[string]string {
	card := map[string]string{"license": m.spec.License}
	if t := m.spec.Terms; t != nil && t.Name != "" {
		card["license_name"] = t.Name
	}
	if t := m.spec.Terms; t != nil && t.Link != "" {
		card["license_link"] = t.Link
	}
	return card
}

func isTruthy(s string) bool { return s == "1" || strings.EqualFold(s, "true") }

func describeSibling(f lock.ModelFile, blobs bool) map[string]any {
	out := map[string]any{"rfilename": f.Path}
	if !blobs {
		return out
	}
	id, pointer := gitBlob(f)
	out["size"], out["blobId"] = f.Size, id
	if f.LFS {
		out["lfs"] = map[string]any{"sha256": f.SHA256.Encoded(), "size": f.Size, "pointerSize": pointer}
	}
	return out
}

// gitBlob returns the git object id of what git stores for f: the file, or the
// pointer that Git LFS puts in its place, and then the pointer's size.
func gitBlob(f lock.ModelFile) (id string, pointerSize int) {
	if !f.LFS {
		return f.GitSHA1, 0
	}
	pointer := lfsPointer(f)
	sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(pointer), pointer))
	return hex.EncodeToString(sum[:]), len(pointer)
}

// lfsPointer is what git stores in place of a file that Git LFS keeps.
func lfsPointer(f lock.ModelFile) string {
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", f.SHA256.Encoded(), f.Size)
}

func treeFile(f lock.ModelFile) map[string]any {
	id, pointer := gitBlob(f)
	out := map[string]any{"type": "file", "path": f.Path, "size": f.Size, "oid": id}
	if f.LFS {
		out["lfs"] = map[string]any{"oid": f.SHA256.Encoded(), "size": f.Size, "pointerSize": pointer}
	}
	return out
}

// treeDirectory has no object id that could be known here; clients want one.
func treeDirectory(path string) map[string]any {
	return map[string]any{"type": "directory", "path": path, "size": 0, "oid": strings.Repeat("0", 40)}
}

func (r *hubRepository) serveTree(w http.ResponseWriter, req *http.Request, revision, under string) error {
	m, err := r.resolveModel(revision)
	if err != nil {
		return err
	}
	entries := m.listTree(strings.Trim(under, "/"), isTruthy(req.URL.Query().Get("recursive")))
	if len(entries) == 0 && under != "" {
		return errNoEntry
	}
	w.Header().Set("X-Repo-Commit", m.spec.Commit)
	writeJSON(w, http.StatusOK, entries)
	return nil
}

// listTree returns files and directories below a folder, by path.
func (m *hubModel) listTree(under string, recursive bool) []map[string]any {
	prefix := ""
	if under != "" {
		prefix = under + "/"
	}
	out := []map[string]any{}
	seen := map[string]bool{}
	for _, f := range m.spec.Files {
		rest, ok := strings.CutPrefix(f.Path, prefix)
		if !ok {
			continue
		}
		dirs := strings.Split(rest, "/")
		dirs = dirs[:len(dirs)-1]
		for i := range dirs {
			if d := prefix + strings.Join(dirs[:i+1], "/"); !seen[d] && (recursive || i == 0) {
				seen[d] = true
				out = append(out, treeDirectory(d))
			}
		}
		if recursive || len(dirs) == 0 {
			out = append(out, treeFile(f))
		}
	}
	return out
}

func (r *hubRepository) serveRefs(w http.ResponseWriter) error {
	branches := []map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(r.revisions)) {
		branches = append(branches, map[string]string{"name": name, "ref": "refs/heads/" + name, "targetCommit": r.revisions[name].spec.Commit})
	}
	writeJSON(w, http.StatusOK, map[string]any{"branches": branches, "tags": []string{}, "converts": []string{}})
	return nil
}

// servePathsInfo answers a POST of paths, as form or JSON, with what there is at
// each; unknown paths are left out.
func (r *hubRepository) servePathsInfo(w http.ResponseWriter, req *http.Request, revision string) error {
	m, err := r.resolveModel(revision)
	if err != nil {
		return err
	}
	paths, err := requestedPaths(req)
	if err != nil {
		return &failure{http.StatusBadRequest, "BadRequest", "the list of paths cannot be read"}
	}
	if len(paths) > maxPaths {
		return &failure{http.StatusBadRequest, "BadRequest", fmt.Sprintf("more than %d paths were asked for", maxPaths)}
	}
	out := []map[string]any{}
	for _, p := range paths {
		if f, ok := m.files[p]; ok {
			out = append(out, treeFile(f.ModelFile))
		} else if d := strings.Trim(p, "/"); m.directories[d] {
			out = append(out, treeDirectory(d))
		}
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func requestedPaths(req *http.Request) ([]string, error) {
	raw, err := io.ReadAll(io.LimitReader(req.Body, maxPathsInfo))
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	if strings.HasPrefix(req.Header.Get("Content-Type"), "application/json") {
		var doc struct {
			Paths []string `json:"paths"`
		}
		return doc.Paths, json.Unmarshal(raw, &doc)
	}
	form, err := url.ParseQuery(string(raw))
	return form["paths"], err
}

// serveResolve answers /REPOSITORY/resolve/REVISION/PATH, and /raw/ in place of
// /resolve/, where clients look at a file as git has it.
func (h *Handler) serveResolve(w http.ResponseWriter, r *http.Request) error {
	if err := requireRead(w, r); err != nil {
		return err
	}
	p, err := splitHubPath(r.URL, "/")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(p, leadsToFile) {
		return errNoEndpoint
	}
	repo, rest, err := h.models.cutRepository(p)
	if err != nil {
		return err
	}
	if len(rest) < 3 || !leadsToFile(rest[0]) {
		return errNoEndpoint
	}
	m, err := repo.resolveModel(rest[1])
	if err != nil {
		return err
	}
	w.Header().Set("X-Repo-Commit", m.spec.Commit)
	f, ok := m.files[strings.Join(rest[2:], "/")]
	if !ok {
		return errNoEntry
	}
	if rest[0] == "raw" && f.LFS {
		return h.sendPointer(w, r, f)
	}
	return h.sendModelFile(w, r, f)
}

// leadsToFile says whether a segment of a path stands between a repository, which may be
// called the same, and a revision of a file.
func leadsToFile(segment string) bool { return segment == "resolve" || segment == "raw" }

// sendPointer sends what git has of a file that Git LFS keeps.
func (h *Handler) sendPointer(w http.ResponseWriter, r *http.Request, f hubFile) error {
	pointer := lfsPointer(f.ModelFile)
	id, _ := gitBlob(f.ModelFile)
	return h.sendContent(w, r, content{
		etag: id, mediaType: "text/plain; charset=utf-8", size: int64(len(pointer)),
		open: func(offset, length int64) (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(strings.NewReader(pointer), offset, length)), nil
		},
	})
}

func (h *Handler) sendModelFile(w http.ResponseWriter, r *http.Request, f hubFile) error {
	c := h.blobContent(f.layer, "application/octet-stream", f.Size)
	c.etag = f.GitSHA1
	if f.LFS || c.etag == "" {
		c.etag = f.SHA256.Encoded()
	}
	if f.LFS {
		w.Header().Set("X-Linked-Etag", `"`+c.etag+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(f.Size))
	}
	layer := c.open
	c.open = func(offset, length int64) (io.ReadCloser, error) { return layer(f.offset+offset, length) }
	return h.sendContent(w, r, c)
}
