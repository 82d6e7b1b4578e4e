package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// mergeTries bounds how often a referrers tag is written when others write it
// too.
const mergeTries = 4

// EnsureReferrers makes the registry list every descriptor of want as a
// referrer of subject: where its own referrers API does not, by the referrers
// tag (distribution 1.1, "Referrers tag schema"). carried is that tag's index
// as upstream had it; it is written unchanged where it says all that is wanted
// and the tag is free. Two calls for one subject must not run at once.
func (p *Pusher) EnsureReferrers(ctx context.Context, repository string, subject digest.Digest, want []ocispec.Descriptor, carried []byte) error {
	list, err := p.apiReferrers(ctx, repository, subject)
	if err != nil {
		return err
	}
	if len(missingFrom(list, want)) == 0 {
		return nil
	}
	for range mergeTries {
		list, err := p.taggedReferrers(ctx, repository, subject)
		if err != nil {
			return err
		}
		more := missingFrom(list, want)
		if len(more) == 0 {
			return nil
		}
		raw := carried
		if len(list) > 0 || !listsExactly(carried, want) {
			raw = referrersIndex(append(list, more...))
		}
		if err := p.PutManifest(ctx, repository, FallbackTag(subject), ocispec.MediaTypeImageIndex, raw); err != nil {
			return err
		}
	}
	return fmt.Errorf("listing referrers of %s@%s: others keep writing the referrers tag", p.Address(repository), subject)
}

// missingFrom returns what of want is not in have.
func missingFrom(have, want []ocispec.Descriptor) []ocispec.Descriptor {
	seen := map[digest.Digest]bool{}
	for _, d := range have {
		seen[d.Digest] = true
	}
	var out []ocispec.Descriptor
	for _, d := range want {
		if !seen[d.Digest] {
			seen[d.Digest] = true
			out = append(out, d)
		}
	}
	return out
}

func listsExactly(carried []byte, want []ocispec.Descriptor) bool {
	if carried == nil {
		return false
	}
	list, err := parseDescriptors(carried)
	return err == nil && len(list) == len(want) && len(missingFrom(list, want)) == 0
}

func referrersIndex(list []ocispec.Descriptor) []byte {
	raw, err := json.Marshal(struct {
		SchemaVersion int                  `json:"schemaVersion"`
		MediaType     string               `json:"mediaType"`
		Manifests     []ocispec.Descriptor `json:"manifests"`
	}{2, ocispec.MediaTypeImageIndex, list})
	if err != nil {
		return nil // descriptors are plain values
	}
	return raw
}

// apiReferrers lists what the referrers API says; nothing where it is missing.
func (p *Pusher) apiReferrers(ctx context.Context, repository string, subject digest.Digest) ([]ocispec.Descriptor, error) {
	raw, header, err := p.readDocument(ctx, repository, "referrers", subject.String(), http.Header{"Accept": {ocispec.MediaTypeImageIndex}})
	if r := new(RefusedError); errors.As(err, &r) && r.Status < 500 && r.Status != http.StatusUnauthorized && r.Status != http.StatusForbidden {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if kind, _, _ := mime.ParseMediaType(header.Get("Content-Type")); kind != ocispec.MediaTypeImageIndex {
		return nil, nil
	}
	return parseDescriptors(raw) // its first page; what lies beyond is written to the tag as well, which does no harm
}

func (p *Pusher) taggedReferrers(ctx context.Context, repository string, subject digest.Digest) ([]ocispec.Descriptor, error) {
	raw, _, err := p.ReadManifest(ctx, repository, FallbackTag(subject))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseDescriptors(raw)
}
