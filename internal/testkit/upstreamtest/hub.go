package upstreamtest

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// modelHub speaks the Hugging Face hub's HTTP interface for models: repository
// descriptions, paged tree listings, and files, LFS files by a redirect to a
// second address. Repositories are found whatever the case of their name.
type modelHub struct {
	faults   *faults
	pageSize int

	mu    sync.RWMutex
	repos map[string]*hubRepo // by lowercase id
}

func newModelHub(f *faults, pageSize int) *modelHub {
	return &modelHub{faults: f, pageSize: pageSize, repos: map[string]*hubRepo{}}
}

// addCommit adds a commit to a repository, which it makes when there is none.
func (h *modelHub) addCommit(id, token string, files []hubFile, refs ...string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	repo := &hubRepo{id: id, token: token, commits: map[string]hubCommit{}, refs: map[string]string{}}
	if old := h.repos[strings.ToLower(id)]; old != nil {
		maps.Copy(repo.commits, old.commits)
		maps.Copy(repo.refs, old.refs)
	}
	h.repos[strings.ToLower(id)] = repo
	return repo.addCommit(files, refs...)
}

// describe sets the card of a repository, and how who asks is let in.
func (h *modelHub) describe(id string, card map[string]string, gated string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	repo := *h.repos[strings.ToLower(id)]
	repo.card, repo.gated = card, gated
	h.repos[strings.ToLower(id)] = &repo
}

// renameCommit gives a commit another name, by which branches know it from then on.
func (h *modelHub) renameCommit(id, old, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	repo := *h.repos[strings.ToLower(id)]
	repo.commits = map[string]hubCommit{name: repo.commits[old]}
	repo.refs = map[string]string{"main": name}
	h.repos[strings.ToLower(id)] = &repo
}

// lookupRepo returns a repository that will not change any more, or nil.
func (h *modelHub) lookupRepo(id string) *hubRepo {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.repos[strings.ToLower(id)]
}

// ServeHTTP implements http.Handler.
func (h *modelHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "read only", http.StatusMethodNotAllowed)
		return
	}
	parts, err := pathParts(r.URL)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch {
	case len(parts) >= 4 && parts[0] == "api" && parts[1] == "models":
		h.serveAPI(w, r, parts[2]+"/"+parts[3], parts[4:])
	case len(parts) == 4 && parts[0] == "cdn":
		h.serveLFS(w, r, parts[1]+"/"+parts[2], parts[3])
	case len(parts) >= 5 && parts[2] == "resolve":
		h.serveFile(w, r, parts[0]+"/"+parts[1], parts[3], strings.Join(parts[4:], "/"))
	default:
		http.NotFound(w, r)
	}
}

