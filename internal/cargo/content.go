package cargo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/helm"
)

// maxFile bounds what File reads.
const maxFile = 64 << 20

// ErrNotCarried: the bundle has no such reference, or not the layer that it
// should have.
var ErrNotCarried = errors.New("the bundle does not hold it")

// Chart opens the chart that a lock reference names. dg is the digest of its
// archive.
func (b *Bundle) Chart(ref imageref.Ref) (_ *helm.Chart, dg digest.Digest, _ error) {
	archive, dg, err := b.readLayer(ref, helm.MaxArchiveSize, isChart)
	if err != nil {
		return nil, "", fmt.Errorf("reading chart %s: %w", ref, err)
	}
	c, err := helm.LoadArchive(archive)
	if err != nil {
		return nil, "", fmt.Errorf("reading chart %s: %w", ref, err)
	}
	return c, dg, nil
}

// File reads the file or manifest that a lock reference names.
func (b *Bundle) File(ref imageref.Ref) (_ []byte, dg digest.Digest, _ error) {
	data, dg, err := b.readLayer(ref, maxFile, isAny)
	if err != nil {
		return nil, "", fmt.Errorf("reading file %s: %w", ref, err)
	}
	return data, dg, nil
}

func isChart(d ocispec.Descriptor) bool { return d.MediaType == lock.MediaTypeHelmChart }

func isAny(ocispec.Descriptor) bool { return true }

// readLayer reads the first layer of ref's manifest that want accepts.
func (b *Bundle) readLayer(ref imageref.Ref, limit int64, want func(ocispec.Descriptor) bool) ([]byte, digest.Digest, error) {
	root, ok := b.Find(string(ref))
	if !ok {
		return nil, "", ErrNotCarried
	}
	raw, err := b.Manifest(root.Digest)
	if err != nil {
		return nil, "", err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, "", fmt.Errorf("reading its manifest: %w", err)
	}
	for _, d := range m.Layers {
		if want(d) {
			data, err := b.readBlob(d.Digest, limit)
			return data, d.Digest, err
		}
	}
	return nil, "", ErrNotCarried
}

// readBlob reads a blob of at most limit bytes whole.
func (b *Bundle) readBlob(dg digest.Digest, limit int64) ([]byte, error) {
	blob, err := b.Open(dg)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	if blob.Size() > limit {
		return nil, fmt.Errorf("it has %d bytes, at most %d", blob.Size(), limit)
	}
	r := blob.NewReader(0, blob.Size())
	defer r.Close()
	return io.ReadAll(r)
}
