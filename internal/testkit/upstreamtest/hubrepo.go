package upstreamtest

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"path"
	"sort"
	"strings"
)

// hubRepo is a model repository: files by commit. It does not change once the
// hub serves it.
type hubRepo struct {
	id      string               // with its true case: "acme/Tiny-LLM"
	token   string               // who asks must present it; "" means anybody may
	commits map[string]hubCommit // by 40 hex digits
	refs    map[string]string    // branch or tag → commit
	card    map[string]string    // nil: the usual one
	gated   string               // how who asks is let in; its listing is open to anybody
}

// hubCommit is a set of files, sorted by path.
type hubCommit []hubFile

// hubFile is one file of a model repository.
type hubFile struct {
	path    string
	content content
	sha256  string // of the content, hex
	lfs     bool   // kept beside git, served by redirect
}

func newHubFile(path string, data []byte) hubFile {
	return hubFile{path: path, content: bytes.NewReader(data), sha256: hexSum(data)}
}

func newLFSFile(path string, data []byte) hubFile {
	f := newHubFile(path, data)
	f.lfs = true
	return f
}

// addCommit adds a commit with these files and moves the references to it. It
// returns the commit's name, which follows from the files.
func (r *hubRepo) addCommit(files []hubFile, refs ...string) string {
	sort.Slice(files, func(i, j int) bool { return files[i].path < files[j].path })
	h := sha1.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s %s\n", f.gitOID(), f.path)
	}
	name := hex.EncodeToString(h.Sum(nil))
	r.commits[name] = files
	for _, ref := range refs {
		r.refs[ref] = name
	}
	return name
}

// resolveRevision returns the commit that a branch, tag or commit name stands for.
func (r *hubRepo) resolveRevision(revision string) (string, hubCommit, bool) {
	if name, ok := r.refs[revision]; ok {
		revision = name
	}
	files, ok := r.commits[revision]
	return revision, files, ok
}

func (c hubCommit) findFile(path string) (hubFile, bool) {
	for _, f := range c {
		if f.path == path {
			return f, true
		}
	}
	return hubFile{}, false
}

// lfsPointer returns what git holds in place of an LFS file.
func (f hubFile) lfsPointer() []byte {
	return fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", f.sha256, f.content.Size())
}

// gitOID returns the name of the git blob: of the file, or of its pointer.
func (f hubFile) gitOID() string {
	if f.lfs {
		return gitBlobName(f.lfsPointer())
	}
	return gitBlobName(readAll(f.content))
}

func gitBlobName(data []byte) string {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", len(data))
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

// treeEntry is one line of a tree listing, in the hub's words.
type treeEntry struct {
	Type string   `json:"type"`
	OID  string   `json:"oid"`
	Size int64    `json:"size"`
	LFS  *treeLFS `json:"lfs,omitempty"`
	Path string   `json:"path"`
}

// treeLFS says the same as siblingLFS under another name.
type treeLFS struct {
	OID         string `json:"oid"`
	Size        int64  `json:"size"`
	PointerSize int    `json:"pointerSize"`
}

// sibling is one file of a repository's description; all but the name only
// when blobs=true was asked for.
type sibling struct {
	Name   string      `json:"rfilename"`
	Size   *int64      `json:"size,omitempty"`
	BlobID string      `json:"blobId,omitempty"`
	LFS    *siblingLFS `json:"lfs,omitempty"`
}

type siblingLFS struct {
	SHA256      string `json:"sha256"`
	Size        int64  `json:"size"`
	PointerSize int    `json:"pointerSize"`
}

// listTree lists the files and folders below dir ("" for the root), sorted; only
// the direct ones unless recursive.
func (c hubCommit) listTree(dir string, recursive bool) []treeEntry {
	entries := []treeEntry{}
	seen := map[string]bool{}
	for _, f := range c {
		rest, below := strings.CutPrefix(f.path, dir)
		if !below {
			continue
		}
		parts := strings.Split(rest, "/")
		for i := 1; i < len(parts); i++ {
			folder := dir + path.Join(parts[:i]...)
			if !seen[folder] && (recursive || i == 1) {
				seen[folder] = true
				entries = append(entries, treeEntry{Type: "directory", OID: gitBlobName([]byte(folder)), Path: folder})
			}
		}
		if recursive || len(parts) == 1 {
			entries = append(entries, f.asTreeEntry())
		}
	}
	return entries
}

func (f hubFile) asTreeEntry() treeEntry {
	e := treeEntry{Type: "file", OID: f.gitOID(), Size: f.content.Size(), Path: f.path}
	if f.lfs {
		e.LFS = &treeLFS{OID: f.sha256, Size: e.Size, PointerSize: len(f.lfsPointer())}
	}
	return e
}

// growBy makes the entry state another size.
func (e *treeEntry) growBy(add int64) {
	e.Size += add
	if e.LFS != nil {
		e.LFS.Size += add
	}
}

// describeSibling describes the file, its size off by lie.
func (f hubFile) describeSibling(blobs bool, lie int64) sibling {
	s := sibling{Name: f.path}
	if !blobs {
		return s
	}
	size := f.content.Size() + lie
	s.Size, s.BlobID = &size, f.gitOID()
	if f.lfs {
		s.LFS = &siblingLFS{SHA256: f.sha256, Size: size, PointerSize: len(f.lfsPointer())}
	}
	return s
}
