package resolve

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/registry"
)

// maxIndexDepth bounds indexes inside indexes; the root counts.
const maxIndexDepth = 4

// selection chooses what of one image is carried. A nil wanted carries all.
type selection struct {
	puller     *registry.Puller
	repository string
	wanted     []platform
	all        bool // carry more than what is wanted: whatever there is

	carried []lock.ImageManifest // the root first
	have    map[platform]bool
	offered map[string]bool // platforms that exist, for messages
	images  int             // image manifests met
}

func newSelection(p *registry.Puller, repository string, wanted []platform) *selection {
	return &selection{puller: p, repository: repository, wanted: wanted, all: wanted == nil, have: map[platform]bool{}, offered: map[string]bool{}}
}

// carryRoot carries what root leads to. missing are the wanted platforms that a
// single-platform image lacks while it has another.
func (s *selection) carryRoot(ctx context.Context, root registry.Manifest) (missing []string, err error) {
	if !root.Index() {
		return s.carrySingle(ctx, root)
	}
	if err := s.carryIndex(ctx, root, 1); err != nil {
		return nil, err
	}
	if len(s.carried) == 1 && s.images == 0 {
		return nil, fmt.Errorf("reading index %s: %w: it lists nothing that can be carried", root.Digest, ErrPlatform)
	}
	if lacking := s.lackingPlatforms(); s.images > 0 && len(lacking) > 0 {
		return nil, fmt.Errorf("%w: %s missing, there: %s", ErrPlatform, strings.Join(lacking, ", "), s.offeredPlatforms())
	}
	return nil, nil
}

func (s *selection) carrySingle(ctx context.Context, m registry.Manifest) ([]string, error) {
	pinned, err := pinManifest(m)
	if err != nil {
		return nil, err
	}
	p, isImage, err := s.configPlatform(ctx, pinned)
	if err != nil {
		return nil, err
	}
	if isImage && p.isKnown() {
		pinned.Platform = p.String()
		s.meetPlatform(p)
	}
	s.carried = append(s.carried, pinned)
	if !isImage || !p.isKnown() || s.wanted == nil {
		return nil, nil
	}
	lacking := s.lackingPlatforms()
	if len(lacking) == len(s.wanted) {
		return nil, fmt.Errorf("%w: it is for %s, the stack for %s", ErrPlatform, p, strings.Join(lacking, ", "))
	}
	return lacking, nil
}

// meetPlatform notes that an image for p exists and says whether it is wanted.
func (s *selection) meetPlatform(p platform) bool {
	s.images++
	s.offered[p.String()] = true
	if !s.all && !slices.Contains(s.wanted, p) {
		return false
	}
	s.have[p] = true
	return true
}

func (s *selection) lackingPlatforms() []string {
	var out []string
	for _, p := range s.wanted {
		if !s.have[p] {
			out = append(out, p.String())
		}
	}
	return out
}

