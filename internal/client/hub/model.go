package hub

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
)

// Model is a repository at one commit.
type Model struct {
	ID      string // as the hub spells it: Org/Name
	Commit  string // 40 hex digits
	License string // as its card declares it, "" when it does not
	Terms   Terms
	Files   []File // sorted by path
}

// Terms is what a model's card says of its licence beside its name, and whether
// who asks must be let in first.
type Terms struct {
	LicenseName string // of a licence that the hub has no word for
	LicenseLink string
	Gated       string // auto or manual: how the owner lets people in; "" where anybody may read
}

// File is one file of a model. Exactly one of SHA256 and GitSHA1 is set: the
// hub knows the content's SHA-256 for files in LFS, git's blob hash for others.
type File struct {
	Path    string
	Size    int64
	SHA256  digest.Digest
	GitSHA1 string // sha1("blob SIZE\x00" + content), hex
}

// LFS says whether the hub keeps the file outside git.
func (f File) LFS() bool { return f.SHA256 != "" }

var (
	commitPattern     = regexp.MustCompile(`^[0-9a-f]{40}$`)
	repositoryPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$`)
)

// Info reads what a revision (branch, tag or commit) of a repository holds. The
// listing belongs to the commit, not to the revision, so it cannot change in
// between. A repository that has moved to another name is an error that names it.
func (c *Client) Info(ctx context.Context, repository, revision string) (*Model, error) {
	m, err := c.readInfo(ctx, repository, revision)
	if err != nil {
		return nil, fmt.Errorf("reading model %s at revision %s: %w", repository, revision, err)
	}
	return m, nil
}

func (c *Client) readInfo(ctx context.Context, repository, revision string) (*Model, error) {
	if !repositoryPattern.MatchString(repository) {
		return nil, fmt.Errorf("repository name %.100q is not ORG/NAME", repository)
	}
	var head infoAnswer
	at := c.apiURL(repository, "revision", revision)
	at.RawQuery = "blobs=true"
	if _, err := c.getJSON(ctx, at, &head); err != nil {
		return nil, err
	}
	m, err := head.readModel(repository, revision)
	if err != nil {
		return nil, err
	}
	m.Files, err = c.readTree(ctx, repository, m.Commit)
	if errors.Is(err, ErrNotFound) { // a hub without the tree call lists the files with the commit
		m.Files, err = head.listFiles()
	}
	if err != nil {
		return nil, err
	}
	return m, head.compareFiles(m.Files)
}

func (c *Client) apiURL(repository, call, revision string) *url.URL {
	u, _ := url.Parse(c.base.String() + "/api/models/" + escapePath(repository) + "/" + call + "/" + url.PathEscape(revision))
	return u
}

// readTree lists all files of a commit, page by page.
func (c *Client) readTree(ctx context.Context, repository, commit string) ([]File, error) {
	at := c.apiURL(repository, "tree", commit)
	at.RawQuery = "recursive=true&expand=false"
	var entries []treeEntry
	for page := 0; at != nil; page++ {
		if page == maxPages {
			return nil, fmt.Errorf("%w: a tree of more than %d pages", ErrAnswer, maxPages)
		}
		var more []treeEntry
		next, err := c.getJSON(ctx, at, &more)
		if err != nil {
			return nil, fmt.Errorf("listing files: %w", err)
		}
		if entries = append(entries, more...); len(entries) > maxFiles {
			return nil, fmt.Errorf("%w: more than %d files", ErrAnswer, maxFiles)
		}
		at = next
	}
	return treeFiles(entries)
}

// infoAnswer is the part we need of GET /api/models/{repo}/revision/{rev}?blobs=true.
type infoAnswer struct {
	ID       string `json:"id"`
	ModelID  string `json:"modelId"`
	SHA      string `json:"sha"`
	Gated    any    `json:"gated"` // false, or how: "auto", "manual"
	CardData struct {
		License     any `json:"license"` // a word, or a list of words
		LicenseName any `json:"license_name"`
		LicenseLink any `json:"license_link"`
	} `json:"cardData"`
	Tags     []string  `json:"tags"`
	Siblings []sibling `json:"siblings"`
}

// gates is whom the owner of a gated model lets in.
var gates = map[string]string{
	"auto":   "whoever accepts its terms",
	"manual": "each who asks, one by one",
}

// LetsIn is whom the owner lets in, of a gated model. A mirror may repeat that and let in
// everybody: whether one is let in, only a file's answer says.
func (t Terms) LetsIn() string { return gates[t.Gated] }

type sibling struct {
	Name   string `json:"rfilename"`
	Size   *int64 `json:"size"`
	BlobID string `json:"blobId"`
	LFS    *struct {
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
	} `json:"lfs"`
}

// treeEntry is one element of GET /api/models/{repo}/tree/{commit}.
type treeEntry struct {
	Type string `json:"type"`
	Path string `json:"path"`
	Size int64  `json:"size"`
	OID  string `json:"oid"`
	LFS  *struct {
		OID  string `json:"oid"` // the SHA-256
		Size int64  `json:"size"`
	} `json:"lfs"`
}

func (a *infoAnswer) readModel(repository, revision string) (*Model, error) {
	id := a.ID
	if id == "" {
		id = a.ModelID
	}
	if id == "" {
		id = repository
	}
	switch {
	case !commitPattern.MatchString(a.SHA):
		return nil, fmt.Errorf("%w: commit %.80q", ErrAnswer, a.SHA)
	case commitPattern.MatchString(revision) && a.SHA != revision:
		return nil, &stack.DiffersError{Want: "commit " + revision, Got: "commit " + a.SHA}
	case !strings.EqualFold(id, repository):
		return nil, fmt.Errorf("%w under that name: it is called %.200q", ErrNotFound, id)
	}
	return &Model{ID: id, Commit: a.SHA, License: a.readLicense(), Terms: Terms{
		LicenseName: licenseName(a.CardData.LicenseName), LicenseLink: licenseName(a.CardData.LicenseLink),
		Gated: a.readGate(),
	}}, nil
}

// readLicense is the licence of the card, or of the tags that the hub makes of it.
func (a *infoAnswer) readLicense() string {
	if name := licenseName(a.CardData.License); name != "" {
		return name
	}
	for _, tag := range a.Tags {
		if name, ok := strings.CutPrefix(tag, "license:"); ok {
			return makePrintable(name)
		}
	}
	return ""
}

func (a *infoAnswer) readGate() string {
	switch a.Gated {
	case "auto", "manual":
		return a.Gated.(string)
	case true:
		return "manual"
	}
	return ""
}

func licenseName(v any) string {
	switch v := v.(type) {
	case string:
		return makePrintable(v)
	case []any:
		var words []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				words = append(words, makePrintable(s))
			}
		}
		return makePrintable(strings.Join(words, ", "))
	}
	return ""
}

// makePrintable keeps what fits a line of a lock file.
func makePrintable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 100 {
		s = string(r[:100])
	}
	return s
}

// listFiles is the listing that comes with the commit.
func (a *infoAnswer) listFiles() ([]File, error) {
	if len(a.Siblings) > maxFiles {
		return nil, fmt.Errorf("%w: more than %d files", ErrAnswer, maxFiles)
	}
	files := make([]File, 0, len(a.Siblings))
	for _, s := range a.Siblings {
		f := File{Path: s.Name, GitSHA1: s.BlobID, Size: -1}
		if s.Size != nil {
			f.Size = *s.Size
		}
		if s.LFS != nil {
			f = File{Path: s.Name, Size: s.LFS.Size, SHA256: digest.NewDigestFromEncoded(digest.SHA256, s.LFS.SHA256)}
		}
		files = append(files, f)
	}
	return checkListing(files)
}

// compareFiles fails when the hub's two listings contradict each other.
func (a *infoAnswer) compareFiles(files []File) error {
	hash := make(map[string]string, len(files))
	for _, f := range files {
		hash[f.Path] = f.SHA256.String() + f.GitSHA1
	}
	for _, s := range a.Siblings {
		got, ok := hash[s.Name]
		want := s.BlobID
		if s.LFS != nil {
			want = "sha256:" + s.LFS.SHA256
		}
		if !ok || s.LFS == nil && want == "" {
			continue
		}
		if got != want {
			return fmt.Errorf("%w: two hashes for %.200q: %s and %s", ErrAnswer, s.Name, got, want)
		}
	}
	return nil
}

func treeFiles(entries []treeEntry) ([]File, error) {
	var files []File
	for _, e := range entries {
		if e.Type != "file" {
			continue
		}
		f := File{Path: e.Path, Size: e.Size, GitSHA1: e.OID}
		if e.LFS != nil {
			f = File{Path: e.Path, Size: e.LFS.Size, SHA256: digest.NewDigestFromEncoded(digest.SHA256, e.LFS.OID)}
		}
		files = append(files, f)
	}
	return checkListing(files)
}

// checkListing sorts files and holds each against what a file of a model may be.
func checkListing(files []File) ([]File, error) {
	sort.Slice(files, func(i, j int) bool { return files[i].Path < files[j].Path })
	for i, f := range files {
		if err := f.checkFile(); err != nil {
			return nil, fmt.Errorf("%w: file %.200q: %v", ErrAnswer, f.Path, err)
		}
		if i > 0 && files[i-1].Path == f.Path {
			return nil, fmt.Errorf("%w: file %.200q listed twice", ErrAnswer, f.Path)
		}
	}
	paths := make([]string, len(files))
	for i := range files {
		paths[i] = files[i].Path
	}
	if folder := lock.FileAsFolder(paths); folder != "" {
		return nil, fmt.Errorf("%w: %.200q is a file and the folder of another", ErrAnswer, folder)
	}
	return files, nil
}

func (f File) checkFile() error {
	switch {
	case !cleanPath(f.Path):
		return errors.New("not a clean relative path")
	case f.Size < 0 || f.Size > 1<<50:
		return fmt.Errorf("size %d", f.Size)
	case f.LFS() && f.SHA256.Validate() != nil:
		return errors.New("SHA-256 malformed")
	case !f.LFS() && !commitPattern.MatchString(f.GitSHA1):
		return errors.New("neither a SHA-256 nor a git hash")
	}
	return nil
}

// whiteout begins names that mean in a layer of an image that a file is gone.
const whiteout = ".wh."

// cleanPath says whether p stays below its root on any file system, and in an image.
func cleanPath(p string) bool {
	if p == "" || len(p) > 1024 || !utf8.ValidString(p) || strings.ContainsAny(p, "\\\x00") {
		return false
	}
	for _, r := range p {
		if unicode.IsControl(r) {
			return false
		}
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 || strings.HasPrefix(part, whiteout) {
			return false
		}
	}
	return true
}
