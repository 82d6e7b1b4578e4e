package resolve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/listing"
	"github.com/caisson/caisson/internal/rules/document"
	"github.com/caisson/caisson/internal/rules/lint"
)

// declareImage notes an image that the stack names itself.
func (s *session) declareImage(i, j int) {
	comp := &s.stack.Components[i]
	at := stackField{
		field: fmt.Sprintf("components[%d].images[%d]", i, j),
		what:  fmt.Sprintf("component %s: image %s", comp.Name, comp.Images[j]),
	}
	ref, err := comp.Image(j)
	if err != nil {
		s.addProblem(at, err)
		return
	}
	s.found.addImage(ref, comp.Name, "stack", at, true)
}

// discoverImages notes the images of rendered documents, and what would call out. at is the chart or manifest
// they come from.
func (s *session) discoverImages(docs []document.Document, component, by string, at stackField) {
	if !s.withTests {
		docs = document.WithoutTests(docs)
	}
	sites, err := document.Read(docs)
	if err != nil {
		s.addProblem(at, err)
		return
	}
	s.found.lint(component, lint.Check(sites))
	s.found.addDefinitions(component, sites)
	for _, f := range document.Images(sites) {
		certain := f.Certainty == document.Certain
		if !certain {
			s.found.addSuspect(suspect{component: component, site: f})
		}
		if !certain && f.Certainty != document.Joined {
			continue
		}
		where := at
		where.what = fmt.Sprintf("%s: %s line %d: image %s", at.what, f.Template, f.Line, f.Ref)
		ref, err := f.Image()
		if err != nil {
			s.addProblem(where, err)
			continue
		}
		if ref.Host() == lock.HubHost && f.IsModelAddress() { // no registry has it before the bundle
			continue
		}
		s.found.addImage(ref, component, by, where, certain)
	}
}

// imageTasks resolve the images that registries have.
func (s *session) imageTasks() []task {
	return s.taskPerImage(func(ref imageref.Ref) bool { return ref.Host() != lock.HubHost })
}

// hubImageTasks resolve what is named as an image of the hub's host and is no model of
// the stack. They come when the models are known.
func (s *session) hubImageTasks() []task {
	return s.taskPerImage(func(ref imageref.Ref) bool {
		return ref.Host() == lock.HubHost && s.models.refs[string(ref)] == nil
	})
}

func (s *session) taskPerImage(wanted func(imageref.Ref) bool) []task {
	var out []task
	for _, ref := range slices.Sorted(maps.Keys(s.found.images)) {
		if wanted(ref) {
			out = append(out, func(ctx context.Context) { s.resolveImage(ctx, ref, s.found.images[ref]) })
		}
	}
	return out
}

// resolveImage pins one image and gathers what refers to it.
func (s *session) resolveImage(ctx context.Context, ref imageref.Ref, w *wantedImage) {
	s.resolveItem(lock.Image, string(ref), w.firstPlace(), func() (int64, evidence, error) {
		pinned, err := s.pinImage(ctx, ref, s.wantedPlatforms(w))
		if !w.certain && errors.Is(err, registry.ErrNotFound) {
			s.found.missing(ref)
			return 0, evidence{}, nil
		}
		if err != nil {
			return 0, evidence{}, err
		}
		for _, p := range pinned.lacking {
			s.warn(string(ref), fmt.Sprintf("it is for %s alone; the stack also has %s", pinned.manifests[0].Platform, p))
		}
		root := pinned.manifests[0]
		s.found.addItem(lock.Item{
			Ref: ref, Kind: lock.Image, Source: string("docker://" + ref), FoundBy: sortedKeys(w.by),
			Digest: root.Digest, MediaType: root.MediaType, Size: root.Size, Content: lock.Verbatim(pinned.manifests),
		}, sortedKeys(w.components)...)
		found, err := s.gatherEvidence(ctx, ref, pinned.manifests, sortedKeys(w.components))
		return payloadSize(pinned.manifests), found, err
	})
}

