package lock

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/yamlfile"
)

func dg(s string) digest.Digest { return digest.FromString(s) }

// sample is a lock with one item of each shape.
func sample() *Lock {
	index := ImageManifest{Blob: Blob{dg("index"), ocispec.MediaTypeImageIndex, 500}}
	child := ImageManifest{
		Blob: Blob{dg("child"), ocispec.MediaTypeImageManifest, 700}, Platform: "linux/amd64",
		Config: &Blob{Digest: dg("config"), MediaType: ocispec.MediaTypeImageConfig, Size: 200},
		Layers: []Blob{
			{Digest: dg("layer 1"), MediaType: ocispec.MediaTypeImageLayerGzip, Size: 3000},
			{Digest: dg("layer 2"), MediaType: ocispec.MediaTypeImageLayerGzip, Size: 4000},
		},
	}
	sig := ImageManifest{
		Blob:   Blob{dg("signature"), ocispec.MediaTypeImageManifest, 300},
		Config: &Blob{Digest: dg("config"), MediaType: ocispec.MediaTypeImageConfig, Size: 200},
		Layers: []Blob{{Digest: dg("payload"), MediaType: "application/vnd.dev.cosign.simplesigning.v1+json", Size: 250}},
	}
	return &Lock{
		Metadata:   Metadata{Name: "demo", Version: "1.0.0"},
		Platforms:  []string{"linux/amd64"},
		Kubernetes: Kubernetes{Versions: []string{"1.33", "1.36"}},
		Components: []Component{
			{Name: "web", Needs: []string{"certs"}, Namespace: "web",
				Releases: []Release{{Name: "web", Chart: "charts.acme.example/stable/web:1.2.3", Values: map[string]any{
					"replicas": int64(2), "text": "a\nb\n", "yes": "yes", "list": []any{true, nil, 1.5}, "deep": map[string]any{"n": "1"}}}},
				Manifests: []imageref.Ref{"files.caisson.dev/web/extra:0123456789ab"},
				Items:     []imageref.Ref{"ghcr.io/acme/web:1.2.3", imageref.Ref("huggingface.co/acme/tiny:" + strings.Repeat("a", 40))},
				Ready:     []Condition{{Kind: "Deployment", Name: "web", Condition: "Available"}}},
			{Name: "certs", Optional: true, Items: []imageref.Ref{"files.caisson.dev/certs/driver:0123456789ab"}},
		},
		Items: []Item{
			{Ref: imageref.Ref("ghcr.io/acme/web@" + string(dg("signature"))), Kind: Referrer, Components: []string{"web"}, Source: "docker://ghcr.io/acme/web", Subject: dg("index"),
				Digest: sig.Digest, MediaType: sig.MediaType, Size: sig.Size, Content: Verbatim{sig}},
			{Ref: "ghcr.io/acme/web:1.2.3", Kind: Image, Components: []string{"web"}, Source: "docker://ghcr.io/acme/web:1.2.3", FoundBy: []string{"stack", "chart web"},
				Digest: index.Digest, MediaType: index.MediaType, Size: index.Size, Content: Verbatim{index, child}},
			{Ref: "charts.acme.example/stable/web:1.2.3", Kind: Chart, Components: []string{"web"}, Source: "https://charts.acme.example/stable/web-1.2.3.tgz",
				Content: &HelmChart{Name: "web", Version: "1.2.3", URL: "https://charts.acme.example/stable/web-1.2.3.tgz", Digest: dg("chart"), Size: 900,
					Provenance: &Blob{Digest: dg("prov"), Size: 90}, Config: `{"name":"web"}`}},
			{Ref: imageref.Ref("huggingface.co/acme/tiny:" + strings.Repeat("a", 40)), Kind: Model, Components: []string{"web"}, Source: "hf://Acme/tiny@main",
				Content: sampleModel()},
			{Ref: "files.caisson.dev/certs/driver:0123456789ab", Kind: File, Components: []string{"certs"}, Source: "https://dl.acme.example/driver.run",
				Content: &RawFile{Name: "driver", URL: "https://dl.acme.example/driver.run", Digest: dg("driver"), Size: 5000, MediaType: MediaTypeFile}},
			{Ref: "files.caisson.dev/web/extra:0123456789ab", Kind: Manifest, Components: []string{"web"}, Source: "file:./extra.yaml",
				Content: &RawFile{Name: "extra.yaml", Path: "./extra.yaml", Digest: dg("extra"), Size: 60, MediaType: MediaTypeManifest}},
		},
	}
}

