package helm

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v3"
)

// MaxIndexSize bounds a chart repository's index.yaml.
const MaxIndexSize = 64 << 20

// Errors of Index.Find.
var (
	ErrNoChart   = errors.New("chart not in the repository")
	ErrNoVersion = errors.New("chart version not in the repository")
)

// Index is what is needed of a chart repository's index.yaml.
type Index struct {
	entries map[string][]indexEntry
}

type indexEntry struct {
	Version string   `yaml:"version"`
	URLs    []string `yaml:"urls"`
	Digest  string   `yaml:"digest"`
	Removed bool     `yaml:"removed"`
}

// IndexedChart is where a repository says a chart version lies.
type IndexedChart struct {
	Name    string
	Version string
	URL     string        // absolute
	Digest  digest.Digest // "" when the index names none
}

// ParseIndex reads an index.yaml. What is wrong with one entry matters only when
// somebody asks for it.
func ParseIndex(data []byte) (*Index, error) {
	if len(data) > MaxIndexSize {
		return nil, fmt.Errorf("parsing chart repository index: %w: %d bytes, at most %d", ErrTooLarge, len(data), MaxIndexSize)
	}
	var raw struct {
		APIVersion string                  `yaml:"apiVersion"`
		Entries    map[string][]indexEntry `yaml:"entries"`
	}
	var mismatch *yaml.TypeError // concerns single values, the rest was read
	if err := yaml.Unmarshal(data, &raw); err != nil && !errors.As(err, &mismatch) {
		return nil, fmt.Errorf("parsing chart repository index: %w", err)
	}
	if raw.APIVersion == "" && raw.Entries == nil {
		return nil, errors.New("parsing chart repository index: neither apiVersion nor entries")
	}
	return &Index{entries: raw.Entries}, nil
}

// Find looks a chart up by name and exact version; a leading "v" may differ.
// repository is the URL the index was found under, against which relative URLs
// resolve.
func (x *Index) Find(repository, name, version string) (IndexedChart, error) {
	entries, ok := x.entries[name]
	if !ok {
		return IndexedChart{}, fmt.Errorf("finding chart %s: %w", name, ErrNoChart)
	}
	e, ok := pick(entries, version)
	if !ok {
		return IndexedChart{}, fmt.Errorf("finding chart %s %s: %w; there: %s", name, version, ErrNoVersion, someVersions(entries))
	}
	found, err := e.locate(repository)
	if err != nil {
		return IndexedChart{}, fmt.Errorf("finding chart %s %s: %w", name, version, err)
	}
	found.Name = name
	return found, nil
}

func pick(entries []indexEntry, version string) (indexEntry, bool) {
	for _, e := range entries {
		if e.Version == version && !e.Removed {
			return e, true
		}
	}
	for _, e := range entries {
		if strings.TrimPrefix(e.Version, "v") == strings.TrimPrefix(version, "v") && !e.Removed {
			return e, true
		}
	}
	return indexEntry{}, false
}

func someVersions(entries []indexEntry) string {
	var versions []string
	for i, e := range entries {
		if i == 8 {
			versions = append(versions, "…")
			break
		}
		versions = append(versions, e.Version)
	}
	return strings.Join(versions, ", ")
}

func (e indexEntry) locate(repository string) (IndexedChart, error) {
	if len(e.URLs) == 0 {
		return IndexedChart{}, errors.New("index names no URL")
	}
	base, err := url.Parse(strings.TrimSuffix(repository, "/") + "/")
	if err != nil {
		return IndexedChart{}, fmt.Errorf("parsing repository URL: %w", err)
	}
	ref, err := url.Parse(e.URLs[0])
	if err != nil {
		return IndexedChart{}, fmt.Errorf("parsing chart URL: %w", err)
	}
	at := base.ResolveReference(ref)
	if at.Scheme != "http" && at.Scheme != "https" || at.Host == "" || at.User != nil {
		return IndexedChart{}, fmt.Errorf("chart URL %.200q: not a plain http or https address", e.URLs[0])
	}
	dg, err := sha256Digest(e.Digest)
	return IndexedChart{Version: e.Version, URL: at.String(), Digest: dg}, err
}

// sha256Digest reads the digest of an index entry, which is bare hex by custom.
func sha256Digest(s string) (digest.Digest, error) {
	if s == "" {
		return "", nil
	}
	dg := digest.Digest(s)
	if !strings.Contains(s, ":") {
		dg = digest.NewDigestFromEncoded(digest.SHA256, strings.ToLower(s))
	}
	if err := dg.Validate(); err != nil || dg.Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("index digest %q is not a SHA-256", s)
	}
	return dg, nil
}
