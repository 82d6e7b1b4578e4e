package kustomize

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/yamlfile"
)

// Bounds of an archive.
const (
	maxFetched   = 512 << 20 // as it is fetched
	maxTar       = 1 << 30   // of the tar in it
	maxEntries   = 200_000
	maxNames     = 32 << 20 // bytes of all names
	maxFile      = 32 << 20 // of a file that can be read
	maxLinkSteps = 40
)

// What an archive can be instead of one that is read.
var (
	ErrTooLarge  = errors.New("it is larger than what is read")
	ErrMalformed = errors.New("it is no archive of sources (.tar.gz)")
	errLink      = errors.New("is a link that leads nowhere in the archive")
	errUnread    = errors.New("is larger than what is read, or no plain file")
)

// Archive is the files of an archive, below its one top folder where it has one, or one
// file alone. Contents lie in a file without a name. It may be read from several
// goroutines.
type Archive struct {
	Digest digest.Digest // of the tar, or of the file
	Size   int64         // of the same
	Sum    digest.Digest // of what was fetched
	Commit string        // that the archive says it is of

	entries map[string]entry // by path; folders are there too
	kept    *os.File         // contents, one after another
	held    int64            // bytes in it
}

// entry is one thing in an archive.
type entry struct {
	kind   entryKind
	offset int64 // of a file's content
	size   int64
	target string // of a link
}

type entryKind int

const (
	isFolder entryKind = iota
	isFile
	isLink
	isUnread // what is there and cannot be read
)

// Close drops the contents.
func (a *Archive) Close() error { return a.kept.Close() }

// openKept makes a file without a name for contents.
func openKept() (*os.File, error) {
	f, err := os.CreateTemp("", "caisson-archive-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// readArchive reads a tar, compressed with gzip or not, that may be hostile.
func readArchive(ctx context.Context, r io.Reader) (_ *Archive, err error) {
	sum, inner := sha256.New(), sha256.New()
	plain, err := decompress(io.TeeReader(contextReader{ctx, r}, sum))
	if err != nil {
		return nil, err
	}
	a := &Archive{entries: map[string]entry{".": {}}}
	if a.kept, err = openKept(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = a.Close()
		}
	}()
	limited := &io.LimitedReader{R: plain, N: maxTar + 1}
	counted := io.TeeReader(limited, inner)
	if err := a.readEntries(tar.NewReader(counted)); err != nil {
		return nil, malformed(err, limited)
	}
	if _, err := io.Copy(io.Discard, counted); err != nil {
		return nil, malformed(err, limited)
	}
	if limited.N <= 0 {
		return nil, ErrTooLarge
	}
	a.Size = maxTar + 1 - limited.N
	a.Digest, a.Sum = digest.NewDigest(digest.SHA256, inner), digest.NewDigest(digest.SHA256, sum)
	a.dropTop()
	return a, nil
}

// malformed says what is wrong with an archive whose reading ended early.
func malformed(err error, limited *io.LimitedReader) error {
	switch {
	case limited.N <= 0 || errors.Is(err, ErrTooLarge):
		return ErrTooLarge
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || isLocal(err):
		return err
	}
	return fmt.Errorf("%w: %v", ErrMalformed, err)
}

// isLocal says whether an error is of this machine's disk.
func isLocal(err error) bool {
	var local *os.PathError
	return errors.As(err, &local)
}

// contextReader reads until a context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

var gzipMagic = []byte{0x1f, 0x8b}

// decompress is what r has compressed with gzip, or has.
func decompress(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, err := buffered.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !bytes.Equal(head, gzipMagic) {
		return buffered, nil
	}
	z, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return z, nil
}

func (a *Archive) readEntries(r *tar.Reader) error {
	names := 0
	for n := 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			if n == 0 {
				return errors.New("there is nothing in it")
			}
			return nil
		}
		if err != nil {
			return err
		}
		if names += len(h.Name) + len(h.Linkname); names > maxNames || n >= maxEntries {
			return ErrTooLarge
		}
		if err := a.readEntry(h, r); err != nil {
			return err
		}
	}
}

var commitRule = regexp.MustCompile(`^[0-9a-f]{40}$`)

func (a *Archive) readEntry(h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		if c := h.PAXRecords["comment"]; commitRule.MatchString(c) { // as git archive writes it
			a.Commit = c
		}
		return nil
	}
	name, err := entryName(h.Name)
	if err != nil {
		return err
	}
	made := entry{kind: isUnread}
	switch h.Typeflag {
	case tar.TypeDir:
		return a.addFolder(name)
	case tar.TypeSymlink:
		made = entry{kind: isLink, target: h.Linkname}
	case tar.TypeReg:
		if h.Size <= maxFile {
			if made, err = a.keepFile(r); err != nil {
				return err
			}
		}
	}
	if _, there := a.entries[name]; there {
		return fmt.Errorf("it has %.200q twice", name)
	}
	a.entries[name] = made
	return a.addFolder(path.Dir(name))
}

// entryName is the clean form of a name in an archive.
func entryName(s string) (string, error) {
	name := path.Clean(s)
	outside := path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../")
	if s == "" || outside || strings.ContainsRune(name, 0) || len(name) > 4096 {
		return "", fmt.Errorf("%.200q is no path in an archive", s)
	}
	return name, nil
}

