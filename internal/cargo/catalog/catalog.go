// Package catalog is what bundles hold, seen as a registry sees it:
// repositories with tags, manifests, blobs and referrers, and which reference
// needs which blob.
//
// A Catalog is made from heads alone and reads no payload, so it works on a
// bundle that nobody has trusted yet. The package never decides about trust and
// writes nothing.
package catalog

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
)

// Media types beside those of the image specification.
const (
	DockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	DockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	bundleArtifact     = "application/vnd.caisson.bundle.v1"
)

// Limits on what manifests may make this package hold.
const (
	maxDepth     = 6       // index → index → … → manifest
	maxManifests = 1 << 18 // manifests in one catalog
	maxHeld      = 4 << 20 // manifests and blobs in one catalog, counted for each reference that needs them
)

// ErrInvalid is wrapped by every complaint about what a head says.
var ErrInvalid = errors.New("the bundle's manifests contradict each other")

// Head is the part of a bundle that a catalog reads. *bundle.Bundle is one.
type Head interface {
	Index() ocispec.Index
	Manifest(digest.Digest) ([]byte, error) // a manifest or config of the head, proven
	Stat(digest.Digest) (size int64, inHead, ok bool)
}

// Source is one bundle. Where two sources tag one repository differently, the
// higher Sequence wins; where both are equal, the earlier source does.
type Source struct {
	Head     Head
	Sequence int64
}

// Entry is one reference of a bundle's index.json.
type Entry struct {
	Ref        imageref.Ref // the whole reference, as in the lock
	Kind       lock.Kind    // from the descriptor's annotation
	Components []string
	Origin     string // upstream name
	Repository string // path below a registry, see imageref.SitePath
	Tag        string // empty for a reference by digest alone
	Descriptor ocispec.Descriptor
	Source     int // index of its bundle
}

// Manifest is one manifest or index, reduced to what it takes to move it.
type Manifest struct {
	ocispec.Descriptor                      // with the artifact type and annotations the referrers API reports
	Config             *ocispec.Descriptor  // nil for an index
	Layers             []ocispec.Descriptor // as listed
	Children           []ocispec.Descriptor // all that an index lists, carried or not
	Subject            *ocispec.Descriptor
	Index              bool
	head               Head
	reach              int // manifests and blobs that it needs, itself included
}

// Bytes returns the manifest verbatim.
func (m *Manifest) Bytes() ([]byte, error) { return m.head.Manifest(m.Digest) }

// Blobs returns the config and the layers, each digest once.
func (m *Manifest) Blobs() []ocispec.Descriptor {
	var out []ocispec.Descriptor
	seen := map[digest.Digest]bool{}
	add := func(d ocispec.Descriptor) {
		if !seen[d.Digest] {
			seen[d.Digest] = true
			out = append(out, d)
		}
	}
	if m.Config != nil {
		add(*m.Config)
	}
	for _, l := range m.Layers {
		add(l)
	}
	return out
}

// Repository is one repository. Its maps must not be changed.
type Repository struct {
	Name      string
	Tags      map[string]digest.Digest
	Manifests map[digest.Digest]*Manifest
	Blobs     map[digest.Digest]ocispec.Descriptor
	Referrers map[digest.Digest][]*Manifest // by subject, sorted by digest
	Order     []digest.Digest               // manifests, children before their index
	BlobOrder []digest.Digest               // blobs, in the bundle's order
}

// TagNames returns the tags in byte order.
func (r *Repository) TagNames() []string { return sortedKeys(r.Tags) }

// Clash is a tag that two bundles give to different manifests.
type Clash struct {
	Repository, Tag string
	Kept, Dropped   digest.Digest
}

// Catalog is the union of its sources. It is immutable and safe for concurrent
// use.
type Catalog struct {
	Entries      []Entry // in the order of sources and their index.json
	Repositories map[string]*Repository
	Clashes      []Clash
	manifests    map[digest.Digest]*Manifest
	tagOwner     map[string]int64
	held         int // entries of its maps, and of those that References makes
	references   func() map[digest.Digest][]string
}

// Read makes the catalog of sources. Errors wrap ErrInvalid.
func Read(sources ...Source) (*Catalog, error) {
	c := &Catalog{
		Repositories: map[string]*Repository{},
		manifests:    map[digest.Digest]*Manifest{},
		tagOwner:     map[string]int64{},
	}
	c.references = sync.OnceValue(c.makeReferences)
	for i, s := range sources {
		if err := c.addSource(i, s); err != nil {
			return nil, err
		}
	}
	for _, r := range c.Repositories {
		for _, l := range r.Referrers {
			slices.SortFunc(l, func(a, b *Manifest) int { return cmp.Compare(a.Digest, b.Digest) })
		}
	}
	return c, nil
}

// RepositoryNames returns the repositories in byte order.
func (c *Catalog) RepositoryNames() []string { return sortedKeys(c.Repositories) }