func sampleModel() *HubModel {
	return &HubModel{Repository: "Acme/tiny", Revision: "main", Commit: strings.Repeat("a", 40), Files: []ModelFile{
		{Path: "weights/model.safetensors", Size: 3 << 20, SHA256: dg("weights"), LFS: true},
		{Path: "config.json", Size: 10, SHA256: dg("0123456789"), GitSHA1: strings.Repeat("b", 40)},
	}}
}

func marshal(t *testing.T, l *Lock) []byte {
	t.Helper()
	b, err := l.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMarshalAndParseAreInverse(t *testing.T) {
	l := sample()
	first := marshal(t, l)
	parsed, err := Parse(first)
	if err != nil {
		t.Fatalf("%v\n%s", err, first)
	}
	if second := marshal(t, parsed); !bytes.Equal(first, second) {
		t.Errorf("text changed:\n%s\n---\n%s", first, second)
	}
	if err := l.Normalize(); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(l, parsed) {
		t.Errorf("parsed lock differs:\n%+v\n%+v", l, parsed)
	}
	if parsed.Digest() != digest.FromBytes(first) {
		t.Error("Digest is not the digest of the text")
	}
}

func TestMarshalLeavesTheLockAlone(t *testing.T) {
	l, same := sample(), sample()
	marshal(t, l)
	if !reflect.DeepEqual(l, same) {
		t.Error("Marshal changed its receiver")
	}
}

func TestWriteAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "demo.lock.yaml")
	for range 2 {
		if err := Write(path, sample()); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(marshal(t, l), marshal(t, sample())) {
		t.Error("what was read is not what was written")
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("%d files left beside the lock", len(left)-1)
	}
}

// TestParseRefuses changes one line of a good lock at a time.
func TestParseRefuses(t *testing.T) {
	good := string(marshal(t, sample()))
	for _, tc := range []struct{ name, old, new, want string }{
		{"unknown field", "metadata:\n", "metadata:\n  verison: x\n", `unknown field "verison", did you mean "version"?`},
		{"other version", "apiVersion: caisson.dev/v1alpha1", "apiVersion: caisson.dev/v9", "this version of caisson reads caisson.dev/v1alpha1"},
		{"negative size", "size: 900", "size: -1", "want 0 to"},
		{"size as text", "size: 900", "size: \"900\"", "want a whole number"},
		{"huge size", "size: 900", "size: 1125899906842625", "want 0 to"},
		{"overflow", "size: 900", "size: 99999999999999999999", "want a whole number"},
		{"sha512", string(dg("chart")), "sha512:" + strings.Repeat("0", 128), "is not sha256"},
		{"short digest", string(dg("chart")), "sha256:abc", "is not sha256"},
		{"dots in a path", "path: config.json", "path: ../config.json", "not a clean relative path"},
		{"absolute path", "path: config.json", "path: /config.json", "not a clean relative path"},
		{"backslash", "path: config.json", `path: a\config.json`, "not a clean relative path"},
		{"control character", "path: config.json", `path: "a\x01b"`, "not a clean relative path"},
		{"null byte", "path: config.json", `path: "a\0b"`, "not a clean relative path"},
		{"need nobody has", "- certs\n", "- cert\n", "is not another component"},
		{"needs itself", "needs:\n      - certs", "needs:\n      - web", "is not another component"},
		{"repeated reference", "ref: files.caisson.dev/web/extra:", "ref: files.caisson.dev/certs/driver:", "is not an item of the lock"},
		{"two sizes for one blob", "size: 4000", "size: 4001", ""},
		{"secret in a URL", "url: https://dl.acme", "url: https://me:secret@dl.acme", "user name or password"},
		{"file scheme", "url: https://dl.acme.example", "url: file:///etc", "is not an http or https address"},
		{"pending item with a digest", "kind: model\n", "kind: model\n    size: 3\n", "although a layer is pending"},
		{"unknown kind", "kind: chart\n", "kind: cart\n", "is not image, chart"},
		{"wrong wrapper digest", "version: 1.2.3\n      url", "version: 1.2.4\n      url", "not the digest of the manifest that wraps"},
		{"alias", "name: demo", "name: *x", "unknown anchor"},
		{"anchor", "name: demo", "name: &x demo", "anchor"},
		{"twice", "name: demo", "name: demo\n  name: demo", "is set twice"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bad := strings.Replace(good, tc.old, tc.new, 1)
			if bad == good {
				t.Fatalf("%q is not in the sample", tc.old)
			}
			_, err := Parse([]byte(bad))
			if tc.name == "two sizes for one blob" {
				if err != nil {
					t.Fatalf("a size of its own is fine: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v does not say %q", err, tc.want)
			}
			var list *yamlfile.Error
			if errors.As(err, &list) && !strings.HasPrefix(err.Error(), "lock:") {
				t.Errorf("no position in %q", err)
			}
		})
	}
}