// firstPlace is the place that names the image first; the others follow in words.
func (w *wantedImage) firstPlace() stackField {
	sort.Slice(w.places, func(i, j int) bool {
		if w.places[i].field != w.places[j].field {
			return w.places[i].field < w.places[j].field
		}
		return w.places[i].what < w.places[j].what
	})
	at := w.places[0]
	if n := len(slices.CompactFunc(slices.Clone(w.places), func(a, b stackField) bool { return a == b })) - 1; n > 0 {
		at.what += fmt.Sprintf(" (and %s)", listing.More(n, "place"))
	}
	return at
}

// pinnedImage is one image at one digest.
type pinnedImage struct {
	manifests []lock.ImageManifest
	lacking   []string // wanted platforms a single-platform image is not for
}

// wantedPlatforms are the platforms that an image is carried for: a driver's are those of
// the nodes it drives.
func (s *session) wantedPlatforms(w *wantedImage) []platform {
	if len(w.by) == 1 && w.by[byNodes] {
		return w.only
	}
	return s.platforms
}

// pinImage reads what a whole reference stands for. A reference with both a tag
// and a digest must agree with itself.
func (s *session) pinImage(ctx context.Context, ref imageref.Ref, wanted []platform) (pinnedImage, error) {
	root, err := s.puller.Resolve(ctx, ref)
	if err != nil {
		return pinnedImage{}, s.askTagInstead(ctx, ref, err)
	}
	if ref.Tag() != "" && ref.Digest() != "" {
		s.checkTag(ctx, ref)
	}
	return s.images.do(fmt.Sprint(ref.At(root.Digest), wanted), func() (pinnedImage, error) {
		sel := newSelection(s.puller, ref.Repository(), wanted)
		sel.all = s.allPlatforms
		lacking, err := sel.carryRoot(ctx, root)
		return pinnedImage{sel.carried, lacking}, err
	})
}

// askTagInstead says what an upstream gives for the tag of a reference whose digest it
// does not have. Other errors stay as they are.
func (s *session) askTagInstead(ctx context.Context, ref imageref.Ref, err error) error {
	switch {
	case ref.Digest() == "":
		return err
	case errors.Is(err, registry.ErrDigest):
		return fmt.Errorf("%w: %w", stack.ErrDiffers, err)
	case ref.Tag() == "" || !errors.Is(err, registry.ErrNotFound):
		return err
	}
	m, tagErr := s.puller.Resolve(ctx, ref.Tagged())
	if tagErr != nil || m.Digest == ref.Digest() {
		return err
	}
	return &stack.DiffersError{Want: string(ref.Digest()), Got: string(m.Digest)}
}

// checkTag warns when a tag has moved away from the digest beside it. The
// digest decides.
func (s *session) checkTag(ctx context.Context, pinned imageref.Ref) {
	ref, dg := pinned.Tagged(), pinned.Digest()
	m, err := s.puller.Resolve(ctx, ref)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		s.warn(string(ref), fmt.Sprintf("the tag of %s@%s is gone upstream", ref, dg))
	case err == nil && m.Digest != dg:
		s.warn(string(ref), fmt.Sprintf("the tag of %s@%s is now %s upstream", ref, dg, m.Digest))
	}
}

// gatherEvidence finds the evidence of what is carried of one root and adds it to what
// the session found.
func (s *session) gatherEvidence(ctx context.Context, ref imageref.Ref, manifests []lock.ImageManifest, components []string) (evidence, error) {
	found, err := s.evidence.do(string(ref.At(manifests[0].Digest)), func() (evidence, error) {
		subjects := make([]digest.Digest, len(manifests))
		for i, m := range manifests {
			subjects[i] = m.Digest
		}
		e, err := gatherEvidence(ctx, s.puller, ref.Repository(), subjects)
		if err == nil {
			s.found.addEvidence(e)
		}
		for _, note := range e.notes {
			s.warn(string(ref), note)
		}
		return e, err
	})
	for _, it := range found.items {
		s.found.addItem(it, components...)
	}
	return found, err
}

// payloadSize is the size of all blobs of some manifests, each counted once.
func payloadSize(manifests []lock.ImageManifest) int64 {
	seen := map[digest.Digest]bool{}
	var total int64
	for _, m := range manifests {
		for _, b := range m.Layers {
			if !seen[b.Digest] {
				seen[b.Digest] = true
				total += b.Size
			}
		}
	}
	return total
}
