package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/cargo/catalog"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/event"
)

var fallbackTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}$`)

// aims are what the registry shall have in the end.
type aims struct {
	allTags []tag           // to set as they are
	wanted  map[target]tag  // the first of them that names a manifest
	merged  map[target]bool // indexes of referrers tags: merged with what the registry has
}

func newAims(c *catalog.Catalog) aims {
	a := aims{wanted: map[target]tag{}, merged: map[target]bool{}}
	for _, repository := range c.RepositoryNames() {
		r := c.Repositories[repository]
		for _, name := range r.TagNames() {
			p := target{r.Name, r.Tags[name]}
			if m := r.Manifests[p.digest]; fallbackTag.MatchString(name) && m != nil && m.Index {
				a.merged[p] = true
				continue
			}
			a.allTags = append(a.allTags, tag{r, name})
			if _, ok := a.wanted[p]; !ok {
				a.wanted[p] = tag{r, name}
			}
		}
	}
	for p := range a.wanted {
		delete(a.merged, p) // an image that somebody tagged like a referrers tag as well
	}
	return a
}

// pushManifests pushes what is missing, children before the indexes that name them.
func (l *loader) pushManifests(ctx context.Context) error {
	levels := map[int][]target{}
	for _, p := range l.missingManifests() {
		n := l.depth(p)
		levels[n] = append(levels[n], p)
	}
	for _, n := range slices.Sorted(maps.Keys(levels)) {
		if err := each(ctx, l.opt.Workers, levels[n], l.pushManifest); err != nil {
			return err
		}
	}
	return nil
}

// depth is 0 for a manifest, and for an index one more than its deepest child.
func (l *loader) depth(p target) int {
	m := l.catalog.Repositories[p.repository].Manifests[p.digest]
	if m == nil || !m.Index {
		return 0
	}
	n := 0
	for _, c := range m.Children {
		n = max(n, l.depth(target{p.repository, c.Digest}))
	}
	return n + 1
}

// pushManifest writes one manifest, under a tag if it has one.
func (l *loader) pushManifest(ctx context.Context, p target) error {
	r := l.catalog.Repositories[p.repository]
	m := r.Manifests[p.digest]
	reference := p.digest.String()
	t, tagged := l.wanted[p]
	if tagged {
		reference = t.name
	}
	err := l.putManifest(ctx, p.repository, reference, m)
	if refusal := new(registry.RefusedError); errors.As(err, &refusal) && refusal.Incomplete() && isSparse(r, m) {
		return l.substituteIndex(r, m, refusal)
	}
	if err != nil {
		return err
	}
	l.noteWritten(p, t, tagged)
	return nil
}

func (l *loader) putManifest(ctx context.Context, repository, reference string, m *catalog.Manifest) error {
	raw, err := m.Bytes()
	if err != nil {
		return err
	}
	return l.pusher.PutManifest(ctx, repository, reference, m.MediaType, raw)
}

func (l *loader) noteWritten(p target, t tag, tagged bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.have[p] = true
	l.result.Manifests++
	if tagged {
		l.tagged[t.key()] = p.digest
		l.wrote = append(l.wrote, t)
	} else {
		l.written = append(l.written, p)
	}
}

// isSparse says whether an index lists manifests that the bundle does not carry,
// or that the registry refused in turn.
func isSparse(r *catalog.Repository, m *catalog.Manifest) bool {
	for _, c := range m.Children {
		if _, carried := r.Manifests[c.Digest]; !carried || catalog.IsIndex(c.MediaType) {
			return true
		}
	}
	return false
}

// child stands in for an index that the registry refused.
type child struct {
	digest    digest.Digest
	platform  string
	platforms map[string]digest.Digest
	order     []string // platforms as the index lists them
}

// substituteIndex picks the manifest that stands for a sparse index.
func (l *loader) substituteIndex(r *catalog.Repository, m *catalog.Manifest, refusal error) error {
	c := l.chooseChild(r, m)
	if c.digest == "" {
		return fmt.Errorf("pushing index %s: nothing of it can stand in its place: %w", l.pusher.Address(r.Name)+"@"+m.Digest.String(), refusal)
	}
	l.mu.Lock()
	l.children[target{r.Name, m.Digest}] = c
	l.mu.Unlock()
	item := l.pusher.Address(r.Name) + "@" + m.Digest.String()
	if refs := l.refs()[m.Digest]; len(refs) > 0 {
		item = refs[0]
	}
	why := "the bundle carries some of its platforms, and this registry takes an index only with all of them"
	hint := "allow sparse indexes in the registry (distribution: validation.manifests.indexes.platforms: none), or resolve with --all-platforms"
	if len(c.platforms) > 1 {
		why += "; nodes of the other platforms cannot pull by this tag"
	}
	l.sink.Emit(event.Event{Verb: Verb, Kind: event.FindingKind, Item: item, Finding: &event.Finding{
		Severity: event.Warn, Code: event.CodeSparseIndex, Item: item, Blob: m.Digest.String(), Why: why, Hint: hint,
		What: fmt.Sprintf("the registry refuses the index; its tags name the %s manifest %s instead", cmp.Or(c.platform, "first"), c.digest),
	}})
	return nil
}

// chooseChild collects the platforms of an index and chooses the first that the
// bundles were made for.
func (l *loader) chooseChild(r *catalog.Repository, m *catalog.Manifest) child {
	c := child{platforms: map[string]digest.Digest{}}
	l.gatherPlatforms(r, m, &c)
	for _, p := range slices.Concat(l.platforms(), c.order) {
		if d, ok := c.platforms[p]; ok {
			c.digest, c.platform = d, p
			break
		}
	}
	return c
}

func (l *loader) gatherPlatforms(r *catalog.Repository, m *catalog.Manifest, c *child) {
	for _, d := range m.Children {
		sub, carried := r.Manifests[d.Digest]
		name := platformName(d.Platform)
		switch {
		case !carried || name == "unknown/unknown":
		case sub.Index:
			l.gatherPlatforms(r, sub, c)
		case c.platforms[name] == "":
			c.platforms[name] = d.Digest
			c.order = append(c.order, name)
		}
	}
}

func platformName(p *ocispec.Platform) string {
	if p == nil {
		return ""
	}
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	return name
}

// platforms are those of the bundles' locks, the first bundle's first.
func (l *loader) platforms() []string {
	var out []string
	for _, b := range l.bundles {
		out = append(out, b.Lock().Platforms...)
	}
	return out
}

// standIn returns the manifest that the registry has for d: d, or its stand-in.
func (l *loader) standIn(repository string, d digest.Digest) digest.Digest {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.children[target{repository, d}]; ok {
		return c.digest
	}
	return d
}

// pushTags sets every tag that does not stand yet where it should.
func (l *loader) pushTags(ctx context.Context) error {
	return each(ctx, l.opt.Workers, l.allTags, func(ctx context.Context, t tag) error {
		want := l.standIn(t.repository.Name, t.repository.Tags[t.name])
		if l.tagTarget(t) == want {
			return nil
		}
		if err := l.putManifest(ctx, t.repository.Name, t.name, t.repository.Manifests[want]); err != nil {
			return err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.tagged[t.key()] = want
		l.wrote = append(l.wrote, t)
		return nil
	})
}

func (l *loader) tagTarget(t tag) digest.Digest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tagged[t.key()]
}

// subject is a manifest with referrers.
type subject struct {
	repository *catalog.Repository
	digest     digest.Digest
}

// listReferrers makes the registry list every referrer, one worker to a subject.
func (l *loader) listReferrers(ctx context.Context) error {
	var all []subject
	for _, r := range l.repositories() {
		for d := range r.Referrers {
			all = append(all, subject{r, d})
		}
	}
	return each(ctx, l.opt.Workers, all, func(ctx context.Context, s subject) error {
		var want []ocispec.Descriptor
		for _, m := range s.repository.Referrers[s.digest] {
			want = append(want, m.Descriptor)
		}
		return l.pusher.EnsureReferrers(ctx, s.repository.Name, s.digest, want, s.carriedTag())
	})
}

// carriedTag is the index of the subject's referrers tag, nil if there is none.
func (s subject) carriedTag() []byte {
	m, ok := s.repository.Manifests[s.repository.Tags[registry.FallbackTag(s.digest)]]
	if !ok || !m.Index {
		return nil
	}
	raw, err := m.Bytes()
	if err != nil {
		return nil
	}
	return raw
}

// readBack asks for everything written: what is tagged is read and hashed, the
// rest is compared by the digest that the registry states.
func (l *loader) readBack(ctx context.Context) error {
	err := each(ctx, l.opt.Workers, l.wrote, func(ctx context.Context, t tag) error {
		raw, _, err := l.pusher.ReadManifest(ctx, t.repository.Name, t.name)
		if err != nil {
			return err
		}
		return l.compareDigests(t.repository.Name, ":"+t.name, digest.FromBytes(raw), l.tagTarget(t))
	})
	if err != nil {
		return err
	}
	return each(ctx, l.opt.Workers, l.written, func(ctx context.Context, p target) error {
		got, err := l.pusher.ManifestDigest(ctx, p.repository, p.digest.String())
		if err != nil {
			return err
		}
		return l.compareDigests(p.repository, "@"+p.digest.String(), got, p.digest)
	})
}

func (l *loader) compareDigests(repository, reference string, got, want digest.Digest) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("reading back %s%s: %w: it is %q, not %s", l.pusher.Address(repository), reference, registry.ErrDigest, got, want)
}

// listChildren reports the stand-ins by reference.
func (l *loader) listChildren() []registry.Child {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []registry.Child
	for _, e := range l.catalog.Entries {
		c, ok := l.children[target{e.Repository, e.Descriptor.Digest}]
		if !ok {
			continue
		}
		out = append(out, registry.Child{
			Reference: string(e.Ref), Repository: e.Repository, Tag: e.Tag, Index: e.Descriptor.Digest,
			Digest: c.digest, Platform: c.platform, Platforms: c.platforms,
		})
	}
	slices.SortFunc(out, func(a, b registry.Child) int { return cmp.Compare(a.Reference, b.Reference) })
	return out
}
