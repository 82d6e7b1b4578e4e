// Package stacktest makes small installable stacks: charts, manifests and
// images, packed into real signed bundles and loaded into a real registry.
//
// It is for tests; the product never imports it.
package stacktest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/command/load"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

// Stack is what to pack.
type Stack struct {
	Name       string // default: demo
	Version    string // default: 1.0.0
	Sequence   int64  // default: 1
	Components []Component
	Agent      bool // carry the node agent, made of Binary
}

// Component is one component of a Stack.
type Component struct {
	Name      string
	Namespace string // default: the name
	Needs     []string
	Optional  bool
	Charts    []Chart
	Manifests map[string]string // file name → text
	Images    []string          // references; every image a chart names
	Models    []Model
	Ready     []lock.Condition
}

// Chart is one release.
type Chart struct {
	Release string
	Version string            // default: 1.0.0
	Files   map[string]string // beside Chart.yaml
	Values  map[string]any
	Facts   []string // of the site, that it asks for; sorted
}

// Model is a model of nothing but a small file, and what its files are said to say.
type Model struct {
	Repository string // OWNER/NAME
	Serve      string
	Weights    lock.ModelWeights
}

// Site is where stacks are packed to and loaded into.
type Site struct {
	Registry *bundletest.Registry
	Key      *sign.PrivateKey
	KeyFile  string
}

// NewSite starts a registry and makes a key. sparse: the registry takes indexes
// whose children it lacks.
func NewSite(tb testing.TB, sparse bool) *Site {
	tb.Helper()
	pair, err := sign.GenerateKeyPair(nil)
	requireNoError(tb, err)
	dir := tb.TempDir()
	requireNoError(tb, sign.WriteKeyPair(dir, pair))
	key, err := sign.LoadPrivateKey(filepath.Join(dir, sign.PrivateKeyFile), nil)
	requireNoError(tb, err)
	return &Site{Registry: bundletest.NewRegistry(tb, sparse), Key: key, KeyFile: filepath.Join(dir, sign.PublicKeyFile)}
}