func TestParseRefusesTwoSizesForOneBlob(t *testing.T) {
	l := sample()
	l.Items[0].Manifests()[0].Config.Size++
	if _, err := l.Marshal(); err == nil || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("got %v", err)
	}
}

func TestParseRefusesCircles(t *testing.T) {
	l := sample()
	l.Components[1].Needs = []string{"web"}
	if _, err := l.Marshal(); err == nil || !strings.Contains(err.Error(), "certs needs web needs certs") {
		t.Errorf("got %v", err)
	}
}

// largeModel is a model with n files, whose paths have the length of those that
// hubs hold.
func largeModel(n int) *Lock {
	model := &HubModel{Repository: "acme/Large", Revision: "main", Commit: strings.Repeat("a", 40), License: "mit"}
	for i := range n {
		path := fmt.Sprintf("shards/part-%06d.json", i)
		model.Files = append(model.Files, ModelFile{Path: path, Size: 1000, SHA256: dg(path), GitSHA1: dg(path).Encoded()[:40]})
	}
	return &Lock{
		Metadata: Metadata{Name: "large", Version: "1.0.0"}, Platforms: []string{"linux/amd64"},
		Components: []Component{{Name: "web", Namespace: "web"}},
		Items: []Item{{
			Ref: imageref.Ref("huggingface.co/acme/large:" + model.Commit), Kind: Model, Components: []string{"web"},
			Source: "hf://acme/Large@" + model.Commit, Content: model,
		}},
	}
}

// TestALockHoldsAModelOfManyFiles: the bounds on the text leave room for what the
// bounds on its content allow. Writing them all takes seconds, so a part stands
// for the whole.
func TestALockHoldsAModelOfManyFiles(t *testing.T) {
	const part = 1000
	text, err := largeModel(part).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	whole := bytes.Repeat(text, maxModelFiles/part)
	if err := yamlfile.CheckBounds("lock", whole, MaxBytes); err != nil {
		t.Errorf("a model of %d files: %v", maxModelFiles, err)
	}
}

func TestMarshalRefusesALockThatIsTooLarge(t *testing.T) {
	l := largeModel(1)
	for i := range MaxBytes/2/maxText + 1 {
		sum := dg(fmt.Sprint(i))
		address := "https://dl.acme.example/" + strings.Repeat("x", maxText-100)
		l.Items = append(l.Items, Item{
			Ref: imageref.Ref("files.caisson.dev/web/f:" + sum.Encoded()[:12]), Kind: File, Components: []string{"web"}, Source: address,
			Content: &RawFile{Name: "f", URL: address, Digest: sum, Size: 1, MediaType: MediaTypeFile},
		})
	}
	if _, err := l.Marshal(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error is %v", err)
	}
}

