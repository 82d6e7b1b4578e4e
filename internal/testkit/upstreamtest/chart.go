package upstreamtest

import (
	"archive/tar"
	"bytes"
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"sigs.k8s.io/yaml"
)

//go:embed all:charts
var chartFiles embed.FS

// chart is a packaged Helm chart.
type chart struct {
	metadata json.RawMessage // Chart.yaml as JSON
	name     string
	version  string
	summary  string
	archive  []byte // NAME-VERSION.tgz
}

// newChart packages the chart directory of that name. A version other than ""
// replaces the one in Chart.yaml.
func newChart(name, version string) chart {
	root, err := fs.Sub(chartFiles, "charts/"+name)
	if err != nil {
		panic(err) // embedded
	}
	files := readTree(root)
	c := parseChart(files["Chart.yaml"])
	if version != "" {
		files["Chart.yaml"] = bytes.ReplaceAll(files["Chart.yaml"], []byte("ersion: "+c.version), []byte("ersion: "+version))
		c = parseChart(files["Chart.yaml"])
	}
	c.archive = gzipBytes(chartTar(root, name, files))
	return c
}

func readTree(root fs.FS) map[string][]byte {
	files := map[string][]byte{}
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files[path], err = fs.ReadFile(root, path)
		return err
	})
	if err != nil {
		panic(err) // embedded
	}
	return files
}

func parseChart(chartYAML []byte) chart {
	metadata, err := yaml.YAMLToJSON(chartYAML)
	if err != nil {
		panic(err) // embedded
	}
	var fields struct{ Name, Version, Description string }
	if err := json.Unmarshal(metadata, &fields); err != nil {
		panic(err) // embedded
	}
	return chart{metadata: metadata, name: fields.Name, version: fields.Version, summary: fields.Description}
}

// chartTar returns the archive that a chart package holds: Chart.yaml first, then
// the other files sorted, all below a folder with the chart's name.
func chartTar(root fs.FS, name string, files map[string][]byte) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	addToTar(w, name+"/Chart.yaml", 0o644, files["Chart.yaml"])
	_ = fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, _ error) error {
		if !entry.IsDir() && path != "Chart.yaml" {
			addToTar(w, name+"/"+path, 0o644, files[path])
		}
		return nil
	})
	if err := w.Close(); err != nil {
		panic(err) // writing to memory
	}
	return out.Bytes()
}

// makeArtifact returns the chart in the form in which Helm pushes it to a registry,
// without the time of creation.
func (c chart) makeArtifact() artifact {
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: describeData("application/vnd.cncf.helm.config.v1+json", c.metadata),
		Layers: []v1.Descriptor{describeData("application/vnd.cncf.helm.chart.content.v1.tar+gzip", c.archive)},
		Annotations: map[string]string{
			v1.AnnotationTitle: c.name, v1.AnnotationVersion: c.version, v1.AnnotationDescription: c.summary,
		},
	}
	a := newArtifact(m.MediaType, "", m)
	a.blobs = [][]byte{c.metadata, c.archive}
	return a
}

// versionTag returns the version as a tag: registries do not take a plus sign.
func (c chart) versionTag() string { return strings.ReplaceAll(c.version, "+", "_") }

// chartRepo is an HTTP chart repository below a path prefix.
type chartRepo struct {
	files map[string][]byte // by URL path
}

// newChartRepo serves the charts below prefix ("/stable"). Archives named in
// absolute have an absolute URL below that base in the index, others a relative
// one.
func newChartRepo(prefix, base string, absolute map[string]bool, charts ...chart) *chartRepo {
	repo := &chartRepo{files: map[string][]byte{}}
	entries := map[string][]json.RawMessage{}
	for _, c := range charts {
		name := c.name + "-" + c.version + ".tgz"
		repo.files[prefix+"/"+name] = c.archive
		url := name
		if absolute[name] {
			url = base + prefix + "/" + name
		}
		entries[c.name] = append(entries[c.name], indexEntry(c, url))
	}
	index, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "generated": fixedTime, "entries": entries})
	if err != nil {
		panic(err) // values of our own
	}
	repo.files[prefix+"/index.yaml"] = index
	return repo
}

func indexEntry(c chart, url string) json.RawMessage {
	entry := map[string]any{}
	if err := json.Unmarshal(c.metadata, &entry); err != nil {
		panic(err) // parsed before
	}
	entry["urls"] = []string{url}
	entry["created"] = fixedTime
	entry["digest"] = hexSum(c.archive)
	return mustJSON(entry)
}

// ServeHTTP implements http.Handler.
func (r *chartRepo) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	data, ok := r.files[req.URL.Path]
	if !ok {
		http.NotFound(w, req)
		return
	}
	if strings.HasSuffix(req.URL.Path, ".yaml") {
		w.Header().Set("Content-Type", "text/yaml")
	}
	serveContent(w, req, bytes.NewReader(data), hexSum(data)[:32])
}