// Manifest returns a manifest by digest, whatever repositories it is in.
func (c *Catalog) Manifest(d digest.Digest) (*Manifest, bool) {
	m, ok := c.manifests[d]
	return m, ok
}

// References returns, for every manifest and blob, the references that need it,
// sorted. The map is made once and must not be changed.
func (c *Catalog) References() map[digest.Digest][]string { return c.references() }

func (c *Catalog) makeReferences() map[digest.Digest][]string {
	out := map[digest.Digest][]string{}
	for _, e := range c.Entries {
		seen := map[digest.Digest]bool{}
		c.collectNeeded(e.Descriptor.Digest, seen)
		for d := range seen {
			out[d] = append(out[d], string(e.Ref))
		}
	}
	for _, refs := range out {
		slices.Sort(refs)
	}
	return out
}

func (c *Catalog) collectNeeded(d digest.Digest, seen map[digest.Digest]bool) {
	if seen[d] {
		return
	}
	seen[d] = true
	m, ok := c.manifests[d]
	if !ok {
		return
	}
	for _, b := range m.Blobs() {
		seen[b.Digest] = true
	}
	for _, ch := range m.Children {
		if _, carried := c.manifests[ch.Digest]; carried {
			c.collectNeeded(ch.Digest, seen)
		}
	}
}

func (c *Catalog) addSource(i int, s Source) error {
	for _, d := range s.Head.Index().Manifests {
		if d.ArtifactType == bundleArtifact || d.Annotations[ocispec.AnnotationRefName] == "" {
			continue
		}
		e, err := newEntry(i, d)
		if err != nil {
			return err
		}
		if err := c.addEntry(s, e); err != nil {
			return fmt.Errorf("reading %s: %w", e.Ref, err)
		}
	}
	return nil
}

func newEntry(i int, d ocispec.Descriptor) (Entry, error) {
	a := d.Annotations
	ref := imageref.Ref(a[ocispec.AnnotationRefName])
	tag := ref.Tag()
	e := Entry{
		Ref: ref, Kind: lock.Kind(a[lock.AnnotationKind]), Origin: a[lock.AnnotationSource],
		Repository: ref.SitePath(), Tag: tag, Descriptor: d, Source: i,
	}
	if v := a[lock.AnnotationComponent]; v != "" {
		e.Components = strings.Split(v, ",")
	}
	if !validName(e.Repository) {
		return Entry{}, fmt.Errorf("reading reference %q: its repository is not a valid name: %w", e.Ref, ErrInvalid)
	}
	if tag != "" && !validTag(tag) {
		return Entry{}, fmt.Errorf("reading reference %q: its tag is not valid: %w", e.Ref, ErrInvalid)
	}
	return e, nil
}

func (c *Catalog) addEntry(s Source, e Entry) error {
	repo := c.openRepository(e.Repository)
	if err := c.addManifests(s.Head, repo, e.Descriptor, 0); err != nil {
		return err
	}
	if c.held += c.manifests[e.Descriptor.Digest].reach; c.held > maxHeld {
		return fmt.Errorf("counting what it needs: the references need more than %d manifests and blobs: %w", maxHeld, ErrInvalid)
	}
	c.Entries = append(c.Entries, e)
	if e.Tag != "" {
		c.setTag(repo, e, s.Sequence)
	}
	return nil
}

func (c *Catalog) openRepository(name string) *Repository {
	r, ok := c.Repositories[name]
	if !ok {
		r = &Repository{
			Name: name, Tags: map[string]digest.Digest{}, Manifests: map[digest.Digest]*Manifest{},
			Blobs: map[digest.Digest]ocispec.Descriptor{}, Referrers: map[digest.Digest][]*Manifest{},
		}
		c.Repositories[name] = r
	}
	return r
}

func (c *Catalog) setTag(r *Repository, e Entry, sequence int64) {
	key := r.Name + ":" + e.Tag
	have, ok := r.Tags[e.Tag]
	switch {
	case !ok:
	case have == e.Descriptor.Digest:
		c.tagOwner[key] = max(c.tagOwner[key], sequence)
		return
	case sequence > c.tagOwner[key]:
		c.Clashes = append(c.Clashes, Clash{r.Name, e.Tag, e.Descriptor.Digest, have})
	default:
		c.Clashes = append(c.Clashes, Clash{r.Name, e.Tag, have, e.Descriptor.Digest})
		return
	}
	r.Tags[e.Tag], c.tagOwner[key] = e.Descriptor.Digest, sequence
}

