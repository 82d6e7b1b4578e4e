package host

import (
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Bounds on what is read of a tree.
const (
	maxFile    = 64 << 10
	maxEntries = 8192 // of a directory
)

// tree reads small files beneath roots that it never leaves: a link that leads
// out is as if absent.
type tree struct {
	root  *os.Root            // / of the node; nil: only parts are there
	parts map[string]*os.Root // first directories of a name that lie elsewhere
}

// rootOf finds the root that holds a name, and the name below it.
func (t tree) rootOf(name string) (root *os.Root, below string, ok bool) {
	first, rest, _ := strings.Cut(name, "/")
	if part := t.parts[first]; part != nil {
		return part, path.Join(".", rest), true
	}
	return t.root, name, t.root != nil
}

// readBytes is the beginning of a regular file, nil where there is none.
func (t tree) readBytes(name string) []byte {
	root, name, ok := t.rootOf(name)
	if !ok {
		return nil
	}
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	f, err := root.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil
	}
	return data
}

// readText is a file's text without the space around it.
func (t tree) readText(parts ...string) string {
	return strings.TrimSpace(string(t.readBytes(path.Join(parts...))))
}

// listNames lists a directory, sorted.
func (t tree) listNames(name string) []string {
	root, name, ok := t.rootOf(name)
	if !ok {
		return nil
	}
	f, err := root.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	entries, err := f.Readdirnames(maxEntries)
	if err != nil {
		return nil
	}
	slices.Sort(entries)
	return entries
}

// has says whether something is there, a link that leads nowhere included.
func (t tree) has(name string) bool {
	root, name, ok := t.rootOf(name)
	if !ok {
		return false
	}
	_, err := root.Lstat(name)
	return err == nil
}

// readLink is the last step of where a link leads; empty where it is none.
func (t tree) readLink(name string) string {
	root, name, ok := t.rootOf(name)
	if !ok {
		return ""
	}
	info, err := root.Lstat(name)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return ""
	}
	to, err := root.Readlink(name)
	if err != nil {
		return ""
	}
	return path.Base(to)
}