// addFolder adds a folder and those around it.
func (a *Archive) addFolder(name string) error {
	for ; ; name = path.Dir(name) {
		have, there := a.entries[name]
		switch {
		case there && have.kind != isFolder:
			return fmt.Errorf("%.200q is a folder and something else", name)
		case there:
			return nil
		}
		if len(a.entries) > 2*maxEntries {
			return ErrTooLarge
		}
		a.entries[name] = entry{}
	}
}

func (a *Archive) keepFile(r io.Reader) (entry, error) {
	n, err := io.Copy(a.kept, r)
	made := entry{kind: isFile, offset: a.held, size: n}
	a.held += n
	return made, err
}

// dropTop drops the one folder that everything else is in.
func (a *Archive) dropTop() {
	top := ""
	for name := range a.entries {
		first, _, _ := strings.Cut(name, "/")
		switch {
		case name == ".":
		case top == "":
			top = first
		case first != top:
			return
		}
	}
	if e := a.entries[top]; top == "" || e.kind != isFolder {
		return
	}
	below := map[string]entry{".": {}}
	for name, e := range a.entries {
		if rest, ok := strings.CutPrefix(name, top+"/"); ok {
			below[rest] = e
		}
	}
	a.entries = below
}

// oneFile is a file alone.
func oneFile(name string, data []byte) (*Archive, error) {
	kept, err := openKept()
	if err != nil {
		return nil, err
	}
	if _, err := kept.Write(data); err != nil {
		return nil, errors.Join(err, kept.Close())
	}
	sum := digest.FromBytes(data)
	return &Archive{
		Digest: sum, Sum: sum, Size: int64(len(data)), kept: kept,
		entries: map[string]entry{".": {}, name: {kind: isFile, size: int64(len(data))}},
	}, nil
}

// find follows links to where a path really leads in the archive.
func (a *Archive) find(name string) (real string, found entry, ok bool, err error) {
	real, rest := ".", strings.Split(path.Clean(name), "/")
	for steps := 0; len(rest) > 0; {
		next := path.Join(real, rest[0])
		rest = rest[1:]
		if next == ".." || strings.HasPrefix(next, "../") || path.IsAbs(next) {
			return "", entry{}, false, fmt.Errorf("%.200q %w", name, errLink)
		}
		e, there := a.entries[next]
		if !there || e.kind != isFolder && e.kind != isLink && len(rest) > 0 {
			return "", entry{}, false, nil
		}
		if e.kind != isLink {
			real = next
			continue
		}
		if steps++; steps > maxLinkSteps || path.IsAbs(e.target) || e.target == "" {
			return "", entry{}, false, fmt.Errorf("%.200q %w", name, errLink)
		}
		rest = append(strings.Split(path.Clean(e.target), "/"), rest...)
	}
	return real, a.entries[real], true, nil
}

// read reads a file.
func (a *Archive) read(e entry) ([]byte, error) {
	data := make([]byte, e.size)
	_, err := io.ReadFull(io.NewSectionReader(a.kept, e.offset, e.size), data)
	return data, err
}

// match lists the files that patterns mean: each in its place, and of one pattern sorted.
func (a *Archive) match(patterns []string) ([]string, error) {
	var out []string
	for _, p := range patterns {
		found, err := a.matchOne(path.Clean(p))
		if err != nil {
			return nil, err
		}
		for _, name := range found {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out, nil
}

func (a *Archive) matchOne(pattern string) ([]string, error) {
	if e, there := a.entries[pattern]; there && e.kind != isFolder {
		return []string{pattern}, nil
	}
	var out []string
	for name, e := range a.entries {
		if ok, _ := path.Match(pattern, name); ok && e.kind != isFolder {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w file %s", ErrNoFile, pattern)
	}
	slices.Sort(out)
	return out, nil
}

// ErrNoFile: an archive has nothing where something was said to be.
var ErrNoFile = errors.New("the archive has no")

// checkFolder wants a kustomization in a folder; "" is none.
func (a *Archive) checkFolder(folder string) error {
	if folder == "" {
		return nil
	}
	real, e, ok, err := a.find(folder)
	switch {
	case err != nil:
		return err
	case !ok || e.kind != isFolder:
		return fmt.Errorf("%w folder %s%s", ErrNoFile, folder, yamlfile.Suggest(folder, a.kustomizations()))
	case !a.hasKustomization(real):
		return fmt.Errorf("%w kustomization in %s%s", ErrNoFile, folder, yamlfile.Suggest(folder, a.kustomizations()))
	}
	return nil
}

func (a *Archive) hasKustomization(folder string) bool {
	return slices.ContainsFunc(kustomizationNames, func(name string) bool {
		_, there := a.entries[path.Join(folder, name)]
		return there
	})
}

// kustomizations lists folders that have one, to suggest one of them.
func (a *Archive) kustomizations() []string {
	var out []string
	for name := range a.entries {
		if len(name) <= 200 && slices.Contains(kustomizationNames, path.Base(name)) {
			out = append(out, path.Dir(name))
		}
	}
	slices.Sort(out)
	return out[:min(len(out), 2000)]
}
