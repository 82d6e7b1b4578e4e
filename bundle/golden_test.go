package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var update = flag.Bool("update", false, "rewrite testdata/v1")

const goldenDir = "testdata/v1"

// goldenBlobs are text, so that the volumes stay small in a repository.
func goldenBlobs() [][]byte {
	line := []byte("The quick brown fox jumps over the lazy dog.\n")
	return [][]byte{
		[]byte("one small layer\n"),
		bytes.Repeat(line, (BlockSize+2*len(line))/len(line)),
		{},
		bytes.Repeat([]byte("x"), 1024),
	}
}

// golden writes the bundle that is committed under testdata/v1.
func golden(t *testing.T, dir string) {
	t.Helper()
	lock := []byte("apiVersion: caisson.dev/v1alpha1\nkind: Lock\nmetadata: {name: tiny, version: 1.2.3+build}\n")
	blobs := goldenBlobs()
	slots := make([]Slot, len(blobs))
	for i, b := range blobs {
		slots[i] = Slot{Key: digest.FromBytes(b).String(), Digest: digest.FromBytes(b), Size: int64(len(b))}
	}
	slots[1] = Slot{Key: "pending", Size: slots[1].Size}
	w, err := Create(context.Background(), dir, "tiny", digest.FromBytes(lock), slots, WriterOptions{VolumeSize: mib})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i, b := range blobs {
		sw := openSlot(t, w, i)
		if _, err := sw.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := sw.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := w.Seal(context.Background(), Contents{
		Name: "tiny", Version: "1.2.3+build", Lock: lock,
		SBOM:        []byte(`{"spdxVersion":"SPDX-2.3","name":"tiny"}`),
		Descriptors: goldenDescriptors(t, w, blobs),
	})
	if err != nil {
		t.Fatal(err)
	}
	sign(t, dir, s)
}

// goldenDescriptors makes a sparse index over one image, and a file.
func goldenDescriptors(t *testing.T, w *Writer, blobs [][]byte) []ocispec.Descriptor {
	t.Helper()
	put := func(mediaType string, v any) ocispec.Descriptor {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		w.PutMeta(b)
		return describe(mediaType, b)
	}
	layer := func(i int) ocispec.Descriptor { return describe(ocispec.MediaTypeImageLayer, blobs[i]) }
	image := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{layer(0), layer(1)}}
	image.SchemaVersion = 2
	image.Config = put(ocispec.MediaTypeImageConfig, map[string]string{"os": "linux", "architecture": "amd64"})
	index := newIndex([]ocispec.Descriptor{
		put(ocispec.MediaTypeImageManifest, image),
		describe(ocispec.MediaTypeImageManifest, []byte("a platform that is not carried")),
	})
	file := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: MediaTypeFile, Layers: []ocispec.Descriptor{layer(2), layer(3)}}
	file.SchemaVersion = 2
	file.Config = put(ocispec.MediaTypeEmptyJSON, struct{}{})
	a, b := put(ocispec.MediaTypeImageIndex, index), put(ocispec.MediaTypeImageManifest, file)
	a.Annotations = map[string]string{ocispec.AnnotationRefName: "ghcr.io/acme/web:1.2.3", AnnotationKind: "image", AnnotationSource: "docker://ghcr.io/acme/web:1.2.3"}
	b.Annotations = map[string]string{ocispec.AnnotationRefName: "files.caisson.dev/web/driver:0123456789ab", AnnotationKind: "file"}
	return []ocispec.Descriptor{a, b}
}

// TestGolden holds writer and reader to the bytes of format version 1.
func TestGolden(t *testing.T) {
	if *update {
		if err := os.RemoveAll(goldenDir); err != nil {
			t.Fatal(err)
		}
		golden(t, goldenDir)
	}
	dir := t.TempDir()
	golden(t, dir)
	if want, got := digests(t, goldenDir), digests(t, dir); !maps.Equal(want, got) {
		t.Errorf("the writer no longer writes format version 1:\ncommitted %v\nwritten   %v", want, got)
	}
	tr := openTrusted(t, goldenDir)
	if all := findings(t, tr); len(all) != 0 {
		t.Errorf("findings: %v", all)
	}
	if tr.Name() != "tiny" || tr.Version() != "1.2.3+build" || tr.Table().Volumes() != 5 || tr.Table().Len() != 4 {
		t.Errorf("read %s %s, %d volumes, %d blobs", tr.Name(), tr.Version(), tr.Table().Volumes(), tr.Table().Len())
	}
	for _, want := range goldenBlobs() {
		b, err := tr.Open(digest.FromBytes(want))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(b.NewReader(0, b.Size())); err != nil || !bytes.Equal(got, want) {
			t.Errorf("blob of %d bytes: %v", len(want), err)
		}
	}
	if _, ok := tr.Find("bundle.caisson.dev/tiny:1.2.3_build"); !ok {
		t.Error("the bundle manifest has no reference name")
	}
	if sbom, err := tr.SBOM(); err != nil || !bytes.Contains(sbom, []byte("SPDX")) {
		t.Error("SBOM:", err)
	}
}