// addManifests enters d and what it reaches into repo, children first.
func (c *Catalog) addManifests(h Head, repo *Repository, d ocispec.Descriptor, depth int) error {
	if _, ok := repo.Manifests[d.Digest]; ok {
		return nil
	}
	if depth > maxDepth || len(c.manifests) > maxManifests {
		return fmt.Errorf("following manifest %s: nested too deeply or too many: %w", d.Digest, ErrInvalid)
	}
	m, err := c.readManifest(h, d)
	if err != nil {
		return err
	}
	repo.Manifests[m.Digest] = m // before the children: an index cannot contain itself, but be safe
	blobs := m.Blobs()
	m.reach = 1 + len(blobs)
	for _, ch := range m.Children {
		if _, inHead, _ := h.Stat(ch.Digest); !inHead || !IsManifest(ch.MediaType) {
			continue // a sparse index
		}
		if err := c.addManifests(h, repo, ch, depth+1); err != nil {
			return err
		}
		m.reach = min(m.reach+c.manifests[ch.Digest].reach, maxHeld+1)
	}
	repo.addInOrder(m, blobs)
	return nil
}

func (r *Repository) addInOrder(m *Manifest, blobs []ocispec.Descriptor) {
	r.Order = append(r.Order, m.Digest)
	for _, b := range blobs {
		if _, ok := r.Blobs[b.Digest]; !ok {
			r.Blobs[b.Digest] = b
			r.BlobOrder = append(r.BlobOrder, b.Digest)
		}
	}
	if m.Subject != nil {
		r.Referrers[m.Subject.Digest] = append(r.Referrers[m.Subject.Digest], m)
	}
}

func (c *Catalog) readManifest(h Head, d ocispec.Descriptor) (*Manifest, error) {
	if m, ok := c.manifests[d.Digest]; ok {
		return m, nil
	}
	raw, err := h.Manifest(d.Digest)
	if err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", d.Digest, err)
	}
	m, err := ParseManifest(d.MediaType, raw)
	if err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", d.Digest, err)
	}
	if m.Size != d.Size {
		return nil, fmt.Errorf("reading manifest %s: %d bytes where its descriptor says %d: %w", d.Digest, m.Size, d.Size, ErrInvalid)
	}
	m.Digest, m.head = d.Digest, h
	c.manifests[d.Digest] = m
	return m, nil
}

// ParseManifest reads a manifest or index of the given media type, which must
// agree with what the document says of itself. Digest is left to the caller.
func ParseManifest(mediaType string, raw []byte) (*Manifest, error) {
	var doc struct {
		MediaType    string               `json:"mediaType"`
		ArtifactType string               `json:"artifactType"`
		Config       *ocispec.Descriptor  `json:"config"`
		Layers       []ocispec.Descriptor `json:"layers"`
		Manifests    []ocispec.Descriptor `json:"manifests"`
		Subject      *ocispec.Descriptor  `json:"subject"`
		Annotations  map[string]string    `json:"annotations"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("parsing JSON: %v: %w", err, ErrInvalid)
	}
	m := &Manifest{
		Descriptor: ocispec.Descriptor{MediaType: mediaType, Size: int64(len(raw)), ArtifactType: doc.ArtifactType, Annotations: doc.Annotations},
		Config:     doc.Config, Layers: doc.Layers, Children: doc.Manifests, Subject: doc.Subject, Index: IsIndex(mediaType),
	}
	switch {
	case !IsManifest(mediaType):
		return nil, fmt.Errorf("media type %q is not a manifest's: %w", mediaType, ErrInvalid)
	case doc.MediaType != "" && doc.MediaType != mediaType:
		return nil, fmt.Errorf("its descriptor says %q, the document %q: %w", mediaType, doc.MediaType, ErrInvalid)
	case m.Index && (doc.Config != nil || doc.Layers != nil), !m.Index && doc.Manifests != nil:
		return nil, fmt.Errorf("it is index and manifest at once: %w", ErrInvalid)
	case !m.Index && doc.Config == nil:
		return nil, fmt.Errorf("it has no config: %w", ErrInvalid)
	}
	if m.ArtifactType == "" && m.Config != nil {
		m.ArtifactType = m.Config.MediaType // image-spec 1.1, "listing referrers"
	}
	return m, m.checkDescriptors()
}

func (m *Manifest) checkDescriptors() error {
	all := slices.Concat(m.Layers, m.Children)
	for _, p := range []*ocispec.Descriptor{m.Config, m.Subject} {
		if p != nil {
			all = append(all, *p)
		}
	}
	for _, d := range all {
		if d.Digest.Validate() != nil || d.Size < 0 {
			return fmt.Errorf("it lists descriptor %q of %d bytes: %w", d.Digest, d.Size, ErrInvalid)
		}
	}
	return nil
}

// IsManifest says whether mediaType is a manifest or index this package reads.
func IsManifest(mediaType string) bool {
	return IsIndex(mediaType) || mediaType == ocispec.MediaTypeImageManifest || mediaType == DockerManifest
}

// IsIndex says whether mediaType is an index.
func IsIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == DockerManifestList
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
