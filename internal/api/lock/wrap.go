package lock

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of what Wrap makes.
const (
	ArtifactTypeFile    = "application/vnd.caisson.file.v1"
	MediaTypeHelmConfig = "application/vnd.cncf.helm.config.v1+json"
	MediaTypeHelmChart  = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	MediaTypeProvenance = "application/vnd.cncf.helm.chart.provenance.v1.prov"
	MediaTypeManifest   = "application/yaml"         // plain Kubernetes YAML
	MediaTypeFile       = "application/octet-stream" // a file nobody knows more about
)

// Annotations of the descriptors in a bundle's index.
const (
	AnnotationKind       = "dev.caisson.kind"
	AnnotationComponent  = "dev.caisson.component"  // names, joined by commas
	AnnotationSource     = "dev.caisson.source"     // upstream name
	AnnotationRepository = "dev.caisson.repository" // a model's repository as the hub spells it
)

// Wrapped says whether the item comes without an OCI manifest of its own, so
// that Wrap makes one.
func (it *Item) Wrapped() bool {
	_, ok := it.Content.(wrapper)
	return ok
}

// Pending says whether the item's manifest depends on bytes not yet read.
func (it *Item) Pending() bool {
	d, ok := it.Content.(deferred)
	return ok && d.isPending()
}

// Wrap makes the OCI manifest and config of a chart from an HTTP repository, a
// model, a file or a plain manifest. It is a pure function of the item and of
// layer, which gives the digest of each pending layer by its slot key and may
// be nil where none is pending.
func (it *Item) Wrap(layer func(key string) digest.Digest) (manifest, config []byte, err error) {
	if w, ok := it.Content.(wrapper); ok {
		return w.wrap(layer)
	}
	return nil, nil, fmt.Errorf("wrapping %s: a %s of a registry has its own manifest", it.Ref, it.Kind)
}

func assembleManifest(m ocispec.Manifest, configType string, config []byte) ([]byte, []byte, error) {
	m.Versioned = specs.Versioned{SchemaVersion: 2}
	m.MediaType = ocispec.MediaTypeImageManifest
	m.Config = ocispec.Descriptor{MediaType: configType, Digest: digest.FromBytes(config), Size: int64(len(config))}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a manifest: %w", err)
	}
	return b, config, nil
}

// Descriptors lists the entries of a bundle's index, one for each item in the
// lock's order, and after a model's the one of its ModelPack manifest. Wrapped
// gives, by reference, the digest and size of those manifests that the lock
// leaves open; it may be nil where nothing is pending.
func (l *Lock) Descriptors(wrapped map[imageref.Ref]ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	out := make([]ocispec.Descriptor, 0, len(l.Items))
	for i := range l.Items {
		d, err := l.Items[i].rootDescriptor(wrapped)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
		if it := &l.Items[i]; it.PackRef() != "" {
			if d, err = it.packDescriptor(wrapped); err != nil {
				return nil, err
			}
			out = append(out, d)
		}
	}
	return out, nil
}

// packDescriptor describes the ModelPack manifest of a model.
func (it *Item) packDescriptor(wrapped map[imageref.Ref]ocispec.Descriptor) (ocispec.Descriptor, error) {
	d, ok := wrapped[it.PackRef()]
	if !ok {
		manifest, _, err := it.WrapPack(nil)
		if err != nil {
			return d, err
		}
		d.Digest, d.Size = digest.FromBytes(manifest), int64(len(manifest))
	}
	d.MediaType, d.ArtifactType, d.Annotations = ocispec.MediaTypeImageManifest, ArtifactTypeModelPack, it.annotations()
	d.Annotations[ocispec.AnnotationRefName] = string(it.PackRef())
	return d, nil
}

func (it *Item) rootDescriptor(wrapped map[imageref.Ref]ocispec.Descriptor) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: it.MediaType, Digest: it.Digest, Size: it.Size, Annotations: it.annotations()}
	if w, ok := wrapped[it.Ref]; ok {
		if d.Digest != "" && d.Digest != w.Digest {
			return d, fmt.Errorf("describing %s: its manifest is %s, the lock says %s", it.Ref, w.Digest, d.Digest)
		}
		d.Digest, d.Size = w.Digest, w.Size
	}
	if d.Digest == "" {
		return d, fmt.Errorf("describing %s: the digest of its manifest is not known", it.Ref)
	}
	if w, ok := it.Content.(wrapper); ok {
		d.MediaType, d.ArtifactType = ocispec.MediaTypeImageManifest, w.artifactType()
	}
	return d, nil
}

func (it *Item) annotations() map[string]string {
	a := map[string]string{
		ocispec.AnnotationRefName: string(it.Ref),
		AnnotationKind:            string(it.Kind),
		AnnotationSource:          it.Source,
	}
	if len(it.Components) > 0 {
		a[AnnotationComponent] = strings.Join(it.Components, ",")
	}
	if more, ok := it.Content.(annotated); ok {
		maps.Copy(a, more.annotations())
	}
	return a
}
