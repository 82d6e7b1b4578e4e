package lock

import (
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/opencontainers/go-digest"
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
	FromShipped  SourceKind = "shipped"  // Path, among what comes with the program
	FromBuild    SourceKind = "build"    // made by Build of what URL and its remotes give
	FromTool     SourceKind = "tool"     // the running binary, as package agent makes an image of it
)

// Folders of what comes with the program, in a Source's Path.
const (
	shippedCharts = "charts/"
	shippedFiles  = "stacks/"
)

// ShippedCharts is the host that charts which come with the program are named by.
const ShippedCharts = "charts.caisson.dev"

// ShippedChart is the name of the chart that comes with the program, where s is one.
func (s Source) ShippedChart() (name string, ok bool) {
	return strings.CutPrefix(s.Path, shippedCharts)
}

// ShippedFile is the path of the file among those of shipped stacks, where s is one.
func (s Source) ShippedFile() (path string, ok bool) { return strings.CutPrefix(s.Path, shippedFiles) }

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
	Build      *Build `json:",omitempty"` // build
	Digest     digest.Digest
}

// Slot is one payload blob.
type Slot struct {
	Key     string         // unique: the digest, or for a pending layer HubModel.Key
	Blob                   // its digest is empty while pending
	Items   []imageref.Ref // refs of the items that use it, in the lock's order
	Parts   []Part         // of a model layer; nil where Sources give the blob whole
	Sources []Source       // at least one, no two equal
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
	Blob
	Source Source
}

// HeadBlobs lists what the bundle's head carries verbatim: manifests, and
// configs of at most 4 MiB, each once, in the lock's order.
func (l *Lock) HeadBlobs() []HeadBlob {
	var out []HeadBlob
	seen := map[digest.Digest]bool{}
	for i := range l.Items {
		it := &l.Items[i]
		if it.Content == nil {
			continue
		}
		for _, h := range it.Content.heads(it) {
			if !seen[h.Digest] {
				seen[h.Digest] = true
				out = append(out, h)
			}
		}
	}
	return out
}

// Slots lists the payload of the bundle in the lock's order, each blob once.
// What the head carries, or Wrap makes, is not payload. The lock must be valid,
// as Parse and Normalize leave it.
func (l *Lock) Slots() []Slot {
	s := slots{head: l.headDigests(), at: map[string]int{}}
	for i := range l.Items {
		it := &l.Items[i]
		if it.Content == nil {
			continue
		}
		for _, slot := range it.Content.slots(it) {
			s.add(it, slot)
		}
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
		if it.PackRef() == "" {
			continue
		}
		if manifest, config, err := it.WrapPack(nil); err == nil {
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
		s.list = append(s.list, Slot{Key: slot.Key, Blob: slot.Blob, Parts: slot.Parts})
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

// blobSlot is the slot of a blob that comes whole.
func blobSlot(b Blob, src Source) Slot {
	return Slot{Key: string(b.Digest), Blob: b, Sources: []Source{src}}
}
