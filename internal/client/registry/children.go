package registry

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/atomicfile"
)

const maxChildren = 16 << 20 // bytes of the record

// Child says that a registry refused an image's index, since not all platforms
// that it lists were carried, and what stands in its place.
type Child struct {
	Reference  string                   `json:"reference"`  // upstream, as in the lock
	Repository string                   `json:"repository"` // below the registry's prefix
	Tag        string                   `json:"tag,omitempty"`
	Index      digest.Digest            `json:"index"`               // refused
	Digest     digest.Digest            `json:"digest"`              // what the tag names instead
	Platform   string                   `json:"platform,omitempty"`  // of Digest
	Platforms  map[string]digest.Digest `json:"platforms,omitempty"` // every platform's manifest in the registry
}

// childrenRecord is the file's content.
type childrenRecord struct {
	Registry string  `json:"registry"`
	Children []Child `json:"children"`
}

// ChildrenFile is the path of the record about a registry (HOST[:PORT][/PREFIX])
// in a state directory.
func ChildrenFile(dir, registry string) string {
	return filepath.Join(dir, "load-"+strings.NewReplacer(":", "_", "/", "_").Replace(registry)+".json")
}

// ReadChildren reads the record about a registry; none is not an error.
func ReadChildren(dir, registry string) ([]Child, error) {
	path := ChildrenFile(dir, registry)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.Size() > maxChildren {
		err = errors.New("file too large")
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return parseChildren(raw)
}

func parseChildren(raw []byte) ([]Child, error) {
	var rec childrenRecord
	if err := json.Unmarshal(raw, &rec); err != nil {
		return nil, fmt.Errorf("parsing the record of refused indexes: %w", err)
	}
	for _, c := range rec.Children {
		if c.Index.Validate() != nil || c.Digest.Validate() != nil {
			return nil, fmt.Errorf("parsing the record of refused indexes: %w: digest of %q", ErrReference, c.Reference)
		}
	}
	return rec.Children, nil
}

// WriteChildren puts children into the record about a registry. Entries of
// other references stay. The file is replaced whole or not at all.
func WriteChildren(dir, registry string, children []Child) error {
	have, err := ReadChildren(dir, registry)
	if err != nil {
		return err
	}
	for _, c := range children {
		have = slices.DeleteFunc(have, func(o Child) bool { return o.Reference == c.Reference })
		have = append(have, c)
	}
	slices.SortFunc(have, func(a, b Child) int { return cmp.Compare(a.Reference, b.Reference) })
	if have == nil {
		have = []Child{}
	}
	raw, err := json.MarshalIndent(childrenRecord{registry, have}, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the record of refused indexes: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("writing the record of refused indexes: %w", err)
	}
	if err := atomicfile.Write(ChildrenFile(dir, registry), append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the record of refused indexes: %w", err)
	}
	return nil
}
