// Package content takes charts and files out of a trusted bundle, whole and in
// memory, by their lock reference.
//
// It reads small things only, each within a bound, and writes nothing. It never
// takes anything from a bundle that is not trusted.
package content

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/helm"
)

// maxFile bounds what File reads.
const maxFile = 64 << 20

// ErrMissing: the bundle has no such reference, or not the layer it should have.
var ErrMissing = errors.New("the bundle does not hold it")

// Chart opens the chart that a lock reference names. dg is the digest of its
// archive.
func Chart(t *bundle.Trusted, ref string) (_ *helm.Chart, dg digest.Digest, _ error) {
	archive, dg, err := layer(t, ref, helm.MaxArchiveSize, func(d ocispec.Descriptor) bool { return d.MediaType == lock.MediaTypeHelmChart })
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
func File(t *bundle.Trusted, ref string) (_ []byte, dg digest.Digest, _ error) {
	data, dg, err := layer(t, ref, maxFile, func(ocispec.Descriptor) bool { return true })
	if err != nil {
		return nil, "", fmt.Errorf("reading file %s: %w", ref, err)
	}
	return data, dg, nil
}

// layer reads the first layer of ref's manifest that want accepts.
func layer(t *bundle.Trusted, ref string, limit int64, want func(ocispec.Descriptor) bool) ([]byte, digest.Digest, error) {
	root, ok := t.Find(ref)
	if !ok {
		return nil, "", ErrMissing
	}
	raw, err := t.Manifest(root.Digest)
	if err != nil {
		return nil, "", err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, "", fmt.Errorf("reading its manifest: %w", err)
	}
	for _, d := range m.Layers {
		if want(d) {
			data, err := read(t, d.Digest, limit)
			return data, d.Digest, err
		}
	}
	return nil, "", ErrMissing
}

func read(t *bundle.Trusted, dg digest.Digest, limit int64) ([]byte, error) {
	b, err := t.Open(dg)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if b.Size() > limit {
		return nil, fmt.Errorf("it has %d bytes, at most %d", b.Size(), limit)
	}
	r := b.NewReader(0, b.Size())
	defer r.Close()
	return io.ReadAll(r)
}
