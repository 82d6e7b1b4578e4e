package bundle

import (
	"encoding/json"

	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// newBundleManifest describes the parts of a bundle, in the order that parts.find requires.
func newBundleManifest(config ocispec.Descriptor, layers []ocispec.Descriptor) ocispec.Manifest {
	return ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: MediaTypeBundle,
		Config:       config,
		Layers:       layers,
	}
}

func parseBundleManifest(b []byte) (m ocispec.Manifest, err error) {
	if err := json.Unmarshal(b, &m); err != nil {
		return m, formatError("bundle manifest: %w", err)
	}
	if m.ArtifactType != MediaTypeBundle || m.Config.MediaType != MediaTypeConfig {
		return m, formatError("bundle manifest of type %q with config %q", m.ArtifactType, m.Config.MediaType)
	}
	return m, nil
}

// parts are the head blobs that the bundle manifest names, by index in the head;
// -1 where it names none.
type parts struct{ lock, table, blocks, sbom int }

// findLayers locates the layers in the head. Each occurs once, in this order; check
// values and SBOM may be absent.
func (p *parts) findLayers(h *head, layers []ocispec.Descriptor) (err error) {
	for _, part := range []struct {
		mediaType string
		required  bool
		place     *int
	}{
		{MediaTypeLock, true, &p.lock},
		{MediaTypeTable, true, &p.table},
		{MediaTypeBlocks, false, &p.blocks},
		{MediaTypeSBOM, false, &p.sbom},
	} {
		*part.place = -1
		if len(layers) > 0 && layers[0].MediaType == part.mediaType {
			if *part.place, err = findPart(h, layers[0]); err != nil {
				return err
			}
			layers = layers[1:]
		} else if part.required {
			return formatError("bundle manifest without %s in its place", part.mediaType)
		}
	}
	if len(layers) > 0 {
		return formatError("bundle manifest with unknown layer %q", layers[0].MediaType)
	}
	return nil
}

// findPart finds a part of the bundle manifest in the head.
func findPart(h *head, d ocispec.Descriptor) (int, error) {
	s, err := parseDigest(d.Digest)
	if err != nil {
		return 0, err
	}
	i, ok := h.findBlob(s)
	if !ok || h.blobs[i].size != d.Size {
		return 0, formatError("%s of the bundle manifest is not in the head", d.MediaType)
	}
	return i, nil
}
