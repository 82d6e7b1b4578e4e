package lock

import (
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxHeadBlob is the size up to which a config is kept in the bundle's head;
// manifests are never larger.
const MaxHeadBlob = 4 << 20

// SourceKind says how a Source is read.
type SourceKind string

const (
	FromRegistry SourceKind = "registry" // Digest of Repository
	FromURL      SourceKind = "url"      // URL
	FromHub      SourceKind = "hub"      // the files of Repository at Commit
	FromPath     SourceKind = "path"     // Path, relative to the lock file
	FromTool     SourceKind = "tool"     // the running binary, as package agent makes an image of it
)

// SourceTool is the source of the item that package agent makes.
const SourceTool = "caisson:agent"

// ToolRepository is where that item's image lies, below the site's registry as
// everywhere.
const ToolRepository = "images.caisson.dev/caisson"

// Tool is the item of the tool's own image, or nil.
func (l *Lock) Tool() *Item {
	for i := range l.Items {
		if l.Items[i].Source == SourceTool {
			return &l.Items[i]
		}
	}
	return nil
}

// Source is one place where a blob can be fetched.
type Source struct {
	Kind       SourceKind
	Repository string // registry: with its host; hub: as the hub spells it
	URL        string
	Commit     string
	Path       string
	Digest     digest.Digest
}

// Slot is one payload blob.
type Slot struct {
	Key       string        // unique: the digest, or for a pending layer HubModel.Key
	Digest    digest.Digest // empty while pending
	Size      int64
	MediaType string
	Items     []string // refs of the items that use it, in the lock's order
	Parts     []Part   // of a model layer; nil where Sources give the blob whole
	Sources   []Source // at least one, no two equal
}

// Part is one piece of a model layer: literal bytes, or a file of the model,
// which each hub Source of the slot can give.
type Part struct {
	Literal []byte
	File    *ModelFile
	Size    int64
}

// HeadBlob is a manifest or config to fetch verbatim from a registry.
type HeadBlob struct {
	Digest    digest.Digest
	Size      int64
	MediaType string
	Source    Source
}

// HeadBlobs lists what the bundle's head carries verbatim: manifests, and
// configs of at most 4 MiB, each once, in the lock's order.
func (l *Lock) HeadBlobs() []HeadBlob {
	var out []HeadBlob
	seen := map[digest.Digest]bool{}
	l.eachManifest(func(it *Item, m *ImageManifest) {
		for _, h := range headBlobs(it, m) {
			if !seen[h.Digest] {
				seen[h.Digest] = true
				out = append(out, h)
			}
		}
	})
	return out
}

func (l *Lock) eachManifest(do func(*Item, *ImageManifest)) {
	for i := range l.Items {
		for j := range l.Items[i].Manifests {
			do(&l.Items[i], &l.Items[i].Manifests[j])
		}
	}
}

func headBlobs(it *Item, m *ImageManifest) []HeadBlob {
	out := []HeadBlob{{m.Digest, m.Size, m.MediaType, it.registry(m.Digest)}}
	if c := m.Config; c != nil && c.Size <= MaxHeadBlob {
		out = append(out, HeadBlob{c.Digest, c.Size, c.MediaType, it.registry(c.Digest)})
	}
	return out
}

func (it *Item) registry(dg digest.Digest) Source {
	repository, _, _ := SplitReference(it.Ref)
	if it.Source == SourceTool {
		return Source{Kind: FromTool, Repository: repository, Digest: dg}
	}
	return Source{Kind: FromRegistry, Repository: repository, Digest: dg}
}

// Slots lists the payload of the bundle in the lock's order, each blob once.
// What the head carries, or Wrap makes, is not payload. The lock must be valid,
// as Parse and Normalize leave it.
func (l *Lock) Slots() []Slot {
	s := slots{head: l.headDigests(), at: map[string]int{}}
	for i := range l.Items {
		s.item(&l.Items[i])
	}
	return s.list
}

// headDigests are all digests of the head that the lock alone determines.
func (l *Lock) headDigests() map[digest.Digest]bool {
	head := map[digest.Digest]bool{}
	for _, h := range l.HeadBlobs() {
		head[h.Digest] = true
	}
	for i := range l.Items {
		it := &l.Items[i]
		if !it.Wrapped() || it.Pending() {
			continue
		}
		if manifest, config, err := it.Wrap(nil); err == nil {
			head[digest.FromBytes(manifest)] = true
			head[digest.FromBytes(config)] = true
		}
	}
	return head
}

// slots collects payload blobs, each key once.
type slots struct {
	head map[digest.Digest]bool
	at   map[string]int
	list []Slot
}

func (s *slots) add(it *Item, slot Slot) {
	if slot.Digest != "" && s.head[slot.Digest] {
		return
	}
	i, known := s.at[slot.Key]
	if !known {
		i = len(s.list)
		s.at[slot.Key] = i
		s.list = append(s.list, Slot{Key: slot.Key, Digest: slot.Digest, Size: slot.Size, MediaType: slot.MediaType, Parts: slot.Parts})
	}
	have := &s.list[i]
	if n := len(have.Items); n == 0 || have.Items[n-1] != it.Ref {
		have.Items = append(have.Items, it.Ref)
	}
	if (have.Parts == nil) != (slot.Parts == nil) {
		return // one way to make a blob is enough; the first stays
	}
	for _, src := range slot.Sources {
		have.addSource(src)
	}
}

func (s *Slot) addSource(src Source) {
	for _, have := range s.Sources {
		if have == src {
			return
		}
	}
	s.Sources = append(s.Sources, src)
}

func (s *slots) item(it *Item) {
	for i := range it.Manifests {
		s.image(it, &it.Manifests[i])
	}
	switch {
	case it.HelmChart != nil:
		s.chart(it, it.HelmChart)
	case it.HubModel != nil:
		s.model(it, it.HubModel)
	case it.RawFile != nil:
		s.file(it, it.RawFile)
	}
}

func (s *slots) image(it *Item, m *ImageManifest) {
	if c := m.Config; c != nil && c.Size > MaxHeadBlob {
		s.blob(it, *c, it.registry(c.Digest))
	}
	for _, b := range m.Layers {
		s.blob(it, b, it.registry(b.Digest))
	}
}

func (s *slots) blob(it *Item, b Blob, src Source) {
	s.add(it, Slot{Key: string(b.Digest), Digest: b.Digest, Size: b.Size, MediaType: b.MediaType, Sources: []Source{src}})
}

func (s *slots) chart(it *Item, c *HelmChart) {
	s.blob(it, Blob{c.Digest, MediaTypeHelmChart, c.Size}, Source{Kind: FromURL, URL: c.URL, Digest: c.Digest})
	if p := c.Provenance; p != nil {
		s.blob(it, Blob{p.Digest, MediaTypeProvenance, p.Size}, Source{Kind: FromURL, URL: c.URL + ".prov", Digest: p.Digest})
	}
}

func (s *slots) model(it *Item, m *HubModel) {
	src := Source{Kind: FromHub, Repository: m.Repository, Commit: m.Commit}
	for i, l := range m.Layers {
		parts, err := m.parts(i)
		if err != nil {
			continue // not in a valid lock
		}
		key := string(l.Digest)
		if key == "" {
			key = m.Key(i)
		}
		s.add(it, Slot{Key: key, Digest: l.Digest, Size: l.Size, MediaType: ocispec.MediaTypeImageLayer, Parts: parts, Sources: []Source{src}})
	}
}

func (s *slots) file(it *Item, f *RawFile) {
	src := Source{Kind: FromURL, URL: f.URL, Digest: f.Digest}
	if f.URL == "" {
		src = Source{Kind: FromPath, Path: f.Path, Digest: f.Digest}
	}
	s.blob(it, Blob{f.Digest, f.MediaType, f.Size}, src)
}
