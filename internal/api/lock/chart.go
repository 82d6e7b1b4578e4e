package lock

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Chart is a Helm chart: verbatim from a registry, or wrapped by us where it
// comes from an HTTP repository.
const Chart Kind = "chart"

var chartKind = KindInfo{
	Kind: Chart, Plural: "charts", Title: "charts", Purpose: "SOURCE",
	Signed: true, forms: []string{verbatimForm.Field, chartForm.Field},
}

var chartForm = Form{
	Field: "helmChart", Content: (*HelmChart)(nil),
	About: "a chart from an HTTP repository or of the program's own, wrapped by us",
}

// AnnotationSiteFacts is the annotation of a Chart.yaml that names, with spaces between,
// the facts of the site that the plan gives the chart as its value site.
const AnnotationSiteFacts = "caisson.dev/site-facts"

// Facts of a site that a chart may ask for.
const (
	FactGPUs       = "gpus"            // the kinds of accelerators that nodes offer
	FactModels     = "models"          // the models of the bundle
	FactKubernetes = "kubernetes"      // what the cluster can do
	FactHub        = "hub"             // the address of the site's model hub
	FactStorage    = "storageClass"    // the site's storage class
	FactReserved   = "reserved"        // accelerators that pods of the plan hold, by kind
	FactQueued     = "queueNamespaces" // namespaces for which the plan has queues
)

// SiteFacts lists the facts that a chart may ask for, sorted.
func SiteFacts() []string {
	return []string{FactGPUs, FactHub, FactKubernetes, FactModels, FactQueued, FactReserved, FactStorage}
}

// ChartTag is a chart's version as a tag, which has no plus sign.
func ChartTag(version string) string { return strings.ReplaceAll(version, "+", "_") }

// ChartVersion is the version of a chart that has the tag.
func ChartVersion(tag string) string { return strings.ReplaceAll(tag, "_", "+") }

// HelmChart is a chart archive that came from an HTTP repository or with the program.
type HelmChart struct {
	Name       string        `yaml:"name"`
	Version    string        `yaml:"version"`
	URL        string        `yaml:"url,omitempty"`
	Shipped    string        `yaml:"shipped,omitempty"` // the name of a chart that comes with the program
	Digest     digest.Digest `yaml:"digest"`            // sha256 of the .tgz
	Size       int64         `yaml:"size"`
	Provenance *Blob         `yaml:"provenance,omitempty"` // of URL + ".prov"
	Config     string        `yaml:"config"`               // Chart.yaml's metadata as the OCI config JSON
}

func (h *HelmChart) normalize()     {}
func (h *HelmChart) clone() Content { return h }

func (h *HelmChart) check(c *checker, at string) {
	c.checkText(at+".name", h.Name, true)
	c.checkText(at+".version", h.Version, true)
	switch {
	case countGiven(h.URL, h.Shipped) != 1:
		c.problem(at, "needs either url or shipped")
	case h.Shipped != "":
		c.checkPath(at+".shipped", h.Shipped)
	default:
		c.checkURL(at+".url", h.URL)
	}
	c.checkBlob(at, h.Digest, h.Size)
	if h.Provenance != nil {
		c.typedBlob(at+".provenance", h.Provenance)
	}
	if len(h.Config) > maxManifestSize || !isPlain(h.Config) || !json.Valid([]byte(h.Config)) {
		c.problem(at+".config", "is not JSON")
	}
}

func (h *HelmChart) heads(*Item) []HeadBlob { return nil }

func (h *HelmChart) archive() Blob { return Blob{h.Digest, MediaTypeHelmChart, h.Size} }

func (h *HelmChart) slots(*Item) []Slot {
	src := Source{Kind: FromURL, URL: h.URL, Digest: h.Digest}
	if h.Shipped != "" {
		src = Source{Kind: FromShipped, Path: shippedCharts + h.Shipped, Digest: h.Digest}
	}
	out := []Slot{blobSlot(h.archive(), src)}
	if p := h.Provenance; p != nil {
		signed := Blob{p.Digest, MediaTypeProvenance, p.Size}
		out = append(out, blobSlot(signed, Source{Kind: FromURL, URL: h.URL + ".prov", Digest: p.Digest}))
	}
	return out
}

func (h *HelmChart) wrap(func(string) digest.Digest) (manifest, config []byte, err error) {
	layers := []ocispec.Descriptor{{MediaType: MediaTypeHelmChart, Digest: h.Digest, Size: h.Size}}
	if p := h.Provenance; p != nil {
		layers = append(layers, ocispec.Descriptor{MediaType: MediaTypeProvenance, Digest: p.Digest, Size: p.Size})
	}
	return assembleManifest(ocispec.Manifest{
		Layers: layers,
		Annotations: map[string]string{
			ocispec.AnnotationTitle:   h.Name,
			ocispec.AnnotationVersion: h.Version,
		},
	}, MediaTypeHelmConfig, []byte(h.Config))
}

func (h *HelmChart) artifactType() string { return "" }

func (h *HelmChart) describe(_ *Item, d *Description) {
	d.Checksum = h.Digest
	d.PURL = "pkg:helm/" + url.PathEscape(h.Name) + "@" + url.QueryEscape(h.Version)
}

func (h *HelmChart) facts() []Fact {
	out := []Fact{{"chart archive", ruleLock, h.archive()}}
	if p := h.Provenance; p != nil {
		out = append(out, Fact{"provenance file", ruleLock, *p})
	}
	return out
}
