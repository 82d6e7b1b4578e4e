package lock_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
)

// packedModel is a model with a layer of small files and one of weights, whose
// digest is not known yet.
func packedModel(pack bool) *lock.Lock {
	commit := strings.Repeat("a", 40)
	file := func(path string, size int64) lock.ModelFile {
		return lock.ModelFile{Path: path, Size: size, SHA256: digest.FromString(path), LFS: true}
	}
	m := &lock.HubModel{
		Repository: "acme/Tiny", Revision: "main", Commit: commit, License: "apache-2.0", ModelPack: pack,
		Files:   []lock.ModelFile{file(".gitattributes", 5), file("README.md", 10), file("config.json", 20), file("model.safetensors", 3<<20)},
		Weights: lock.ModelWeights{Parameters: 1_540_000_000, DType: "BF16", KVBytesPerToken: 256},
	}
	m.Layers = lock.ModelLayers(m.Files)
	m.Layers[0].Digest = digest.FromString("small")
	return &lock.Lock{
		Metadata: lock.Metadata{Name: "t", Version: "1"}, Platforms: []string{"linux/amd64"}, Components: []lock.Component{{Name: "c"}},
		Items: []lock.Item{{Ref: imageref.Ref("huggingface.co/acme/tiny:" + commit), Kind: lock.Model, Components: []string{"c"}, Source: "hf://acme/Tiny@" + commit, Content: m}},
	}
}

