package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"sigs.k8s.io/yaml"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo/catalog"
)

// chartRepository is a Helm HTTP repository of every chart in the bundles,
// whether it came from a registry or from such a repository.
type chartRepository struct {
	index    []byte // index.yaml
	archives map[string]ocispec.Descriptor
}

// chartVersion is one entry of index.yaml.
type chartVersion struct {
	name, version string
	metadata      map[string]any
	archive       ocispec.Descriptor
	provenance    *ocispec.Descriptor
	ref           string
}

func newChartRepository(h *Handler) (*chartRepository, error) {
	r := &chartRepository{archives: map[string]ocispec.Descriptor{}}
	entries := map[string][]any{}
	seen := map[string]digest.Digest{}
	for _, e := range h.catalog.Entries {
		if e.Kind != lock.Chart {
			continue
		}
		v, err := readChart(h, e)
		if err != nil {
			return nil, fmt.Errorf("reading chart %s: %w", e.Ref, err)
		}
		key := v.name + "-" + v.version
		if have, ok := seen[key]; ok {
			if have != v.archive.Digest {
				h.emitWarning("chart-clash", "chart %s %s exists twice with different content; /helm/ gives the first, /v2/ gives %s", v.name, v.version, v.ref)
			}
			continue
		}
		seen[key] = v.archive.Digest
		entries[v.name] = append(entries[v.name], r.addChart(v))
	}
	return r, r.renderIndex(entries)
}

// addChart enters a chart's archive and returns its index entry.
func (r *chartRepository) addChart(v chartVersion) map[string]any {
	file := v.name + "-" + v.version + ".tgz"
	r.archives[file] = v.archive
	if v.provenance != nil {
		r.archives[file+".prov"] = *v.provenance
	}
	v.metadata["urls"] = []string{"charts/" + file}
	v.metadata["digest"] = v.archive.Digest.Encoded()
	return v.metadata
}

// renderIndex writes index.yaml: no times, so equal bundles give equal bytes.
func (r *chartRepository) renderIndex(entries map[string][]any) error {
	for _, versions := range entries {
		slices.SortStableFunc(versions, func(a, b any) int {
			return compareVersions(b, a)
		})
	}
	out, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "entries": entries, "generated": "1970-01-01T00:00:00Z"})
	if err != nil {
		return fmt.Errorf("writing index.yaml: %w", err)
	}
	r.index = out
	return nil
}

// compareVersions orders index entries by semantic version, others by text.
func compareVersions(a, b any) int {
	x, y := versionOf(a), versionOf(b)
	v, err := semver.NewVersion(x)
	w, err2 := semver.NewVersion(y)
	if err != nil || err2 != nil {
		return strings.Compare(x, y)
	}
	return v.Compare(w)
}

func versionOf(entry any) string {
	s, _ := entry.(map[string]any)["version"].(string)
	return s
}

func readChart(h *Handler, e catalog.Entry) (chartVersion, error) {
	m, ok := h.catalog.Manifest(e.Descriptor.Digest)
	if !ok || m.Config == nil {
		return chartVersion{}, fmt.Errorf("it has no manifest: %w", catalog.ErrInvalid)
	}
	v := chartVersion{ref: string(e.Ref)}
	for i, l := range m.Layers {
		switch l.MediaType {
		case lock.MediaTypeHelmChart:
			v.archive = l
		case lock.MediaTypeProvenance:
			v.provenance = &m.Layers[i]
		}
	}
	raw, err := h.bundles[e.Source].Manifest(m.Config.Digest)
	if err != nil {
		return v, fmt.Errorf("reading its metadata: %w", err)
	}
	if err := json.Unmarshal(raw, &v.metadata); err != nil {
		return v, fmt.Errorf("parsing its metadata: %w", err)
	}
	v.name, _ = v.metadata["name"].(string)
	v.version, _ = v.metadata["version"].(string)
	if v.archive.Digest == "" || !plainName(v.name) || !plainName(v.version) {
		return v, fmt.Errorf("it lacks an archive, a name or a version: %w", catalog.ErrInvalid)
	}
	return v, nil
}

// plainName says whether s can be part of a file name in a URL.
func plainName(s string) bool {
	return s != "" && len(s) <= 250 && !strings.ContainsAny(s, "/\\?#%\x00 ") && s != "." && s != ".."
}

func (h *Handler) serveCharts(w http.ResponseWriter, r *http.Request) error {
	if err := requireRead(w, r); err != nil {
		return err
	}
	path := strings.TrimPrefix(r.URL.Path, "/helm/")
	if path == "index.yaml" {
		w.Header().Set("Content-Type", "application/yaml")
		writeBytes(w, http.StatusOK, h.charts.index)
		return nil
	}
	file, ok := strings.CutPrefix(path, "charts/")
	d, known := h.charts.archives[file]
	if !ok || !known {
		return &failure{http.StatusNotFound, "UNKNOWN", "no bundle here has this chart"}
	}
	return h.sendContent(w, r, h.blobContent(d.Digest, chartType(file), d.Size))
}

func chartType(file string) string {
	if strings.HasSuffix(file, ".prov") {
		return "text/plain; charset=utf-8"
	}
	return "application/gzip"
}
