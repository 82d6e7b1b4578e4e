package lock

import (
	"fmt"
	"net/url"

	"github.com/opencontainers/go-digest"
)

// What a registry has and a bundle carries as it is.
const (
	Image    Kind = "image"
	Referrer Kind = "referrer" // signature, attestation, SBOM: an OCI referrer, its fallback tag, or a cosign tag
)

var imageKind = KindInfo{
	Kind: Image, Plural: "images", Title: "images", Purpose: "CONTAINER",
	Signed: true, Listed: true, forms: []string{verbatimForm.Field},
}

var referrerKind = KindInfo{
	Kind: Referrer, Plural: "referrers", Title: "signatures and SBOMs", Purpose: "OTHER",
	forms: []string{verbatimForm.Field},
}

var verbatimForm = Form{
	Field: "manifests", Content: Verbatim(nil),
	About: "Manifests holds what is carried verbatim from a registry, the root first,\n" +
		"then the carried children in the index's order. A child of the root index\n" +
		"that is not listed is not carried (sparse index).",
}

// Verbatim is what is carried as a registry has it: manifests, the root first,
// then the carried children in the index's order. A child of the root index that
// is not listed is not carried (sparse index).
type Verbatim []ImageManifest

// ImageManifest is one manifest or index carried verbatim.
type ImageManifest struct {
	Blob     `yaml:",inline"`
	Platform string `yaml:"platform,omitempty"` // os/arch[/variant] of an image; "attestation" for a BuildKit attestation manifest
	Config   *Blob  `yaml:"config,omitempty"`
	Layers   []Blob `yaml:"layers,omitempty"` // in the manifest's order
}

func (v Verbatim) normalize()     {}
func (v Verbatim) clone() Content { return v }

func (v Verbatim) check(c *checker, at string) {
	if len(v) > maxManifests {
		c.problem(at, "has more than %d entries", maxManifests)
		return
	}
	for i := range v {
		v[i].check(c, fmt.Sprintf("%s[%d]", at, i))
	}
}

func (m *ImageManifest) check(c *checker, at string) {
	c.checkBlob(at, m.Digest, m.Size)
	if m.Size > maxManifestSize {
		c.problem(at+".size", "is %d; a manifest has at most %d bytes", m.Size, maxManifestSize)
	}
	c.mediaType(at+".mediaType", m.MediaType, true)
	if m.Platform != "" && m.Platform != "attestation" && !platformRule.MatchString(m.Platform) {
		c.problem(at+".platform", "%q is not os/arch or os/arch/variant", m.Platform)
	}
	if m.Config != nil {
		c.typedBlob(at+".config", m.Config)
	}
	if len(m.Layers) > maxLayers {
		c.problem(at+".layers", "has more than %d entries", maxLayers)
		return
	}
	for j := range m.Layers {
		c.typedBlob(fmt.Sprintf("%s.layers[%d]", at, j), &m.Layers[j])
	}
}

// checkRoot compares the item's digest, media type and size with the first
// manifest's.
func (v Verbatim) checkRoot(c *checker, at string, it *Item) {
	if len(v) == 0 {
		return
	}
	if m := v[0]; m.Digest != it.Digest || m.Size != it.Size || m.MediaType != it.MediaType {
		c.problem(at+"."+verbatimForm.Field+"[0]", "is not the item's digest, size and media type")
	}
}

func (v Verbatim) heads(it *Item) []HeadBlob {
	var out []HeadBlob
	for _, m := range v {
		out = append(out, HeadBlob{m.Blob, it.registrySource(m.Digest)})
		if c := m.Config; c != nil && c.Size <= MaxHeadBlob {
			out = append(out, HeadBlob{*c, it.registrySource(c.Digest)})
		}
	}
	return out
}

func (v Verbatim) slots(it *Item) []Slot {
	var out []Slot
	for _, m := range v {
		if c := m.Config; c != nil && c.Size > MaxHeadBlob {
			out = append(out, blobSlot(*c, it.registrySource(c.Digest)))
		}
		for _, b := range m.Layers {
			out = append(out, blobSlot(b, it.registrySource(b.Digest)))
		}
	}
	return out
}

// registrySource is where a blob of the item is fetched.
func (it *Item) registrySource(dg digest.Digest) Source {
	repository := it.Ref.Repository()
	if it.Source == SourceTool {
		return Source{Kind: FromTool, Repository: repository, Digest: dg}
	}
	return Source{Kind: FromRegistry, Repository: repository, Digest: dg}
}

func (v Verbatim) describe(it *Item, d *Description) {
	root := d.Checksum
	if root == "" {
		return
	}
	query := "?repository_url=" + url.QueryEscape(it.Ref.Repository())
	if tag := it.Ref.Tag(); tag != "" {
		query += "&tag=" + url.QueryEscape(tag)
	}
	d.PURL = "pkg:oci/" + it.Ref.Name() + "@sha256%3A" + root.Encoded() + query
}

func (v Verbatim) facts() []Fact {
	var out []Fact
	for _, m := range v {
		what := "manifest"
		if m.Platform != "" {
			what += " " + m.Platform
		}
		out = append(out, Fact{what, ruleLock, m.Blob})
		if m.Config != nil {
			out = append(out, Fact{"config", ruleLock, *m.Config})
		}
		for _, b := range m.Layers {
			out = append(out, Fact{"layer", ruleLock, b})
		}
	}
	return out
}