func TestModelPack(t *testing.T) {
	l := packedModel(true)
	if err := l.Normalize(); err != nil {
		t.Fatal(err)
	}
	it := &l.Items[0]
	big := digest.FromString("big")
	layer := func(string) digest.Digest { return big }
	image, _, err := it.Wrap(layer)
	if err != nil {
		t.Fatal(err)
	}
	pack, config, err := it.WrapPack(layer)
	if err != nil {
		t.Fatal(err)
	}
	var a, b ocispec.Manifest
	if err := json.Unmarshal(image, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(pack, &b); err != nil {
		t.Fatal(err)
	}
	if a.ArtifactType != "" || a.Config.MediaType != ocispec.MediaTypeImageConfig || a.Layers[1].MediaType != ocispec.MediaTypeImageLayer {
		t.Errorf("no container runtime mounts %s", image)
	}
	if b.ArtifactType != "application/vnd.cncf.model.manifest.v1+json" || b.Config.MediaType != "application/vnd.cncf.model.config.v1+json" || b.Config.Digest != digest.FromBytes(config) {
		t.Errorf("no ModelPack reader takes %s", pack)
	}
	for i := range a.Layers {
		if a.Layers[i].Digest != b.Layers[i].Digest || a.Layers[i].Size != b.Layers[i].Size {
			t.Errorf("layer %d is another one: %+v and %+v", i, a.Layers[i], b.Layers[i])
		}
	}
	if b.Layers[0].MediaType != "application/vnd.cncf.model.weight.config.v1.tar" || b.Layers[1].MediaType != "application/vnd.cncf.model.weight.v1.tar" ||
		b.Layers[0].Annotations["org.cncf.model.filepath"] != "models" || b.Layers[1].Annotations["org.cncf.model.filepath"] != "models/model.safetensors" {
		t.Errorf("layers %+v", b.Layers)
	}
	want := `{"descriptor":{"name":"Tiny","sourceURL":"https://huggingface.co/acme/Tiny","revision":"` + strings.Repeat("a", 40) + `","vendor":"acme","licenses":["apache-2.0"],"title":"acme/Tiny"},` +
		`"modelfs":{"type":"layers","diffIds":["` + string(digest.FromString("small")) + `","` + string(big) + `"]},"config":{"architecture":"transformer","format":"safetensors","paramSize":"1.5b","precision":"bfloat16"}}`
	if string(config) != want {
		t.Errorf("config\n%s, want\n%s", config, want)
	}
	if _, _, err := it.WrapPack(nil); err == nil {
		t.Error("wrapped although a layer is pending")
	}
}

// TestDescriptorsOfModels: a lock that an older caisson wrote has one manifest for
// each model, and keeps it.
func TestDescriptorsOfModels(t *testing.T) {
	for pack, count := range map[bool]int{true: 2, false: 1} {
		l := packedModel(pack)
		if err := l.Normalize(); err != nil {
			t.Fatal(err)
		}
		it := &l.Items[0]
		wrapped := map[imageref.Ref]ocispec.Descriptor{it.Ref: {Digest: digest.FromString("x"), Size: 1}}
		if pack {
			wrapped[it.PackRef()] = ocispec.Descriptor{Digest: digest.FromString("y"), Size: 2}
		}
		list, err := l.Descriptors(wrapped)
		if err != nil || len(list) != count {
			t.Fatalf("%d descriptors, %v", len(list), err)
		}
		if !pack {
			continue
		}
		d := list[1]
		if d.Annotations[ocispec.AnnotationRefName] != string(it.Ref)+"-modelpack" || d.ArtifactType != lock.ArtifactTypeModelPack || d.Size != 2 || d.Annotations[lock.AnnotationKind] != "model" {
			t.Errorf("%+v", d)
		}
		if list[0].ArtifactType != "" || list[0].Annotations[ocispec.AnnotationRefName] != string(it.Ref) {
			t.Errorf("%+v", list[0])
		}
		if _, err := l.Descriptors(map[imageref.Ref]ocispec.Descriptor{it.Ref: wrapped[it.Ref]}); err == nil {
			t.Error("described although its digest is not known")
		}
	}
}

func TestWhatALockSaysOfAModel(t *testing.T) {
	good := func() *lock.HubModel {
		l := packedModel(true)
		m, _ := lock.As[*lock.HubModel](&l.Items[0])
		m.Terms = &lock.ModelTerms{Name: "acme-1", Link: "https://acme.example", Gated: "manual"}
		m.License, m.Serve = "other", "chat"
		m.Allow = []lock.ModelAllow{{File: "x.bin", Reason: "old server"}}
		m.LeftOut = []lock.LeftOut{{Why: "they repeat the weights", Count: 2, Bytes: 5 << 30, Files: []string{"m.onnx"}}}
		m.Files[3].Head = &lock.ModelHead{Size: 100, SHA256: digest.FromString("head")}
		m.Weights.WeightsBytes, m.Weights.MaxContext = 3<<30, 4096
		return m
	}
	for name, c := range map[string]struct {
		change func(*lock.HubModel)
		want   string
	}{
		"right":         {func(*lock.HubModel) {}, ""},
		"two lines":     {func(m *lock.HubModel) { m.Terms.Name = "a\nb" }, "terms.name: holds control characters"},
		"negative":      {func(m *lock.HubModel) { m.Weights.Parameters = -1 }, "weights: is -1"},
		"no reason":     {func(m *lock.HubModel) { m.Allow[0].Reason = "" }, "allow[0].reason: is missing"},
		"above":         {func(m *lock.HubModel) { m.Allow[0].File = "../x" }, "allow[0].file"},
		"twice":         {func(m *lock.HubModel) { m.Allow = append(m.Allow, m.Allow[0]) }, "allow[1].file: is out of order or repeated"},
		"more than all": {func(m *lock.HubModel) { m.LeftOut[0].Count = 0 }, "leftOut[0].files"},
		"long head":     {func(m *lock.HubModel) { m.Files[3].Head.Size = 4 << 20 }, "head.size: is 4194304"},
		"no head":       {func(m *lock.HubModel) { m.Files[3].Head.SHA256 = "x" }, "head.sha256"},
		"local file":    {func(m *lock.HubModel) { m.Files[0].URL = "file:///etc/passwd" }, "files[0].url"},
		"with password": {func(m *lock.HubModel) { m.Files[0].URL = "https://me:secret@acme.example/x" }, "files[0].url: holds a user name"},
	} {
		l := packedModel(true)
		m := good()
		c.change(m)
		l.Items[0].Content = m
		l.Components[0].Items = []imageref.Ref{l.Items[0].Ref}
		text, err := l.Marshal()
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := lock.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		second, err := again.Marshal()
		if err != nil || string(second) != string(text) {
			t.Errorf("written again it is another text: %v\n%s", err, second)
		}
		d := again.Items[0].Describe("")
		notes := strings.Join(d.Notes, "|")
		if d.License() != "acme-1" || !strings.Contains(notes, "gated") || !strings.Contains(notes, "1.5b parameters, and 256 B for each of at most 4096 tokens") ||
			!strings.Contains(notes, "allowed: x.bin: old server") || !strings.Contains(notes, "left out: 2 files, 5.00 GiB, because they repeat the weights") {
			t.Errorf("licence %q, notes %s", d.License(), notes)
		}
	}
}
