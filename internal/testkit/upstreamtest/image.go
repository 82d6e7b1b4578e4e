package upstreamtest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"sort"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's media types for what OCI also knows.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// artifact is a manifest or index with everything that it refers to.
type artifact struct {
	descriptor v1.Descriptor
	raw        []byte
	blobs      [][]byte
	children   []artifact
}

func newArtifact(mediaType, artifactType string, document any) artifact {
	raw := mustJSON(document)
	return artifact{
		raw: raw,
		descriptor: v1.Descriptor{
			MediaType: mediaType, ArtifactType: artifactType,
			Digest: digest.FromBytes(raw), Size: int64(len(raw)),
		},
	}
}

// layer is one layer of an image: a tar archive, compressed or not.
type layer struct {
	mediaType string
	data      []byte
	diffID    digest.Digest
}

// newLayer makes a gzip layer of the given files.
func newLayer(files map[string][]byte) layer {
	archive := tarBytes(files)
	return layer{v1.MediaTypeImageLayerGzip, gzipBytes(archive), digest.FromBytes(archive)}
}

// newUncompressedLayer returns the layer as a plain tar archive.
func newUncompressedLayer(files map[string][]byte) layer {
	archive := tarBytes(files)
	return layer{v1.MediaTypeImageLayer, archive, digest.FromBytes(archive)}
}

// describeLayer returns the layer's descriptor in the words of OCI or Docker.
func (l layer) describeLayer(docker bool) v1.Descriptor {
	d := describeData(l.mediaType, l.data)
	if docker {
		d.MediaType = dockerLayer
	}
	return d
}

func describeData(mediaType string, data []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// tarBytes returns an archive of the files and their directories, sorted.
func tarBytes(files map[string][]byte) []byte {
	names := make([]string, 0, len(files))
	seen := map[string]bool{}
	for name := range files {
		names = append(names, name)
		for dir := path.Dir(name); dir != "." && !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			names = append(names, dir+"/")
		}
	}
	sort.Strings(names)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range names {
		addToTar(w, name, 0o755, files[name])
	}
	if err := w.Close(); err != nil {
		panic(err) // writing to memory
	}
	return out.Bytes()
}

func addToTar(w *tar.Writer, name string, mode int64, data []byte) {
	h := &tar.Header{Name: name, Mode: mode, ModTime: fixedTime, Format: tar.FormatUSTAR, Typeflag: tar.TypeDir}
	if name[len(name)-1] != '/' {
		h.Typeflag, h.Size = tar.TypeReg, int64(len(data))
	}
	if err := w.WriteHeader(h); err != nil {
		panic(err) // names and sizes are ours
	}
	if _, err := w.Write(data); err != nil {
		panic(err) // writing to memory
	}
}

// imageSpec says what an image is made of.
type imageSpec struct {
	arch       string
	entrypoint string
	docker     bool // image manifest v2, schema 2
	layers     []layer
}

// buildImage returns the image with its config.
func (s imageSpec) buildImage() artifact {
	config := mustJSON(s.imageConfig())
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	m.Config = describeData(v1.MediaTypeImageConfig, config)
	if s.docker {
		m.MediaType, m.Config.MediaType = dockerManifest, dockerConfig
	}
	blobs := [][]byte{config}
	for _, l := range s.layers {
		m.Layers = append(m.Layers, l.describeLayer(s.docker))
		blobs = append(blobs, l.data)
	}
	a := newArtifact(m.MediaType, "", m)
	a.blobs = blobs
	a.descriptor.Platform = &v1.Platform{OS: "linux", Architecture: s.arch}
	return a
}

func (s imageSpec) imageConfig() v1.Image {
	created := fixedTime
	img := v1.Image{
		Created:  &created,
		Platform: v1.Platform{OS: "linux", Architecture: s.arch},
		Config:   v1.ImageConfig{Entrypoint: []string{s.entrypoint}, Env: []string{"PATH=/bin"}},
		RootFS:   v1.RootFS{Type: "layers"},
	}
	for range s.layers {
		img.History = append(img.History, v1.History{Created: &created, CreatedBy: "COPY . /"})
	}
	for _, l := range s.layers {
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, l.diffID)
	}
	return img
}

// newIndex returns an index over the children in their order.
func newIndex(children ...artifact) artifact {
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, c := range children {
		index.Manifests = append(index.Manifests, c.descriptor)
	}
	a := newArtifact(v1.MediaTypeImageIndex, "", index)
	a.children = children
	return a
}

// buildKitAttestation returns a manifest as BuildKit adds to an index for one of its
// images: an image for no platform that holds an in-toto statement.
func buildKitAttestation(image artifact) artifact {
	const predicate = "https://slsa.dev/provenance/v0.2"
	statement := mustJSON(map[string]any{
		"_type":         "https://in-toto.io/Statement/v0.1",
		"predicateType": predicate,
		"subject": []any{map[string]any{
			"name":   "pkg:docker/acme/web?platform=linux%2F" + image.descriptor.Platform.Architecture,
			"digest": map[string]string{"sha256": image.descriptor.Digest.Encoded()},
		}},
		"predicate": map[string]any{
			"builder":   map[string]string{"id": "https://build.acme.example"},
			"buildType": "https://mobyproject.org/buildkit@v1",
		},
	})
	config := mustJSON(v1.Image{
		Platform: v1.Platform{OS: "unknown", Architecture: "unknown"},
		RootFS:   v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(statement)}},
	})
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	m.Config = describeData(v1.MediaTypeImageConfig, config)
	m.Layers = []v1.Descriptor{describeData("application/vnd.in-toto+json", statement)}
	m.Layers[0].Annotations = map[string]string{"in-toto.io/predicate-type": predicate}
	a := newArtifact(m.MediaType, "", m)
	a.blobs = [][]byte{config, statement}
	a.descriptor.Platform = &v1.Platform{OS: "unknown", Architecture: "unknown"}
	a.descriptor.Annotations = map[string]string{
		"vnd.docker.reference.type":   "attestation-manifest",
		"vnd.docker.reference.digest": image.descriptor.Digest.String(),
	}
	return a
}

// attachedSBOM returns a manifest that attaches an SPDX document to subject.
func attachedSBOM(subject artifact, name string) artifact {
	const mediaType = "application/spdx+json"
	document := mustJSON(map[string]any{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
		"documentNamespace": "https://acme.example/spdx/" + hexSum(subject.raw)[:16],
		"creationInfo":      map[string]any{"created": "2024-01-02T03:04:05Z", "creators": []string{"Tool: acme-build"}},
		"packages": []any{map[string]any{
			"SPDXID": "SPDXRef-Package", "name": name, "versionInfo": "1.2.3", "downloadLocation": "NOASSERTION",
		}},
	})
	to := subject.descriptor
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: mediaType,
		Config:  v1.DescriptorEmptyJSON,
		Layers:  []v1.Descriptor{describeData(mediaType, document)},
		Subject: &v1.Descriptor{MediaType: to.MediaType, Digest: to.Digest, Size: to.Size},
	}
	m.Config.Data = nil
	a := newArtifact(m.MediaType, mediaType, m)
	a.blobs = [][]byte{v1.DescriptorEmptyJSON.Data, document}
	return a
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
