package bundletest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
)

const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

func volumeName(name string, n int) string { return fmt.Sprintf("%s.vol-%05d.tar", name, n) }

// builder collects content and items.
type builder struct {
	*Bundle
	salt  string
	items []lock.Item
}

func (b *builder) putBlob(data []byte, mediaType string) ocispec.Descriptor {
	d := digest.FromBytes(data)
	b.Content[d] = data
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func (b *builder) putJSON(v any, mediaType string) ocispec.Descriptor {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain values
	}
	return b.putBlob(data, mediaType)
}

// Random returns n bytes that follow from seed.
func Random(seed string, n int) []byte {
	out := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(out)
	return out
}

// makeArchive makes a tar of one file and compresses it without effort.
func makeArchive(name string, data []byte) (compressed []byte, diffID digest.Digest) {
	var plain, out bytes.Buffer
	t := tar.NewWriter(&plain)
	_ = t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Format: tar.FormatUSTAR})
	_, _ = t.Write(data)
	_ = t.Close()
	z, _ := gzip.NewWriterLevel(&out, gzip.NoCompression) // it is random
	_, _ = z.Write(plain.Bytes())
	_ = z.Close()
	return out.Bytes(), digest.FromBytes(plain.Bytes())
}

// layer is a compressed layer and its diff id.
type layer struct {
	ocispec.Descriptor
	diffID digest.Digest
}

func (b *builder) makeLayer(name string, size int) layer {
	data, diffID := makeArchive(name, Random(name, size))
	return layer{b.putBlob(data, ocispec.MediaTypeImageLayerGzip), diffID}
}

// makeImage makes an image manifest and what the lock says of it.
func (b *builder) makeImage(arch string, docker bool, layers ...layer) lock.ImageManifest {
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: arch}, RootFS: ocispec.RootFS{Type: "layers"}}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	configType := ocispec.MediaTypeImageConfig
	if docker {
		m.MediaType, configType = dockerManifest, dockerConfig
	}
	for _, l := range layers {
		if docker {
			l.MediaType = dockerLayer
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
		m.Layers = append(m.Layers, l.Descriptor)
	}
	m.Config = b.putJSON(config, configType)
	return b.putManifest(m, "linux/"+arch)
}

func (b *builder) putManifest(m ocispec.Manifest, platform string) lock.ImageManifest {
	m.SchemaVersion = 2
	d := b.putJSON(m, m.MediaType)
	out := lock.ImageManifest{Blob: *blobOf(d), Platform: platform, Config: blobOf(m.Config)}
	for _, l := range m.Layers {
		out.Layers = append(out.Layers, *blobOf(l))
	}
	return out
}

func blobOf(d ocispec.Descriptor) *lock.Blob {
	return &lock.Blob{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size}
}

// makeIndex makes an index of images; those in absent are listed and not carried.
func (b *builder) makeIndex(carried []lock.ImageManifest, absent ...ocispec.Descriptor) lock.ImageManifest {
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, m := range carried {
		d := ocispec.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size}
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: m.Platform[len("linux/"):]}
		idx.Manifests = append(idx.Manifests, d)
	}
	idx.Manifests = append(idx.Manifests, absent...)
	d := b.putJSON(idx, idx.MediaType)
	return lock.ImageManifest{Blob: *blobOf(d)}
}

func (b *builder) addItem(kind lock.Kind, ref, source string, component string, ms ...lock.ImageManifest) *lock.Item {
	it := lock.Item{Ref: imageref.Ref(ref), Kind: kind, Components: []string{component}, Source: source}
	if len(ms) > 0 {
		it.Content = lock.Verbatim(ms)
		it.Digest, it.MediaType, it.Size = ms[0].Digest, ms[0].MediaType, ms[0].Size
	}
	b.items = append(b.items, it)
	return &b.items[len(b.items)-1]
}

func (b *builder) makeLock(name, version string) *lock.Lock {
	b.addImages()
	b.addEvidence()
	b.addCharts()
	b.addModel()
	b.addFiles()
	l := &lock.Lock{
		Metadata: lock.Metadata{Name: name, Version: version}, Platforms: []string{"linux/amd64"},
		Components: []lock.Component{{Name: "gpu"}, {Name: "web", Namespace: "web"}}, Items: b.items,
	}
	if err := l.Normalize(); err != nil {
		panic(err)
	}
	return l
}

func (b *builder) addImages() {
	base := b.makeLayer("base", 9<<20) // three blocks
	app := b.makeLayer("app"+b.salt, 300<<10)
	web := b.makeImage("amd64", false, base, app)
	arm := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("not carried"), Size: 500,
		Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"}}
	index := b.makeIndex([]lock.ImageManifest{web}, arm)
	b.WebIndex, b.WebAMD64 = index.Digest, web.Digest
	b.addItem(lock.Image, Web, "docker://"+Web, "web", index, web)

	x, y := b.makeImage("amd64", false, b.makeLayer("full amd64", 200<<10)), b.makeImage("arm64", false, b.makeLayer("full arm64", 200<<10))
	full := b.makeIndex([]lock.ImageManifest{x, y})
	b.FullIndex = full.Digest
	b.addItem(lock.Image, Full, "docker://"+Full, "web", full, x, y)
	b.addItem(lock.Image, Tool, "docker://"+Tool, "web", b.makeImage("amd64", true, base, b.makeLayer("tool", 100<<10)))
}

