package resolve

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/registry"
)

// Bounds of what may refer to one image.
const (
	maxEvidenceDepth = 4
	maxEvidence      = 1000
)

// evidence is what refers to one image or chart: signatures, attestations,
// SBOMs, as OCI referrers and as cosign's tags.
type evidence struct {
	items   []lock.Item
	found   int      // listed by the registry
	missing int      // listed, and not there
	failed  int      // listed, and not what they are listed as
	notes   []string // about the failed and missing ones
}

func (e evidence) countCarried() int { return e.found - e.missing - e.failed }

// search collects evidence of one root.
type search struct {
	puller     *registry.Puller
	repository string
	seen       map[digest.Digest]bool
	evidence
}

// gatherEvidence finds everything that refers to the subjects, and what refers to that.
// A registry that answers with an error is one; only "not found" is an answer.
func gatherEvidence(ctx context.Context, p *registry.Puller, repository string, subjects []digest.Digest) (evidence, error) {
	s := &search{puller: p, repository: repository, seen: map[digest.Digest]bool{}}
	for _, dg := range subjects {
		if err := s.searchSubject(ctx, dg, 1); err != nil {
			return evidence{}, fmt.Errorf("looking for signatures and attestations of %s@%s: %w", repository, dg, err)
		}
	}
	return s.evidence, nil
}

func (s *search) searchSubject(ctx context.Context, dg digest.Digest, depth int) error {
	if s.seen[dg] {
		return nil
	}
	s.seen[dg] = true
	if err := s.searchReferrers(ctx, dg, depth); err != nil {
		return err
	}
	tags, err := s.puller.CosignTags(ctx, s.repository, dg)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(tags))
	for tag := range tags {
		names = append(names, tag)
	}
	sort.Strings(names)
	for _, tag := range names {
		s.found++
		if err := s.carryManifest(ctx, s.repository+":"+tag, dg, tags[tag]); err != nil {
			return err
		}
	}
	return nil
}

// searchReferrers carries the OCI referrers of dg, and the fallback tag that lists
// them on registries without the referrers API.
func (s *search) searchReferrers(ctx context.Context, dg digest.Digest, depth int) error {
	list, fallback, err := s.puller.Referrers(ctx, s.repository, dg)
	if err != nil {
		return err
	}
	if len(list) > 0 && depth > maxEvidenceDepth {
		return fmt.Errorf("referrers of referrers more than %d deep", maxEvidenceDepth)
	}
	done := map[digest.Digest]bool{}
	for _, d := range list {
		if done[d.Digest] {
			continue
		}
		done[d.Digest] = true
		if err := s.takeReferrer(ctx, dg, d.Digest, depth); err != nil {
			return err
		}
	}
	if fallback == nil {
		return nil
	}
	return s.addItem(lock.Item{
		Ref: imageref.Ref(s.repository + ":" + registry.FallbackTag(dg)), Subject: dg,
		Content: lock.Verbatim{pinIndex(*fallback)},
	})
}

func (s *search) takeReferrer(ctx context.Context, subject, dg digest.Digest, depth int) error {
	s.found++
	m, err := s.puller.Manifest(ctx, s.repository, dg)
	if errors.Is(err, registry.ErrNotFound) {
		s.missing++
		s.notes = append(s.notes, fmt.Sprintf("referrer %s of %s is listed and not there", dg, subject))
		return nil
	}
	if err != nil {
		return err
	}
	if subjectOf(m) != subject {
		s.failed++
		s.notes = append(s.notes, fmt.Sprintf("referrer %s is listed for %s and does not name it as its subject", dg, subject))
		return nil
	}
	if err := s.carryManifest(ctx, s.repository+"@"+string(dg), subject, m); err != nil {
		return err
	}
	return s.searchSubject(ctx, dg, depth+1)
}

// carryManifest takes a manifest, or an index with all its children.
func (s *search) carryManifest(ctx context.Context, ref string, subject digest.Digest, m registry.Manifest) error {
	all := newSelection(s.puller, s.repository, nil)
	if _, err := all.carryRoot(ctx, m); err != nil {
		return err
	}
	return s.addItem(lock.Item{Ref: imageref.Ref(ref), Subject: subject, Content: lock.Verbatim(all.carried)})
}

func (s *search) addItem(it lock.Item) error {
	if len(s.items) >= maxEvidence {
		return fmt.Errorf("more than %d signatures and attestations", maxEvidence)
	}
	root := it.Manifests()[0]
	it.Kind, it.Source = lock.Referrer, "docker://"+it.Ref.String()
	it.Digest, it.MediaType, it.Size = root.Digest, root.MediaType, root.Size
	s.items = append(s.items, it)
	return nil
}