func (s *selection) offeredPlatforms() string {
	var out []string
	for p := range s.offered {
		out = append(out, p)
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}

// child is one entry of an index and what is known of it.
type child struct {
	ocispec.Descriptor
	manifest *registry.Manifest // when it had to be read
	platform string             // as the lock writes it
	carry    bool
}

// carryIndex carries the index and the chosen ones of its children, in its order.
func (s *selection) carryIndex(ctx context.Context, m registry.Manifest, depth int) error {
	if depth > maxIndexDepth {
		return fmt.Errorf("reading index %s: nested more than %d deep", m.Digest, maxIndexDepth)
	}
	descriptors, err := parseIndex(m)
	if err != nil {
		return err
	}
	s.carried = append(s.carried, pinIndex(m))
	children := make([]child, len(descriptors))
	chosen := map[digest.Digest]bool{}
	for i, d := range descriptors {
		children[i] = child{Descriptor: d}
		if err := s.chooseChild(ctx, &children[i]); err != nil {
			return err
		}
		if children[i].carry {
			chosen[d.Digest] = true
		}
	}
	for i := range children {
		if c := &children[i]; c.attestsChosen(chosen) {
			c.carry, c.platform = true, attestation
		}
		if children[i].carry {
			if err := s.carryChild(ctx, &children[i], depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// attestsChosen says whether c is the attestation of a chosen image.
func (c *child) attestsChosen(chosen map[digest.Digest]bool) bool {
	return c.Annotations[annotationReferenceType] == attestationManifest &&
		chosen[digest.Digest(c.Annotations[annotationReferenceDigest])]
}

// chooseChild decides whether a child is carried, reading it when its descriptor does
// not say enough. Attestations are decided later.
func (s *selection) chooseChild(ctx context.Context, c *child) error {
	switch {
	case c.Annotations[annotationReferenceType] == attestationManifest:
		return nil
	case isIndex(c.MediaType):
		c.carry = c.Platform == nil || s.all || slices.Contains(s.wanted, platformOf(*c.Platform)) || !platformOf(*c.Platform).isKnown()
		return nil
	case c.Platform != nil && c.Platform.OS != "" && c.Platform.Architecture != "":
		if p := platformOf(*c.Platform); p.isKnown() {
			c.carry, c.platform = s.meetPlatform(p), p.String()
		} else {
			c.carry = s.all
		}
		return nil
	}
	return s.chooseByContent(ctx, c)
}

// chooseByContent reads a child without a platform: an artifact is carried, an image by
// its config's platform.
func (s *selection) chooseByContent(ctx context.Context, c *child) error {
	m, err := s.readManifest(ctx, c.Descriptor)
	if err != nil {
		return err
	}
	c.manifest = &m
	if m.Index() {
		c.carry = true
		return nil
	}
	pinned, err := pinManifest(m)
	if err != nil {
		return err
	}
	p, isImage, err := s.configPlatform(ctx, pinned)
	if err != nil {
		return err
	}
	c.carry = true
	if isImage && p.isKnown() {
		c.carry, c.platform = s.meetPlatform(p), p.String()
	}
	return nil
}

// carryChild carries one child.
func (s *selection) carryChild(ctx context.Context, c *child, depth int) error {
	if slices.ContainsFunc(s.carried, func(m lock.ImageManifest) bool { return m.Digest == c.Digest }) {
		return nil
	}
	if len(s.carried) >= maxChildren {
		return fmt.Errorf("carrying %s: more than %d manifests", s.repository, maxChildren)
	}
	if c.manifest == nil {
		m, err := s.readManifest(ctx, c.Descriptor)
		if err != nil {
			return err
		}
		c.manifest = &m
	}
	if c.manifest.Index() {
		return s.carryIndex(ctx, *c.manifest, depth+1)
	}
	pinned, err := pinManifest(*c.manifest)
	if err != nil {
		return err
	}
	pinned.Platform = c.platform
	s.carried = append(s.carried, pinned)
	return nil
}

// readManifest fetches what a descriptor names and holds it against its size.
func (s *selection) readManifest(ctx context.Context, d ocispec.Descriptor) (registry.Manifest, error) {
	m, err := s.puller.Manifest(ctx, s.repository, d.Digest)
	if err != nil {
		return m, err
	}
	if int64(len(m.Bytes)) != d.Size {
		return m, fmt.Errorf("reading manifest %s: %d bytes, its descriptor says %d", d.Digest, len(m.Bytes), d.Size)
	}
	return m, nil
}

// configPlatform reads the platform of an image's config.
func (s *selection) configPlatform(ctx context.Context, m lock.ImageManifest) (p platform, isImage bool, err error) {
	if !isImageConfig(m.Config.MediaType) || m.Config.Size > registry.MaxManifest {
		return platform{}, false, nil
	}
	data, err := s.puller.Blob(ctx, s.repository, m.Config.Digest, m.Config.Size)
	if err != nil {
		return platform{}, true, err
	}
	var config ocispec.Platform
	if err := json.Unmarshal(data, &config); err != nil {
		return platform{}, true, fmt.Errorf("reading config %s: %w", m.Config.Digest, err)
	}
	return platformOf(config), true, nil
}