// addEvidence adds a cosign signature tag, an SBOM referrer and its fallback tag.
func (b *builder) addEvidence() {
	subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: b.WebIndex, Size: int64(len(b.Content[b.WebIndex]))}
	empty := b.putBlob([]byte("{}"), ocispec.MediaTypeEmptyJSON)
	sbom := b.putManifest(ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/spdx+json", Config: empty, Subject: &subject,
		Layers: []ocispec.Descriptor{
			b.putBlob([]byte(`{"spdxVersion":"SPDX-2.3","name":"web"}`), "application/spdx+json"),
		},
	}, "")
	b.SBOM = sbom.Digest
	repository, tag := "ghcr.io/acme/web", "sha256-"+b.WebIndex.Encoded()
	referrer := b.addItem(lock.Referrer, repository+"@"+sbom.Digest.String(), "docker://"+repository, "web", sbom)
	referrer.Subject = b.WebIndex

	signature := b.putManifest(ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Config: b.putJSON(ocispec.Image{Platform: ocispec.Platform{OS: "linux"}}, ocispec.MediaTypeImageConfig),
		Layers: []ocispec.Descriptor{b.putBlob([]byte(`{"critical":{}}`), "application/vnd.dev.cosign.simplesigning.v1+json")},
	}, "")
	b.Signature = signature.Digest
	b.addItem(lock.Referrer, repository+":"+tag+".sig", "docker://"+repository, "web", signature).Subject = b.WebIndex

	fallback := b.putJSON(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{{MediaType: sbom.MediaType, Digest: sbom.Digest, Size: sbom.Size, ArtifactType: "application/spdx+json"}}}, ocispec.MediaTypeImageIndex)
	b.addItem(lock.Referrer, repository+":"+tag, "docker://"+repository, "web",
		lock.ImageManifest{Blob: *blobOf(fallback)}, sbom).Subject = b.WebIndex
}

func chartArchive(name, version string) (archiveBytes, config []byte) {
	meta := map[string]any{"apiVersion": "v2", "name": name, "version": version, "appVersion": "1"}
	config, _ = json.Marshal(meta)
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	for _, f := range []struct{ path, text string }{
		{"Chart.yaml", "apiVersion: v2\nname: " + name + "\nversion: " + version + "\nappVersion: \"1\"\n"},
		{"templates/cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n"},
	} {
		_ = t.WriteHeader(&tar.Header{Name: name + "/" + f.path, Mode: 0o644, Size: int64(len(f.text)), Format: tar.FormatUSTAR})
		_, _ = t.Write([]byte(f.text))
	}
	_ = t.Close()
	_ = z.Close()
	return out.Bytes(), config
}

func (b *builder) addCharts() {
	data, config := chartArchive("web", "1.2.3")
	m := b.putManifest(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: b.putBlob(config, lock.MediaTypeHelmConfig),
		Layers: []ocispec.Descriptor{b.putBlob(data, lock.MediaTypeHelmChart)}}, "")
	b.addItem(lock.Chart, OCIChart, "oci://ghcr.io/acme/charts/web", "web", m)

	data, config = chartArchive("old", "0.9.0")
	old, prov := b.putBlob(data, ""), b.putBlob([]byte("-----BEGIN PGP SIGNED MESSAGE-----\n"), "")
	b.addItem(lock.Chart, OldChart, "https://charts.acme.example/stable", "web").Content = &lock.HelmChart{
		Name: "old", Version: "0.9.0", URL: "https://charts.acme.example/stable/old-0.9.0.tgz",
		Digest: old.Digest, Size: old.Size, Provenance: &lock.Blob{Digest: prov.Digest, Size: prov.Size}, Config: string(config),
	}
}

func (b *builder) addModel() {
	spec := &lock.HubModel{Repository: ModelID, Revision: "main", Commit: Commit, License: "apache-2.0", ModelPack: true}
	add := func(path string, data []byte, lfs bool) {
		b.Files[path] = data
		f := lock.ModelFile{Path: path, Size: int64(len(data)), SHA256: digest.FromBytes(data), LFS: lfs}
		if !lfs {
			sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...))
			f.GitSHA1 = hex.EncodeToString(sum[:])
		}
		spec.Files = append(spec.Files, f)
	}
	add("README.md", []byte("---\nlicense: apache-2.0\n---\n"), false)
	add("config.json", []byte(`{"model_type":"tiny"}`), false)
	add("model.safetensors", Random("weights", 6<<20+123), true)
	add("onnx/empty.txt", nil, false)
	add("onnx/small.onnx", Random("onnx", 5000), true)
	b.addItem(lock.Model, Model, "hf://"+ModelID+"@"+Commit, "web").Content = spec
}

func (b *builder) addFiles() {
	driver := b.putBlob(Random("driver", 5<<20+7), lock.MediaTypeFile)
	b.Driver = driver.Digest
	b.addRaw(lock.File, "gpu", &lock.RawFile{Name: "driver.run", URL: "https://dl.acme.example/driver.run", Digest: driver.Digest, Size: driver.Size, MediaType: lock.MediaTypeFile})
	extra := b.putBlob([]byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: extra}\n"), lock.MediaTypeManifest)
	b.addRaw(lock.Manifest, "web", &lock.RawFile{Name: "extra.yaml", Path: "extra.yaml", Digest: extra.Digest, Size: extra.Size, MediaType: lock.MediaTypeManifest})
}

func (b *builder) addRaw(kind lock.Kind, component string, f *lock.RawFile) {
	source := f.URL
	if source == "" {
		source = "file:" + f.Path
	}
	ref := "files.caisson.dev/" + component + "/" + f.Name + ":" + f.Digest.Encoded()[:12]
	b.addItem(kind, ref, source, component).Content = f
}