func requireNoError(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// File writes a site file. more is what follows `registry`, with no indent.
func (s *Site) File(tb testing.TB, more string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "site.yaml")
	text := "apiVersion: caisson.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\nregistry: {mode: external, address: \"" + s.Registry.Host + "\", prefix: mirror, plainHTTP: true}\n" + more
	requireNoError(tb, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// Load pushes a bundle into the registry.
func (s *Site) Load(tb testing.TB, dir string) {
	tb.Helper()
	_, err := load.Run(tb.Context(), load.Options{Paths: []string{dir}, Keys: []string{s.KeyFile}, Registry: s.Registry.Host + "/mirror", PlainHTTP: true}, event.Discard)
	requireNoError(tb, err)
}

// Pack makes a signed bundle and returns its directory.
func (s *Site) Pack(tb testing.TB, stack Stack) string {
	tb.Helper()
	p := &packer{content: map[digest.Digest][]byte{}, items: map[string]*lock.Item{}}
	return p.sealBundle(tb, s.Key, stack, p.makeLock(tb, stack))
}

// Incompressible is n characters of text that follow from seed and do not
// compress to much less than three quarters.
func Incompressible(seed, n int) string {
	b := make([]byte, n*3/4)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

type packer struct {
	content map[digest.Digest][]byte
	items   map[string]*lock.Item
}

func (p *packer) putBlob(data []byte) lock.Blob {
	d := digest.FromBytes(data)
	p.content[d] = data
	return lock.Blob{Digest: d, Size: int64(len(data))}
}

func (p *packer) putJSON(v any) lock.Blob {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain values
	}
	return p.putBlob(data)
}

func (p *packer) makeLock(tb testing.TB, stack Stack) *lock.Lock {
	tb.Helper()
	l := &lock.Lock{
		Metadata: lock.Metadata{Name: cmp.Or(stack.Name, "demo"), Version: cmp.Or(stack.Version, "1.0.0")}, Platforms: []string{"linux/amd64"},
		Kubernetes: lock.Kubernetes{Versions: []string{"1.30", "1.99"}},
	}
	for _, c := range stack.Components {
		l.Components = append(l.Components, p.addComponent(tb, c))
	}
	if stack.Agent {
		p.addAgent(tb)
	}
	for _, it := range p.items {
		l.Items = append(l.Items, *it)
	}
	requireNoError(tb, l.Normalize())
	return l
}

func (p *packer) addComponent(tb testing.TB, c Component) lock.Component {
	tb.Helper()
	out := lock.Component{Name: c.Name, Namespace: cmp.Or(c.Namespace, c.Name), Needs: slices.Sorted(slices.Values(c.Needs)), Optional: c.Optional, Ready: c.Ready}
	for _, ch := range c.Charts {
		out.Releases = append(out.Releases, lock.Release{
			Name: ch.Release, Chart: imageref.Ref(p.addChart(c.Name, ch)), Values: ch.Values, Facts: ch.Facts,
		})
	}
	for _, m := range c.Models {
		out.Items = append(out.Items, imageref.Ref(p.addModel(tb, c.Name, m)))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Manifests)) {
		out.Manifests = append(out.Manifests, imageref.Ref(p.addManifest(c.Name, name, c.Manifests[name])))
	}
	for _, ref := range c.Images {
		out.Items = append(out.Items, imageref.Ref(p.addImage(c.Name, ref)))
	}
	slices.Sort(out.Items)
	return out
}

// addItem finds or makes an item and enters the component.
func (p *packer) addItem(component string, it lock.Item) string {
	old := p.items[string(it.Ref)]
	if old == nil {
		old = &it
		p.items[string(it.Ref)] = old
	}
	if !slices.Contains(old.Components, component) {
		old.Components = append(old.Components, component)
		slices.Sort(old.Components)
	}
	return string(it.Ref)
}

// addImage makes a sparse index of linux/amd64, whose content follows from ref.
func (p *packer) addImage(component, ref string) string {
	layer := p.putBlob(makeArchive(map[string]string{"content": ref}))
	config := p.putJSON(ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString(ref)}}})
	layer.MediaType, config.MediaType = ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageConfig
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: descriptorOf(config), Layers: []ocispec.Descriptor{descriptorOf(layer)}}
	amd64 := p.putJSON(m)
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{
		{MediaType: m.MediaType, Digest: amd64.Digest, Size: amd64.Size, Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}},
		{MediaType: m.MediaType, Digest: digest.FromString("not carried"), Size: 400, Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"}},
	}}
	root := p.putJSON(idx)
	return p.addItem(component, lock.Item{
		Ref: imageref.Ref(ref), Kind: lock.Image, Source: "docker://" + ref, FoundBy: []string{"stack"}, Digest: root.Digest, MediaType: idx.MediaType, Size: root.Size,
		Content: lock.Verbatim{
			{Blob: lock.Blob{Digest: root.Digest, MediaType: idx.MediaType, Size: root.Size}},
			{Blob: lock.Blob{Digest: amd64.Digest, MediaType: m.MediaType, Size: amd64.Size}, Platform: "linux/amd64", Config: &config, Layers: []lock.Blob{layer}},
		},
	})
}

func descriptorOf(b lock.Blob) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: b.Size}
}

// makeArchive makes a .tgz of files by path.
func makeArchive(files map[string]string) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		_ = t.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(files[path])), Format: tar.FormatUSTAR})
		_, _ = t.Write([]byte(files[path]))
	}
	_ = t.Close()
	_ = z.Close()
	return out.Bytes()
}

func (p *packer) addChart(component string, c Chart) string {
	version := cmp.Or(c.Version, "1.0.0")
	files := map[string]string{c.Release + "/Chart.yaml": fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", c.Release, version)}
	for path, text := range c.Files {
		files[c.Release+"/"+path] = text
	}
	config := p.putJSON(map[string]any{"apiVersion": "v2", "name": c.Release, "version": version})
	layer := p.putBlob(makeArchive(files))
	config.MediaType, layer.MediaType = lock.MediaTypeHelmConfig, lock.MediaTypeHelmChart
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: descriptorOf(config), Layers: []ocispec.Descriptor{descriptorOf(layer)}}
	root := p.putJSON(m)
	return p.addItem(component, lock.Item{
		Ref: imageref.Ref("ghcr.io/acme/charts/" + c.Release + ":" + version), Kind: lock.Chart, Source: "oci://ghcr.io/acme/charts/" + c.Release,
		Digest: root.Digest, MediaType: m.MediaType, Size: root.Size,
		Content: lock.Verbatim{{Blob: lock.Blob{Digest: root.Digest, MediaType: m.MediaType, Size: root.Size}, Config: &config, Layers: []lock.Blob{layer}}},
	})
}

// modelCommit is of every model.
const modelCommit = "0123456789abcdef0123456789abcdef01234567"

