package bundle

import (
	"encoding/json"

	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// newBundleManifest describes lock, table, check values and SBOM; sbom may be
// nil.
func newBundleManifest(config, lock, table, blocks ocispec.Descriptor, sbom *ocispec.Descriptor) ocispec.Manifest {
	m := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: MediaTypeBundle,
		Config:       config,
		Layers:       []ocispec.Descriptor{lock, table, blocks},
	}
	if sbom != nil {
		m.Layers = append(m.Layers, *sbom)
	}
	return m
}

func parseBundleManifest(b []byte) (m ocispec.Manifest, err error) {
	if len(b) > maxConfig {
		return m, formatError("bundle manifest of %d bytes", len(b))
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, formatError("bundle manifest: %w", err)
	}
	if m.ArtifactType != MediaTypeBundle || m.Config.MediaType != MediaTypeConfig {
		return m, formatError("bundle manifest of type %q with config %q", m.ArtifactType, m.Config.MediaType)
	}
	return m, nil
}

// find locates the layers in the head: lock, table, check values, and an SBOM
// that may be absent, in this order.
func (p *parts) find(h *head, layers []ocispec.Descriptor) (err error) {
	types := []string{MediaTypeLock, MediaTypeTable, MediaTypeBlocks, MediaTypeSBOM}
	if len(layers) < 3 || len(layers) > len(types) {
		return formatError("bundle manifest with %d layers", len(layers))
	}
	places := []*int{&p.lock, &p.table, &p.blocks, &p.sbom}
	p.sbom = -1
	for i, l := range layers {
		if l.MediaType != types[i] {
			return formatError("layer %d of the bundle manifest is a %q", i, l.MediaType)
		}
		if *places[i], err = locate(h, l); err != nil {
			return err
		}
	}
	return nil
}

// locate finds a part of the bundle manifest in the head.
func locate(h *head, d ocispec.Descriptor) (int, error) {
	s, err := parseDigest(d.Digest)
	if err != nil {
		return 0, err
	}
	i, ok := h.find(s)
	if !ok || h.blobs[i].size != d.Size {
		return 0, formatError("%s of the bundle manifest is not in the head", d.MediaType)
	}
	return i, nil
}