func TestParseBounds(t *testing.T) {
	for name, data := range map[string]string{
		"deep":   strings.Repeat("[", 20000),
		"deep 2": "apiVersion: caisson.dev/v1alpha1\nkind: Lock\nx: " + strings.Repeat("[", 100) + strings.Repeat("]", 100),
		"wide":   strings.Repeat("- \n", 1<<20),
		"large":  strings.Repeat(" ", MaxBytes+1),
		"laughs": "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
		"empty":  "",
		"binary": "\x00\xff\xfe",
	} {
		_, err := Parse([]byte(data))
		if !errors.As(err, new(*yamlfile.Error)) && !errors.Is(err, yamlfile.ErrNoDocument) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	b, err := sample().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("apiVersion: caisson.dev/v1alpha1\nkind: Lock\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse(data)
		if err != nil {
			return
		}
		first, err := l.Marshal()
		if err != nil {
			t.Fatalf("marshalling what was parsed: %v", err)
		}
		again, err := Parse(first)
		if err != nil {
			t.Fatalf("parsing what was marshalled: %v\n%s", err, first)
		}
		if !reflect.DeepEqual(l, again) {
			t.Fatalf("parse∘marshal is not identity:\n%#v\n%#v", l, again)
		}
		l.Slots()
		l.HeadBlobs()
		Diff(l, again)
	})
}

func TestSlots(t *testing.T) {
	l := sample()
	if err := l.Normalize(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range l.Slots() {
		got = append(got, fmt.Sprintf("%s %d %v %s", s.Key[:12], s.Size, s.Digest == "", s.Sources[0].Kind))
		if len(s.Items) == 0 {
			t.Errorf("%s has no items", s.Key)
		}
	}
	model := l.Items[2].Content.(*HubModel)
	want := []string{
		fmt.Sprintf("%.12s 3000 false registry", dg("layer 1")),
		fmt.Sprintf("%.12s 4000 false registry", dg("layer 2")),
		fmt.Sprintf("%.12s 900 false url", dg("chart")),
		fmt.Sprintf("%.12s 90 false url", dg("prov")),
		fmt.Sprintf("%.12s 2048 true hub", model.Key(0)),
		fmt.Sprintf("%.12s %d true hub", model.Key(1), 512+3<<20+1024),
		fmt.Sprintf("%.12s 5000 false url", dg("driver")),
		fmt.Sprintf("%.12s 60 false path", dg("extra")),
		fmt.Sprintf("%.12s 250 false registry", dg("payload")),
	}
	want[5] = fmt.Sprintf("%.12s %d true hub", model.Key(1), 512+(3<<20)+1024)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var heads []string
	for _, h := range l.HeadBlobs() {
		heads = append(heads, string(h.Digest[:12])+" "+h.Source.Repository)
	}
	wantHeads := []string{}
	for _, s := range []string{"index", "child", "config", "signature"} {
		wantHeads = append(wantHeads, string(dg(s)[:12])+" ghcr.io/acme/web")
	}
	if !reflect.DeepEqual(heads, wantHeads) {
		t.Errorf("head blobs %v, want %v", heads, wantHeads)
	}
}

func TestSlotsShareEqualContent(t *testing.T) {
	l := sample()
	other := sampleModel()
	other.Repository, other.Commit = "Other/tiny", strings.Repeat("c", 40)
	l.Items = append(l.Items, Item{Ref: imageref.Ref("huggingface.co/other/tiny:" + other.Commit), Kind: Model, Components: []string{"web"}, Source: "hf://Other/tiny@main", Content: other})
	l.Components[0].Items = append(l.Components[0].Items, l.Items[6].Ref)
	other.Layers = ModelLayers(other.Files)
	other.Layers[1].Digest = dg("pinned")
	if err := l.Normalize(); err != nil {
		t.Fatal(err)
	}
	var n int
	for _, s := range l.Slots() {
		if len(s.Parts) == 0 {
			continue
		}
		n++
		if len(s.Items) != 2 || len(s.Sources) != 2 {
			t.Errorf("%s: items %v, sources %v", s.Key, s.Items, s.Sources)
		}
	}
	if n != 2 {
		t.Errorf("%d model slots, want 2", n)
	}
}

func TestLargeConfigIsPayload(t *testing.T) {
	l := sample()
	for i := range 2 {
		for j := range l.Items[i].Manifests() {
			if c := l.Items[i].Manifests()[j].Config; c != nil {
				c.Size = MaxHeadBlob + 1
			}
		}
	}
	if got := l.Slots()[0]; got.Digest != dg("payload") && got.Digest != dg("config") {
		t.Errorf("first slot is %v", got)
	}
	for _, h := range l.HeadBlobs() {
		if h.Digest == dg("config") {
			t.Error("a large config is in the head")
		}
	}
}

// layerBytes streams a layer from its parts, with zero bytes for content.
func layerBytes(t *testing.T, m *HubModel, layer int) []byte {
	t.Helper()
	parts, err := m.layerParts(layer)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, p := range parts {
		if p.File != nil {
			b.Write(bytes.Repeat([]byte{'x'}, int(p.Size)))
		} else {
			b.Write(p.Literal)
		}
	}
	return b.Bytes()
}

func TestModelLayerIsATar(t *testing.T) {
	m := sampleModel()
	m.Files[0].Path = strings.Repeat("d/", 70) + "weights.bin"
	m.Files[0], m.Files[1] = m.Files[1], m.Files[0]
	m.Layers = ModelLayers(m.Files)
	for i, l := range m.Layers {
		data := layerBytes(t, m, i)
		if int64(len(data)) != l.Size {
			t.Errorf("layer %d: %d bytes, size says %d", i, len(data), l.Size)
		}
		r := tar.NewReader(bytes.NewReader(data))
		for _, name := range l.Files {
			h, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			f, _ := m.File(name)
			if h.Name != "models/"+name || h.Size != f.Size || h.Mode != 0o644 || h.Typeflag != tar.TypeReg || h.ModTime.Unix() != 0 {
				t.Errorf("header %+v", h)
			}
			at, offset, ok := m.Locate(name)
			if !ok || at != i || !bytes.Equal(data[offset:offset+f.Size], bytes.Repeat([]byte{'x'}, int(f.Size))) {
				t.Errorf("Locate(%q) = %d, %d, %v", name, at, offset, ok)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("after the last file: %v", err)
		}
		got, err := m.LayerDigest(i, func(f ModelFile) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(strings.Repeat("x", int(f.Size)))), nil
		})
		if err != nil || got != digest.FromBytes(data) {
			t.Errorf("LayerDigest = %s, %v", got, err)
		}
	}
}

