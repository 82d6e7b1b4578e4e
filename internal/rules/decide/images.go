package decide

import (
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
)

// imageSet finds image items of a lock by the ways a reference can be written.
type imageSet struct {
	byRef    map[imageref.Ref]*lock.Item
	byDigest map[imageref.Ref]*lock.Item     // REPOSITORY@DIGEST of the root or a carried manifest
	several  map[imageref.Ref][]imageref.Ref // REPOSITORY:TAG that only pinned items bear: their references
	sorted   []imageref.Ref                  // keys of byRef
}

func newImageSet(l *lock.Lock) imageSet {
	s := imageSet{
		byRef: map[imageref.Ref]*lock.Item{}, byDigest: map[imageref.Ref]*lock.Item{}, several: map[imageref.Ref][]imageref.Ref{},
	}
	for i := range l.Items {
		it := &l.Items[i]
		if it.Kind != lock.Image {
			continue
		}
		s.byRef[it.Ref] = it
		s.byDigest[it.Ref.At(it.Digest)] = it
		for _, m := range it.Manifests() {
			if key := it.Ref.At(m.Digest); s.byDigest[key] == nil {
				s.byDigest[key] = it
			}
		}
	}
	s.addTagAliases(l)
	s.sorted = slices.Sorted(maps.Keys(s.byRef))
	return s
}

// addTagAliases lets repo:tag@digest also answer to repo:tag where nothing else does.
// Where two would, neither does.
func (s imageSet) addTagAliases(l *lock.Lock) {
	for i := range l.Items {
		it := &l.Items[i]
		tagged, pinned := it.Ref.Tagged(), it.Ref.Digest() != ""
		if it.Kind == lock.Image && it.Ref.Tag() != "" && pinned && s.byRef[tagged] == nil {
			s.several[tagged] = append(s.several[tagged], it.Ref)
		}
	}
	for tagged, refs := range s.several {
		if len(refs) == 1 {
			s.byRef[tagged] = s.byRef[refs[0]]
			delete(s.several, tagged)
		}
	}
}

// candidateRefs are the references of the items that ref could mean where it does
// not say which.
func (s imageSet) candidateRefs(ref imageref.Ref) []imageref.Ref { return s.several[ref] }

// hasExtended says whether an item's tag begins with that of ref and a dash: operators
// add to a tag before they pull, driver:580.1 becomes driver:580.1-ubuntu24.04.
func (s imageSet) hasExtended(ref imageref.Ref) bool {
	if ref == "" || ref.Digest() != "" {
		return false
	}
	at, _ := slices.BinarySearch(s.sorted, ref+"-")
	return at < len(s.sorted) && strings.HasPrefix(string(s.sorted[at]), string(ref)+"-")
}

// keyOf is the reference under which a plan has an item, or the one manifest of
// it that dg asks for.
func keyOf(it *lock.Item, dg digest.Digest) imageref.Ref {
	if dg == "" || dg == it.Digest {
		return it.Ref
	}
	return it.Ref.At(dg)
}

// findItem returns the item that a reference means, nil for none. dg is the digest
// the reference names itself, if it names one.
func (s imageSet) findItem(ref imageref.Ref) (it *lock.Item, dg digest.Digest) {
	dg = ref.Digest()
	if it := s.byRef[ref]; it != nil {
		return it, dg
	}
	if dg != "" {
		return s.byDigest[ref.At(dg)], dg
	}
	return nil, ""
}

// Checks lists what to ask the registry for: of every image of the selected
// components the root and each carried platform manifest.
func (s *Selection) Checks() []plan.Check {
	seen := map[plan.Check]bool{}
	var out []plan.Check
	for _, it := range s.imageItems() {
		path := it.Ref.SitePath()
		digests := []digest.Digest{it.Digest}
		for _, m := range it.Manifests() {
			digests = append(digests, m.Digest)
		}
		for _, d := range digests {
			if c := (plan.Check{Repository: path, Digest: d}); !seen[c] {
				seen[c] = true
				out = append(out, c)
			}
		}
	}
	return out
}

// imageItems are the image items of the selected components, in the lock's order.
func (s *Selection) imageItems() []*lock.Item {
	on := map[string]bool{}
	for _, c := range s.Components {
		on[c.Component.Name] = true
	}
	var out []*lock.Item
	for i := range s.lock.Items {
		it := &s.lock.Items[i]
		own := it.Source == lock.SourceTool && s.site.Mirrors() == plan.Mirror
		if it.Kind == lock.Image && (own || slices.ContainsFunc(it.Components, func(c string) bool { return on[c] })) {
			out = append(out, it)
		}
	}
	return out
}

// modelImages are the models of the selected components, as images.
func (s *Selection) modelImages() []plan.ModelImage {
	var out []plan.ModelImage
	for _, it := range s.modelItems() {
		out = append(out, plan.ModelImage{Ref: it.Ref, Site: s.pulledModel(it.Ref)})
	}
	return out
}

// blobSizes are the sizes of an image's blobs by digest.
func blobSizes(it *lock.Item) map[digest.Digest]int64 {
	out := map[digest.Digest]int64{}
	for _, m := range it.Manifests() {
		out[m.Digest] = m.Size
		if m.Config != nil {
			out[m.Config.Digest] = m.Config.Size
		}
		for _, l := range m.Layers {
			out[l.Digest] = l.Size
		}
	}
	return out
}

// tally sums each blob once.
type tally struct{ total, missing map[digest.Digest]int64 }

func newTally() tally {
	return tally{total: map[digest.Digest]int64{}, missing: map[digest.Digest]int64{}}
}

func (t tally) addItem(it *lock.Item, present bool) {
	sizes := blobSizes(it)
	maps.Copy(t.total, sizes)
	if !present {
		maps.Copy(t.missing, sizes)
	}
}

func (t tally) sumBytes() plan.Bytes {
	return plan.Bytes{Total: sumSizes(t.total), Missing: sumSizes(t.missing)}
}

func sumSizes(m map[digest.Digest]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}
