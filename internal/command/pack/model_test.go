package pack_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

const modelStack = `apiVersion: caisson.dev/v1alpha1
kind: Stack
metadata: {name: demo, version: 1.0.0}
platforms: [linux/amd64]
components:
  - name: c
    models:
      - name: m
        source: hf://acme/whole
        extras:
          - {path: tiktoken/x.tiktoken, url: "https://dl.acme.example/x.tiktoken", sha256: "SUM"}
          - {path: draft, source: hf://acme/draft}
`

// modelWorld is a world with a lock of one model: its own weights, an encoding from
// elsewhere and a draft model.
func modelWorld(t *testing.T) (w *world, encoding []byte) {
	t.Helper()
	w = newWorld(t)
	encoding = bytes.Repeat([]byte("IQ== 0\n"), 300_000)
	w.up.AddFile("/x.tiktoken", encoding)
	config := []byte(`{"model_type":"llama"}`)
	w.up.AddModel(upstreamtest.Model{ID: "acme/Whole", Files: map[string][]byte{
		"config.json": config, "model.safetensors": upstreamtest.Safetensors("whole", map[string]int64{"a": 900_000, "b": 70_000}),
	}})
	w.up.AddModel(upstreamtest.Model{ID: "acme/Draft", Files: map[string][]byte{
		"config.json": config, "model.safetensors": upstreamtest.Safetensors("draft", map[string]int64{"a": 600_000}),
	}})
	stack := strings.Replace(modelStack, "SUM", digest.FromBytes(encoding).Encoded(), 1)
	if err := os.WriteFile(filepath.Join(w.dir, "model.yaml"), []byte(stack), 0o644); err != nil {
		t.Fatal(err)
	}
	w.resolve("model.yaml")
	return w, encoding
}

// TestModelWithExtras packs files of three upstreams into one model with two
// manifests over the same layers.
func TestModelWithExtras(t *testing.T) {
	w, encoding := modelWorld(t)
	private, public := w.key()
	opt := w.options(t.TempDir())
	opt.Key = private
	w.pack(opt)
	b, err := cargo.Open(t.Context(), []string{opt.Output}, []string{public}, cargo.Options{Now: made}, event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Check(t.Context(), bundle.CheckOptions{}, func(f bundle.Finding) { t.Errorf("finding %+v", f) }); err != nil {
		t.Error(err)
	}
	it := &b.Lock().Items[0]
	image, packed := readManifest(t, b.Bundle, string(it.Ref)), readManifest(t, b.Bundle, string(it.PackRef()))
	if packed.ArtifactType != lock.ArtifactTypeModelPack || len(image.Layers) != 4 || len(packed.Layers) != 4 {
		t.Fatalf("manifests %+v and %+v", image, packed)
	}
	for i := range image.Layers {
		if image.Layers[i].Digest != packed.Layers[i].Digest {
			t.Errorf("layer %d: %s and %s", i, image.Layers[i].Digest, packed.Layers[i].Digest)
		}
	}
	found := map[string][]byte{}
	for _, l := range image.Layers {
		blob, err := b.Open(l.Digest)
		if err != nil {
			t.Fatal(err)
		}
		r := blob.NewReader(0, l.Size)
		tr := tar.NewReader(r)
		for {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if found[h.Name], err = io.ReadAll(tr); err != nil {
				t.Fatal(err)
			}
		}
		r.Close()
	}
	if len(found) != 5 || !bytes.Equal(found["models/tiktoken/x.tiktoken"], encoding) || len(found["models/draft/model.safetensors"]) == 0 {
		t.Errorf("the layers hold %d files", len(found))
	}
}

func readManifest(t *testing.T, b *bundle.Bundle, ref string) (m ocispec.Manifest) {
	t.Helper()
	d, ok := b.Find(ref)
	if !ok {
		t.Fatalf("%s is not in the bundle", ref)
	}
	raw, err := b.Manifest(d.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestBeginningIsWhatResolveJudged: an upstream that showed resolve another header
// than the file has is found before the file is downloaded.
func TestBeginningIsWhatResolveJudged(t *testing.T) {
	w, _ := modelWorld(t)
	l, err := lock.Read(w.lock)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := lock.As[*lock.HubModel](&l.Items[0])
	heads := 0
	for i := range m.Files {
		if h := m.Files[i].Head; h != nil {
			heads++
			h.SHA256 = digest.FromString("another header")
		}
	}
	if heads != 3 {
		t.Fatalf("the lock knows the beginning of %d files", heads)
	}
	if err := lock.Write(w.lock, l); err != nil {
		t.Fatal(err)
	}
	_, err = pack.Run(t.Context(), w.options(t.TempDir()), nil)
	if !errors.Is(err, pack.ErrUpstreamChanged) || !strings.Contains(err.Error(), "the beginning of") {
		t.Errorf("packed: %v", err)
	}
}
