package bundle

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Files is what belongs to one bundle, wherever it lies: names only, nothing in
// it is proven.
type Files struct {
	Name       string
	Head       string
	Volumes    map[int][]string // copies by volume number, in the order of the paths scanned
	Signatures []string
	Ledger     string   // the first of Ledgers
	Ledgers    []string // candidates; the signed statement says which counts
}

var (
	headPattern      = regexp.MustCompile(`^(.+)\.head\.tar$`)
	volumePattern    = regexp.MustCompile(`^(.+)\.vol-([0-9]{5})\.tar$`)
	signaturePattern = regexp.MustCompile(`^(.+)\.([0-9A-Za-z_-]+)\.sigstore\.json$`)
	ledgerPattern    = regexp.MustCompile(`^(.+)\.ledger\.json$`)
)

// Scan finds the bundles whose heads lie in paths. A path is a directory, looked
// at without recursion, or a head, which stands for what carries its name
// beside it. Heads with equal bytes are one bundle; one name with two different
// heads is an error. A directory with volumes alone is welcome: volumes are
// matched by name. The result is sorted by name; it is empty when no head is
// found.
func Scan(paths ...string) ([]Files, error) {
	s := scanner{found: map[string]*Files{}, seen: map[string]bool{}}
	for _, p := range paths {
		if err := s.scanPath(p); err != nil {
			return nil, fmt.Errorf("scanning %s: %w", p, err)
		}
	}
	return s.sortedBundles(), nil
}

type scanner struct {
	found map[string]*Files
	seen  map[string]bool // directory entries already taken
	count int
}

func (s *scanner) scanPath(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return s.scanDirectory(path, "")
	}
	m := headPattern.FindStringSubmatch(filepath.Base(path))
	if m == nil || !info.Mode().IsRegular() {
		return fmt.Errorf("%w: neither a directory nor a head", ErrFormat)
	}
	return s.scanDirectory(filepath.Dir(path), m[1])
}

// scanDirectory takes what belongs to the bundle of the given name, or to any.
func (s *scanner) scanDirectory(dir, only string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		slices.Sort(names)
		for _, n := range names {
			if err := s.scanFile(dir, n, only); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *scanner) scanFile(dir, base, only string) error {
	if s.count++; s.count > maxScanned {
		return formatError("more than %d directory entries", maxScanned)
	}
	path := filepath.Join(dir, base)
	kind, name, number := classifyName(base)
	if kind == 0 || only != "" && name != only || s.seen[path] || checkName(name) != nil || !isRegular(path) {
		return nil
	}
	s.seen[path] = true
	return s.takeFile(kind, name, number, path)
}

func isRegular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// classifyName tells from a file name what it holds: h(ead), v(olume), s(ignature),
// l(edger) or nothing of ours (0).
func classifyName(base string) (kind byte, name string, number int) {
	if m := headPattern.FindStringSubmatch(base); m != nil {
		return 'h', m[1], 0
	}
	if m := volumePattern.FindStringSubmatch(base); m != nil {
		number, _ = strconv.Atoi(m[2])
		return 'v', m[1], number
	}
	if m := signaturePattern.FindStringSubmatch(base); m != nil {
		return 's', m[1], 0
	}
	if m := ledgerPattern.FindStringSubmatch(base); m != nil {
		return 'l', m[1], 0
	}
	return 0, "", 0
}

func (s *scanner) takeFile(kind byte, name string, number int, path string) error {
	f := s.found[name]
	if f == nil {
		f = &Files{Name: name, Volumes: map[int][]string{}}
		s.found[name] = f
	}
	switch kind {
	case 'h':
		return f.takeHead(path)
	case 'v':
		f.Volumes[number] = append(f.Volumes[number], path)
	case 's':
		return f.takeSignature(path)
	case 'l':
		f.Ledgers = append(f.Ledgers, path) // one a directory at most
		f.Ledger = f.Ledgers[0]
	}
	return nil
}

func (f *Files) takeSignature(path string) error {
	if len(f.Signatures) == maxSignatures {
		return formatError("bundle %s has more than %d signature files", f.Name, maxSignatures)
	}
	f.Signatures = append(f.Signatures, path)
	return nil
}

func (f *Files) takeHead(path string) error {
	if f.Head == "" {
		f.Head = path
		return nil
	}
	a, err := hashFile(f.Head)
	if err != nil {
		return err
	}
	b, err := hashFile(path)
	if err != nil {
		return err
	}
	if a != b {
		return formatError("%s and %s have one name and differ", f.Head, path)
	}
	return nil
}

func hashFile(path string) (s sum, err error) {
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	h := sha256.New()
	if n, err := io.Copy(h, io.LimitReader(f, maxHead+1)); err != nil || n > maxHead {
		return s, formatError("reading %s, %d bytes: %v", path, n, err)
	}
	h.Sum(s[:0])
	return s, nil
}

func (s *scanner) sortedBundles() []Files {
	var all []Files
	for _, f := range s.found {
		if f.Head != "" {
			all = append(all, *f)
		}
	}
	sort.Slice(all, func(i, j int) bool { return strings.Compare(all[i].Name, all[j].Name) < 0 })
	return all
}
