package bundle

import (
	"encoding/json"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's names for what OCI calls index and manifest; carried verbatim.
const (
	mediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == mediaTypeDockerList
}

func isManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == mediaTypeDockerManifest
}

// isForeign says that a registry need not have the layer (OCI image-spec,
// "Non-Distributable Layers"); the bundle may lack it too.
func isForeign(mediaType string) bool {
	return strings.Contains(mediaType, ".nondistributable.") || strings.Contains(mediaType, ".foreign.")
}

// closure walks from index.json to everything it reaches and checks that this is
// all there is: no dangling reference, no unreferenced blob.
type closure struct {
	head    *head
	table   *Table
	lookup  *lookup
	parsed  map[int]string // head blob → the media type it was walked as
	inHead  []bool
	inTable []bool
}

func newClosure(h *head, t *Table, l *lookup) *closure {
	return &closure{h, t, l, map[int]string{}, make([]bool, len(h.blobs)), make([]bool, t.Len())}
}

// link is what a manifest says of another blob. (Not ocispec.Descriptor: a
// hostile manifest may hold a million of them.)
type link struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
}

func linkOf(d ocispec.Descriptor) link { return link{d.MediaType, d.Digest, d.Size} }

// walkIndex walks all references, then requires that nothing is left over.
func (c *closure) walkIndex(index ocispec.Index) error {
	for _, d := range index.Manifests {
		if err := c.walkRoot(linkOf(d)); err != nil {
			return formatError("%s: %w", d.Annotations[ocispec.AnnotationRefName], err)
		}
	}
	return c.requireComplete()
}

func (c *closure) requireComplete() error {
	for i, seen := range c.inHead {
		if !seen {
			return formatError("nothing refers to %s in the head", c.head.blobs[i].digest.digest())
		}
	}
	for i, seen := range c.inTable {
		if !seen {
			return formatError("nothing refers to %s in the volumes", c.table.blobs[i].digest.digest())
		}
	}
	return nil
}

func (c *closure) walkRoot(l link) error {
	if !isIndex(l.MediaType) && !isManifest(l.MediaType) {
		return formatError("media type %q of a reference", l.MediaType)
	}
	return c.walkManifest(l, true, 0)
}

// walkManifest walks an index or manifest, which must lie in the head.
func (c *closure) walkManifest(l link, required bool, depth int) error {
	s, err := parseDigest(l.Digest)
	if err != nil {
		return err
	}
	i, ok := c.head.findBlob(s)
	if !ok && !required && !c.lookup.has(s) {
		return nil // sparse index: platforms that were not chosen
	}
	if !ok || depth > maxDepth {
		return formatError("manifest %s is not in the head or nested too deeply", l.Digest)
	}
	if as, walked := c.parsed[i]; walked {
		return sameType(l, as)
	}
	c.parsed[i], c.inHead[i] = l.MediaType, true
	if c.head.blobs[i].size != l.Size {
		return formatError("%s has %d bytes, its descriptor says %d", l.Digest, c.head.blobs[i].size, l.Size)
	}
	return c.walkChildren(i, l, depth)
}

func sameType(l link, as string) error {
	if as != l.MediaType {
		return formatError("%s is called both %q and %q", l.Digest, as, l.MediaType)
	}
	return nil
}

func (c *closure) walkChildren(i int, l link, depth int) error {
	b, err := c.head.readBlob(i, MaxMeta)
	if err != nil {
		return err
	}
	doc, err := parseDocument(b, l.MediaType)
	if err != nil {
		return formatError("manifest %s: %w", l.Digest, err)
	}
	for _, child := range doc.Manifests {
		if err := c.walkChild(child, depth+1); err != nil {
			return err
		}
	}
	if doc.Config != nil {
		if err := c.markBlob(*doc.Config, true); err != nil {
			return err
		}
	}
	for _, layer := range doc.Layers {
		if err := c.markBlob(layer, !isForeign(layer.MediaType)); err != nil {
			return err
		}
	}
	return nil
}

// walkChild walks an entry of an image index; a sparse index may lack it.
func (c *closure) walkChild(l link, depth int) error {
	if isIndex(l.MediaType) || isManifest(l.MediaType) {
		return c.walkManifest(l, false, depth)
	}
	return c.markBlob(l, false)
}

// markBlob marks content that is not looked into.
func (c *closure) markBlob(l link, required bool) error {
	s, err := parseDigest(l.Digest)
	if err != nil {
		return err
	}
	if i, ok := c.head.findBlob(s); ok {
		c.inHead[i] = true
		return sameSize(l, c.head.blobs[i].size)
	}
	if i, ok := c.lookup.find(s); ok {
		c.inTable[i] = true
		return sameSize(l, c.table.blobs[i].size)
	}
	if required {
		return formatError("blob %s is neither in the head nor in the volumes", l.Digest)
	}
	return nil
}

func sameSize(l link, size int64) error {
	if l.Size != size {
		return formatError("%s has %d bytes, its descriptor says %d", l.Digest, size, l.Size)
	}
	return nil
}

// document is an image index or manifest, as far as the closure needs it.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Manifests     []link          `json:"manifests"`
	Config        *link           `json:"config"`
	Layers        []link          `json:"layers"`
	FSLayers      json.RawMessage `json:"fsLayers"`
}

// parseDocument requires that the text says what its descriptor says and cannot
// be read as the other kind (OCI image-spec, "Media Type Conflicts";
// CVE-2021-41190).
func parseDocument(b []byte, mediaType string) (doc document, err error) {
	budget := jsonBudget{objects: 1 << 18, commas: 1 << 19, depth: 64}
	if err := budget.spendOn(b); err != nil {
		return doc, err
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return doc, formatError("%w", err)
	}
	if doc.MediaType != "" && doc.MediaType != mediaType {
		return doc, formatError("calls itself %q, its descriptor says %q", doc.MediaType, mediaType)
	}
	if doc.SchemaVersion != 2 || doc.FSLayers != nil {
		return doc, formatError("schema version %d", doc.SchemaVersion)
	}
	indexLike, manifestLike := doc.Manifests != nil, doc.Config != nil || doc.Layers != nil
	if indexLike && manifestLike {
		return doc, formatError("is both an index and a manifest")
	}
	if isIndex(mediaType) && manifestLike || isManifest(mediaType) && (indexLike || doc.Config == nil) {
		return doc, formatError("does not look like %q", mediaType)
	}
	return doc, nil
}