func TestLayerDigestRefusesOtherLengths(t *testing.T) {
	m := sampleModel()
	m.Layers = ModelLayers(m.Files)
	m.normalize()
	for _, text := range []string{"short", "much longer than it says"} {
		if _, err := m.LayerDigest(0, func(ModelFile) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(text)), nil
		}); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestTarHeaderOfLargeFiles(t *testing.T) {
	for _, size := range []int64{0, 1, 1<<33 - 1, 1 << 33, 700e9} {
		b, err := TarHeader("weights.bin", size)
		if err != nil {
			t.Fatal(err)
		}
		h, err := tar.NewReader(bytes.NewReader(b)).Next()
		if err != nil || h.Size != size {
			t.Errorf("size %d: %v, %v", size, h, err)
		}
	}
	if _, err := TarHeader(strings.Repeat("n", 200), 1); !errors.Is(err, errTarName) {
		t.Errorf("long name: %v", err)
	}
	if _, err := TarHeader("x", -1); err == nil {
		t.Error("negative size: no error")
	}
}

func TestModelLayersStayBelowTheLimit(t *testing.T) {
	for _, n := range []int{0, 1, 98, 99, 100, 101, 163, 1000} {
		files := []ModelFile{{Path: "config.json", Size: 1}}
		for i := range n {
			files = append(files, ModelFile{Path: fmt.Sprintf("m-%05d.safetensors", i), Size: 2 << 20})
		}
		layers := ModelLayers(files)
		names := 0
		for _, l := range layers {
			names += len(l.Files)
		}
		if len(layers) != min(n, 99)+1 || names != n+1 {
			t.Errorf("%d large files: %d layers, %d names", n, len(layers), names)
		}
	}
}

func TestWrap(t *testing.T) {
	l := sample()
	if err := l.Normalize(); err != nil {
		t.Fatal(err)
	}
	for i := range l.Items {
		it := &l.Items[i]
		if !it.Wrapped() {
			if _, _, err := it.Wrap(nil); err == nil {
				t.Errorf("%s: wrapped although it has a manifest", it.Ref)
			}
			continue
		}
		if it.Pending() {
			if _, _, err := it.Wrap(nil); err == nil {
				t.Errorf("%s: wrapped although pending", it.Ref)
			}
		}
		m1, c1, err := it.Wrap(func(key string) digest.Digest { return dg(key) })
		if err != nil {
			t.Fatal(err)
		}
		if !it.Pending() && digest.FromBytes(m1) != it.Digest {
			t.Errorf("%s: digest is not the manifest's", it.Ref)
		}
		if !bytes.Contains(m1, []byte(digest.FromBytes(c1))) {
			t.Errorf("%s: the manifest does not name its config", it.Ref)
		}
	}
}