// addModel makes a model of one file, its layer as packing makes it.
func (p *packer) addModel(tb testing.TB, component string, m Model) string {
	tb.Helper()
	const name = "config.json"
	data := []byte(`{"of":"` + m.Repository + `"}`)
	config := p.putBlob(data)
	model := &lock.HubModel{
		Repository: m.Repository, Revision: modelCommit, Commit: modelCommit, Serve: m.Serve, Weights: m.Weights,
		Files: []lock.ModelFile{{Path: name, Size: config.Size, SHA256: config.Digest, LFS: true}},
	}
	model.Layers = lock.ModelLayers(model.Files)
	layer, err := lock.TarHeader(name, config.Size)
	requireNoError(tb, err)
	layer = append(layer, data...)
	layer = append(layer, make([]byte, model.Layers[0].Size-int64(len(layer)))...)
	model.Layers[0].Digest = p.putBlob(layer).Digest
	return p.addItem(component, lock.Item{
		Ref: imageref.Ref("huggingface.co/" + m.Repository + ":" + modelCommit), Kind: lock.Model,
		Source: "hf://" + m.Repository + "@" + modelCommit, FoundBy: []string{"stack"}, Content: model,
	})
}

func (p *packer) addManifest(component, name, text string) string {
	b := p.putBlob([]byte(text))
	return p.addItem(component, lock.Item{
		Ref: imageref.Ref("files.caisson.dev/" + component + "/" + name + ":" + b.Digest.Encoded()[:12]), Kind: lock.Manifest, Source: "file:" + name,
		Content: &lock.RawFile{Name: name, Path: name, Digest: b.Digest, Size: b.Size, MediaType: lock.MediaTypeManifest},
	})
}

func (p *packer) sealBundle(tb testing.TB, key *sign.PrivateKey, stack Stack, l *lock.Lock) string {
	tb.Helper()
	ctx, dir := context.Background(), tb.TempDir()
	text, err := l.Marshal()
	requireNoError(tb, err)
	var slots []bundle.Slot
	for _, s := range l.Slots() {
		slots = append(slots, bundle.Slot{Key: s.Key, Digest: s.Digest, Size: s.Size})
	}
	w, err := bundle.Create(ctx, dir, l.Metadata.Name, l.Digest(), slots, bundle.WriterOptions{VolumeSize: 4 << 20, NoSync: true})
	requireNoError(tb, err)
	defer w.Close()
	for i, s := range l.Slots() {
		sw, err := w.Slot(ctx, i, nil)
		requireNoError(tb, err)
		_, err = sw.Write(p.content[s.Digest])
		requireNoError(tb, err)
		_, err = sw.Commit()
		requireNoError(tb, err)
	}
	sealed, err := w.Seal(ctx, bundle.Contents{Name: l.Metadata.Name, Version: l.Metadata.Version, Lock: text, SBOM: []byte(`{}`), Descriptors: p.writeHead(tb, w, l)})
	requireNoError(tb, err)
	p.signBundle(tb, key, dir, stack, sealed)
	return dir
}

// writeHead writes manifests and configs and describes the items.
func (p *packer) writeHead(tb testing.TB, w *bundle.Writer, l *lock.Lock) []ocispec.Descriptor {
	tb.Helper()
	for _, h := range l.HeadBlobs() {
		w.PutMeta(p.content[h.Digest])
	}
	for i := range l.Items {
		if it := &l.Items[i]; it.Wrapped() {
			manifest, config, err := it.Wrap(nil)
			requireNoError(tb, err)
			w.PutMeta(manifest)
			w.PutMeta(config)
		}
		if it := &l.Items[i]; it.PackRef() != "" {
			manifest, config, err := it.WrapPack(nil)
			requireNoError(tb, err)
			w.PutMeta(manifest)
			w.PutMeta(config)
		}
	}
	descriptors, err := l.Descriptors(nil)
	requireNoError(tb, err)
	return descriptors
}

func (p *packer) signBundle(tb testing.TB, key *sign.PrivateKey, dir string, stack Stack, sealed bundle.Sealed) {
	tb.Helper()
	s := sealed.Statement()
	s.Predicate.Sequence, s.Predicate.Created = max(stack.Sequence, 1), "2026-01-01T00:00:00Z"
	payload, err := s.Marshal()
	requireNoError(tb, err)
	signature, err := key.SignStatement(payload)
	requireNoError(tb, err)
	_, err = bundle.WriteSignature(dir, s.Predicate.Name, key.Public.ID, signature)
	requireNoError(tb, err)
}
