// Package helm uses Helm as a library: it opens chart archives, reads chart
// repositories' indexes, renders charts with Helm's own engine and finds the
// images that rendered objects name.
//
// Everything it reads is treated as hostile: sizes, counts and depths are
// bounded before Helm's own loader sees a byte. Nothing here fetches anything;
// rendering reaches neither a network nor a cluster (`lookup` finds nothing,
// schemas are not downloaded, names are not resolved).
package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"

	"github.com/caisson/caisson/internal/rules/document"
)

// Bounds of a chart archive, packed sub-charts included.
const (
	MaxArchiveSize = 32 << 20 // compressed bytes
	maxUnpacked    = 100 << 20
	maxEntries     = 20000
	maxNesting     = 6 // packed sub-charts inside packed sub-charts
)

// Errors of LoadArchive.
var (
	ErrTooLarge = errors.New("chart exceeds its size limits")
	ErrLink     = errors.New("chart archive holds a link or special file")
)

// Chart is one chart archive that passed the checks of LoadArchive.
type Chart struct {
	archive  []byte
	metadata chart.Metadata
	work     *chartWork // in a worker
}

// chartWork is what a worker keeps of the chart that it renders several times.
type chartWork struct {
	parsed  *chart.Chart // what Load copies
	schemas schemas
	counted map[documentKey]document.Expansion // of documents that it has rendered to
	bytes   int                                // of them
}

// LoadArchive opens a packed chart (.tgz). It refuses links, special files,
// archives beyond the package's bounds and dependencies that Chart.yaml
// declares and the archive lacks. The Chart keeps archive; do not change it.
func LoadArchive(archive []byte) (*Chart, error) {
	if len(archive) > MaxArchiveSize {
		return nil, fmt.Errorf("loading chart: %w: %d bytes packed, at most %d", ErrTooLarge, len(archive), MaxArchiveSize)
	}
	b := &budget{bytes: maxUnpacked, entries: maxEntries}
	if err := b.inspect(archive, 0); err != nil {
		return nil, fmt.Errorf("loading chart: %w", err)
	}
	c := &Chart{archive: archive}
	loaded, err := c.Load()
	if err != nil {
		return nil, err
	}
	c.metadata = *loaded.Metadata
	return c, nil
}

// Name is the chart's name.
func (c *Chart) Name() string { return c.metadata.Name }

// Version is the chart's version as Chart.yaml spells it.
func (c *Chart) Version() string { return c.metadata.Version }

// Metadata is a copy of Chart.yaml.
func (c *Chart) Metadata() chart.Metadata { return c.metadata }

// Archive is the packed chart, byte for byte. It must not be changed.
func (c *Chart) Archive() []byte { return c.archive }

// Config is Chart.yaml's metadata as the JSON that Helm stores as the config of
// a chart in a registry (media type application/vnd.cncf.helm.config.v1+json).
func (c *Chart) Config() (string, error) {
	b, err := json.Marshal(&c.metadata)
	if err != nil {
		return "", fmt.Errorf("encoding metadata of chart %s: %w", c.Name(), err)
	}
	return string(b), nil
}

// openForRenderings opens an archive that passed the checks of LoadArchive, and keeps
// it parsed.
func openForRenderings(archive []byte) (*Chart, error) {
	c := &Chart{archive: archive}
	parsed, err := c.Load()
	if err != nil {
		return nil, err
	}
	c.metadata = *parsed.Metadata
	c.work = &chartWork{parsed: parsed, counted: map[documentKey]document.Expansion{}}
	return c, nil
}

// Load parses the archive anew. Helm's functions change the chart they work on,
// so each use takes its own.
func (c *Chart) Load() (*chart.Chart, error) {
	if c.work != nil {
		return copyChart(c.work.parsed), nil
	}
	loaded, err := loader.LoadArchive(bytes.NewReader(c.archive))
	if err != nil {
		return nil, fmt.Errorf("loading chart: %w", err)
	}
	if err := loaded.Validate(); err != nil {
		return nil, fmt.Errorf("loading chart: %w", err)
	}
	if missing := missingDependencies(loaded); len(missing) > 0 {
		return nil, fmt.Errorf("loading chart %s: dependencies declared but not packed: %s", loaded.Name(), strings.Join(missing, ", "))
	}
	return loaded, nil
}

func missingDependencies(c *chart.Chart) []string {
	have := map[string]bool{}
	for _, d := range c.Dependencies() {
		have[d.Name()] = true
	}
	var missing []string
	for _, d := range c.Metadata.Dependencies {
		if d != nil && !have[d.Name] {
			missing = append(missing, d.Name)
		}
	}
	return missing
}

// budget is what an archive and all that is packed in it may still unpack to.
type budget struct {
	bytes    int64
	entries  int
	expanded document.Expansion // what Helm's loader decodes
}

// inspect walks a packed chart without keeping it.
func (b *budget) inspect(archive []byte, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("%w: sub-charts packed more than %d deep", ErrTooLarge, maxNesting)
	}
	zr, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return fmt.Errorf("opening archive: %w", err)
	}
	defer zr.Close()
	tr := tar.NewReader(io.LimitReader(zr, maxUnpacked+maxEntries*1024))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading archive: %w", err)
		}
		if err := b.entry(h, tr, depth); err != nil {
			return err
		}
	}
}

func (b *budget) entry(h *tar.Header, r io.Reader, depth int) error {
	b.entries--
	b.bytes -= h.Size
	if b.entries < 0 || b.bytes < 0 || h.Size < 0 {
		return fmt.Errorf("%w: more than %d files or %d bytes unpacked", ErrTooLarge, maxEntries, maxUnpacked)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeXGlobalHeader, tar.TypeXHeader:
	default:
		return fmt.Errorf("%w: %q", ErrLink, h.Name)
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	switch name := nameInChart(h.Name); {
	case isPackedChart(name):
		data, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("reading %q: %w", h.Name, err)
		}
		return b.inspect(data, depth+1)
	case isDecoded(name):
		return b.count(h.Name, r)
	}
	return nil
}

// count counts a file that is decoded when the chart is loaded, its aliases
// followed.
func (b *budget) count(name string, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("reading %q: %w", name, err)
	}
	if err := b.expanded.Add(string(data)); err != nil {
		return fmt.Errorf("reading %q: %w: %w", name, ErrTooLarge, err)
	}
	return nil
}

// nameInChart is the name below the chart's folder that Helm's loader gives an
// entry: where a name has a backslash, backslashes alone part it.
func nameInChart(name string) string {
	delimiter := "/"
	if strings.Contains(name, `\`) {
		delimiter = `\`
	}
	_, below, _ := strings.Cut(name, delimiter)
	return path.Clean(strings.ReplaceAll(below, delimiter, "/"))
}

// isPackedChart says whether Helm's loader would unpack the named file.
func isPackedChart(name string) bool {
	return path.Ext(name) == ".tgz" && strings.Contains("/"+name, "/charts/")
}

// decodedFiles are those of a chart that are decoded when it is loaded.
var decodedFiles = []string{"Chart.yaml", "Chart.lock", "values.yaml", "requirements.yaml", "requirements.lock"}

// isDecoded says whether Helm's loader would decode the named file, which may be
// one of a sub-chart.
func isDecoded(name string) bool {
	for {
		below, ok := strings.CutPrefix(name, "charts/")
		if !ok {
			return slices.Contains(decodedFiles, name)
		}
		_, name, _ = strings.Cut(below, "/")
	}
}