func TestDescriptors(t *testing.T) {
	l := sample()
	if err := l.Normalize(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Descriptors(nil); err == nil {
		t.Error("a pending model was described")
	}
	model := l.Items[2].Ref
	ds, err := l.Descriptors(map[imageref.Ref]ocispec.Descriptor{model: {Digest: dg("model"), Size: 7}})
	if err != nil {
		t.Fatal(err)
	}
	if len(ds) != len(l.Items) || ds[2].Digest != dg("model") || ds[2].Annotations[AnnotationRepository] != "Acme/tiny" {
		t.Errorf("got %+v", ds)
	}
	if ds[3].ArtifactType != ArtifactTypeFile || ds[3].Annotations[ocispec.AnnotationRefName] != string(l.Items[3].Ref) {
		t.Errorf("file: %+v", ds[3])
	}
	if _, err := l.Descriptors(map[imageref.Ref]ocispec.Descriptor{l.Items[0].Ref: {Digest: dg("other")}}); err == nil {
		t.Error("another digest than the lock's was taken")
	}
}

func TestDiff(t *testing.T) {
	a, b := sample(), sample()
	for _, l := range []*Lock{a, b} {
		if err := l.Normalize(); err != nil {
			t.Fatal(err)
		}
	}
	if c := Diff(a, b); len(c.Added)+len(c.Removed)+len(c.Changed) != 0 || c.Unchanged != 6 || c.AddedBytes != 0 {
		t.Errorf("equal locks: %+v", c)
	}
	image := &b.Items[0]
	image.Ref = "ghcr.io/acme/web:1.2.4"
	image.Digest = dg("index 2")
	image.Content = Verbatim{{Blob: Blob{Digest: dg("index 2"), Size: 10}}, {Blob: Blob{Digest: dg("child 2"), Size: 20}, Layers: []Blob{
		{Digest: dg("layer 1"), Size: 3000}, {Digest: dg("layer 3"), Size: 4500}}}}
	b.Items = append(b.Items[:3], b.Items[4:]...)
	c := Diff(a, b)
	if len(c.Changed) != 1 || c.Changed[0].Old != "ghcr.io/acme/web:1.2.3" || c.Changed[0].NewBytes != 4500 || c.Changed[0].NewSize != 7500 {
		t.Errorf("changed: %+v", c.Changed)
	}
	if len(c.Removed) != 1 || c.Removed[0].OldSize != 5000 || len(c.Added) != 0 {
		t.Errorf("removed: %+v, added: %+v", c.Removed, c.Added)
	}
	if c.AddedBytes != 4500 || c.RemovedBytes != 9000 {
		t.Errorf("bytes: %+v", c)
	}
}

// FuzzValues wants chart values to come back as they were, whatever their text.
func FuzzValues(f *testing.F) {
	f.Add("key", "value", int64(1), 1.5)
	f.Add("yes", "\n  indented\n", int64(-1), 1e30)
	f.Add("<<", "a: b # c", int64(0), 0.1)
	f.Add("2026-01-01", "0x10\t\r\n", int64(1<<62), -1e-9)
	f.Fuzz(func(t *testing.T, key, text string, i int64, x float64) {
		if !utf8.ValidString(key) || !utf8.ValidString(text) || math.IsNaN(x) || math.IsInf(x, 0) || x == math.Trunc(x) || !plainKeys(map[string]any{key: nil}) {
			return
		}
		values := map[string]any{key: text, key + "2": []any{text, i, x, nil, true, map[string]any{key: text}, text}}
		l := sample()
		l.Components[0].Releases[0].Values = values
		b, err := l.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := Parse(b)
		if err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		if got := parsed.Components[0].Releases[0].Values; !reflect.DeepEqual(got, values) {
			t.Fatalf("%#v became %#v\n%s", values, got, b)
		}
	})
}