// pathParts splits a path at its slashes; quoted ones stay inside a part.
func pathParts(u *url.URL) ([]string, error) {
	parts := strings.Split(strings.Trim(u.EscapedPath(), "/"), "/")
	for i, p := range parts {
		var err error
		if parts[i], err = url.PathUnescape(p); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// requireListing finds a repository whose listing the request may see, or refuses it.
func (h *modelHub) requireListing(w http.ResponseWriter, r *http.Request, id string) *hubRepo {
	if repo := h.lookupRepo(id); repo != nil && repo.gated != "" {
		return repo
	}
	return h.requireRepo(w, r, id)
}

// requireRepo finds a repository that the request may read, or refuses it.
func (h *modelHub) requireRepo(w http.ResponseWriter, r *http.Request, id string) *hubRepo {
	repo := h.lookupRepo(id)
	if repo == nil {
		hubError(w, http.StatusUnauthorized, "RepoNotFound", "Invalid username or password.")
		return nil
	}
	if repo.token != "" && r.Header.Get("Authorization") != "Bearer "+repo.token {
		hubError(w, http.StatusUnauthorized, "GatedRepo", "Access to model "+repo.id+" is restricted.")
		return nil
	}
	return repo
}

func hubError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Error-Code", code)
	w.Header().Set("X-Error-Message", message)
	writeJSON(w, status, map[string]string{"error": message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body := mustJSON(v)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone needs no answer
}

// serveAPI answers below /api/models/{id}.
func (h *modelHub) serveAPI(w http.ResponseWriter, r *http.Request, id string, rest []string) {
	repo := h.requireListing(w, r, id)
	if repo == nil {
		return
	}
	switch {
	case len(rest) == 0:
		h.serveInfo(w, r, repo, "main")
	case len(rest) == 2 && rest[0] == "revision":
		h.serveInfo(w, r, repo, rest[1])
	case len(rest) >= 2 && rest[0] == "tree":
		h.serveTree(w, r, repo, rest[1], strings.Join(rest[2:], "/"))
	case len(rest) == 1 && rest[0] == "refs":
		writeJSON(w, http.StatusOK, repo.listReferences())
	default:
		http.NotFound(w, r)
	}
}

func (r *hubRepo) listReferences() map[string]any {
	branches := []map[string]string{}
	for name, commit := range r.refs {
		branches = append(branches, map[string]string{"name": name, "ref": "refs/heads/" + name, "targetCommit": commit})
	}
	return map[string]any{"branches": branches, "tags": []any{}, "converts": []any{}}
}

// requireRevision finds a revision, or refuses the request.
func requireRevision(w http.ResponseWriter, repo *hubRepo, revision string) (string, hubCommit, bool) {
	name, files, ok := repo.resolveRevision(revision)
	if !ok {
		hubError(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
	}
	return name, files, ok
}

func (h *modelHub) serveInfo(w http.ResponseWriter, r *http.Request, repo *hubRepo, revision string) {
	commit, files, ok := requireRevision(w, repo, revision)
	if !ok {
		return
	}
	blobs := r.URL.Query().Get("blobs") == "true"
	siblings := []sibling{}
	for _, f := range files {
		siblings = append(siblings, f.describeSibling(blobs, h.sizeLie(blobs, repo, commit, f.path)))
	}
	author, _, _ := strings.Cut(repo.id, "/")
	writeJSON(w, http.StatusOK, map[string]any{
		"id": repo.id, "modelId": repo.id, "author": author, "sha": commit, "siblings": siblings,
		"private": false, "gated": repo.gateKind(), "disabled": false, "lastModified": "2024-01-02T03:04:05.000Z",
		"tags": []string{"safetensors", "license:apache-2.0"}, "pipeline_tag": "text-generation",
		"cardData": repo.readCard(),
	})
}

// gateKind returns what the hub says: false or the kind of gate.
func (r *hubRepo) gateKind() any {
	switch {
	case r.gated != "":
		return r.gated
	case r.token == "":
		return false
	}
	return "manual"
}

// readCard returns what the repository's card says.
func (r *hubRepo) readCard() map[string]string {
	if r.card == nil {
		return map[string]string{"license": "apache-2.0"}
	}
	return r.card
}

// sizeLie returns what a listing adds to a file's size because of a fault.
func (h *modelHub) sizeLie(listed bool, repo *hubRepo, commit, path string) int64 {
	if !listed {
		return 0
	}
	return h.faults.sizeLie("/" + repo.id + "/resolve/" + commit + "/" + path)
}

func (h *modelHub) serveTree(w http.ResponseWriter, r *http.Request, repo *hubRepo, revision, dir string) {
	commit, files, ok := requireRevision(w, repo, revision)
	if !ok {
		return
	}
	if dir != "" {
		dir += "/"
	}
	query := r.URL.Query()
	entries := files.listTree(dir, query.Get("recursive") == "true")
	from, err := strconv.Atoi(query.Get("cursor"))
	if query.Get("cursor") != "" && (err != nil || from < 0 || from > len(entries)) {
		hubError(w, http.StatusBadRequest, "InvalidCursor", "Invalid cursor")
		return
	}
	to := min(from+h.pageSizeFor(query), len(entries))
	if to < len(entries) {
		query.Set("cursor", strconv.Itoa(to))
		next := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: query.Encode()}
		w.Header().Set("Link", fmt.Sprintf("<%s>; rel=\"next\"", next.String()))
	}
	for i := range entries[from:to] {
		e := &entries[from+i]
		e.growBy(h.sizeLie(e.Type == "file", repo, commit, e.Path))
	}
	writeJSON(w, http.StatusOK, entries[from:to])
}

// pageSizeFor returns how many entries a page has: what is asked for, up to our limit.
func (h *modelHub) pageSizeFor(query url.Values) int {
	n, err := strconv.Atoi(query.Get("limit"))
	if err != nil || n < 1 {
		return h.pageSize
	}
	return min(n, h.pageSize)
}

// serveFile answers for one file of a revision: with its bytes, or for an LFS file
// with a redirect to where they are.
func (h *modelHub) serveFile(w http.ResponseWriter, r *http.Request, id, revision, path string) {
	repo := h.requireRepo(w, r, id)
	if repo == nil {
		return
	}
	commit, files, ok := requireRevision(w, repo, revision)
	if !ok {
		return
	}
	w.Header().Set("X-Repo-Commit", commit)
	f, ok := files.findFile(path)
	if !ok {
		hubError(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	w.Header().Set("Accept-Ranges", "bytes")
	if !f.lfs {
		serveContent(w, r, f.content, f.gitOID())
		return
	}
	w.Header().Set("ETag", `"`+f.gitOID()+`"`)
	w.Header().Set("X-Linked-Etag", `"`+f.sha256+`"`)
	w.Header().Set("X-Linked-Size", strconv.FormatInt(f.content.Size(), 10))
	target := url.URL{Scheme: "http", Host: r.Host, Path: "/cdn/" + repo.id + "/" + f.sha256, RawQuery: "Expires=1704164645&Signature=" + f.gitOID()}
	w.Header().Set("Location", target.String())
	w.WriteHeader(http.StatusFound)
}

// serveLFS serves an LFS file by its hash, to who has the link.
func (h *modelHub) serveLFS(w http.ResponseWriter, r *http.Request, id, sha256 string) {
	repo := h.lookupRepo(id)
	if repo == nil {
		http.NotFound(w, r)
		return
	}
	for _, files := range repo.commits {
		for _, f := range files {
			if f.lfs && f.sha256 == sha256 && r.URL.Query().Get("Signature") == f.gitOID() {
				serveContent(w, r, f.content, f.sha256)
				return
			}
		}
	}
	http.Error(w, "AccessDenied", http.StatusForbidden)
}
