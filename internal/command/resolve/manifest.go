package resolve

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/registry"
)

// Bounds of what one manifest or index may list.
const (
	maxChildren = 1000
	maxLayers   = 1000
	maxBlob     = 1 << 50
)

const (
	annotationReferenceType   = "vnd.docker.reference.type"
	annotationReferenceDigest = "vnd.docker.reference.digest"
	attestationManifest       = "attestation-manifest"
	attestation               = "attestation" // Platform of an attestation manifest in a lock
)

// mediaTypeRule is the grammar of RFC 6838, section 4.2.
var mediaTypeRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$`)

// isIndex says whether a descriptor leads to an index.
func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == registry.DockerList
}

func parseIndex(m registry.Manifest) ([]ocispec.Descriptor, error) {
	var index ocispec.Index
	if err := json.Unmarshal(m.Bytes, &index); err != nil {
		return nil, fmt.Errorf("reading index %s: %w", m.Digest, err)
	}
	if len(index.Manifests) > maxChildren {
		return nil, fmt.Errorf("reading index %s: %d entries, at most %d", m.Digest, len(index.Manifests), maxChildren)
	}
	for _, d := range index.Manifests {
		if err := checkDescriptor(d); err != nil {
			return nil, fmt.Errorf("reading index %s: %w", m.Digest, err)
		}
	}
	return index.Manifests, nil
}

// pinIndex is an index as the lock lists it; its children stand beside it.
func pinIndex(m registry.Manifest) lock.ImageManifest {
	return lock.ImageManifest{Blob: lock.Blob{Digest: m.Digest, MediaType: m.MediaType, Size: int64(len(m.Bytes))}}
}

// pinManifest is an image or artifact manifest as the lock lists it.
func pinManifest(m registry.Manifest) (lock.ImageManifest, error) {
	var parsed ocispec.Manifest
	if err := json.Unmarshal(m.Bytes, &parsed); err != nil {
		return lock.ImageManifest{}, fmt.Errorf("reading manifest %s: %w", m.Digest, err)
	}
	if len(parsed.Layers) > maxLayers {
		return lock.ImageManifest{}, fmt.Errorf("reading manifest %s: %d layers, at most %d", m.Digest, len(parsed.Layers), maxLayers)
	}
	out := pinIndex(m)
	for _, d := range append([]ocispec.Descriptor{parsed.Config}, parsed.Layers...) {
		if err := checkDescriptor(d); err != nil {
			return lock.ImageManifest{}, fmt.Errorf("reading manifest %s: %w", m.Digest, err)
		}
		out.Layers = append(out.Layers, lock.Blob{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size})
	}
	out.Config = &lock.Blob{Digest: out.Layers[0].Digest, MediaType: out.Layers[0].MediaType, Size: out.Layers[0].Size}
	out.Layers = slices.Clip(out.Layers[1:])
	if len(out.Layers) == 0 {
		out.Layers = nil
	}
	return out, nil
}

// subjectOf is what a manifest or index says it refers to, "" for nothing.
func subjectOf(m registry.Manifest) digest.Digest {
	var parsed struct {
		Subject *struct {
			Digest digest.Digest `json:"digest"`
		} `json:"subject"`
	}
	if json.Unmarshal(m.Bytes, &parsed) != nil || parsed.Subject == nil {
		return ""
	}
	return parsed.Subject.Digest
}

func checkDescriptor(d ocispec.Descriptor) error {
	switch {
	case d.Digest.Validate() != nil || d.Digest.Algorithm() != digest.SHA256:
		return fmt.Errorf("descriptor digest %.100q is not a SHA-256", string(d.Digest))
	case d.Size < 0 || d.Size > maxBlob:
		return fmt.Errorf("descriptor %s: size %d", d.Digest, d.Size)
	case d.MediaType != "" && !mediaTypeRule.MatchString(d.MediaType):
		return fmt.Errorf("descriptor %s: media type %.100q is malformed", d.Digest, d.MediaType)
	case len(d.URLs) > 0 || strings.Contains(d.MediaType, ".nondistributable.") || strings.Contains(d.MediaType, ".foreign."):
		return fmt.Errorf("descriptor %s: %w", d.Digest, ErrForeign)
	}
	return nil
}

// isImageConfig says whether a config describes a container image, and so has a
// platform.
func isImageConfig(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageConfig || mediaType == "application/vnd.docker.container.image.v1+json"
}
