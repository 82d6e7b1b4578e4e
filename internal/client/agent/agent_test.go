package agent_test

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/agent"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

func build(t *testing.T, path string) (*agent.Image, []byte) {
	t.Helper()
	im, err := agent.Build(path)
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	if err := im.WriteLayer(&layer); err != nil {
		t.Fatal(err)
	}
	return im, layer.Bytes()
}

func TestImageHoldsTheBinary(t *testing.T) {
	path := stacktest.Binary(t, elf.EM_AARCH64, "some code")
	im, layer := build(t, path)
	if digest.FromBytes(layer) != im.Layer.Digest || int64(len(layer)) != im.Layer.Size || len(layer)%512 != 0 {
		t.Errorf("the layer is not the one described: %d bytes, %+v", len(layer), im.Layer)
	}
	r := tar.NewReader(bytes.NewReader(layer))
	h, err := r.Next()
	if err != nil || h.Name != "caisson" || h.Mode != 0o755 || h.Uid != 0 || !h.ModTime.IsZero() && h.ModTime.Unix() != 0 {
		t.Fatalf("%+v, %v", h, err)
	}
	got, err := io.ReadAll(r)
	want, _ := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the layer holds %d bytes, the binary has %d; %v", len(got), len(want), err)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the binary: %v", err)
	}
	var c ocispec.Image
	if err := json.Unmarshal(im.Config, &c); err != nil || c.Architecture != "arm64" || c.OS != "linux" || c.RootFS.DiffIDs[0] != im.Layer.Digest || c.Created != nil {
		t.Errorf("%s, %v", im.Config, err)
	}
}

func TestEqualBinariesGiveEqualImages(t *testing.T) {
	a, _ := build(t, stacktest.Binary(t, elf.EM_X86_64, "x"))
	b, _ := build(t, stacktest.Binary(t, elf.EM_X86_64, "x"))
	other, _ := build(t, stacktest.Binary(t, elf.EM_X86_64, "y"))
	if !bytes.Equal(a.Manifest, b.Manifest) || bytes.Equal(a.Manifest, other.Manifest) {
		t.Error("images do not follow from binaries")
	}
}

func TestItemFitsALock(t *testing.T) {
	im, _ := build(t, stacktest.Binary(t, elf.EM_X86_64, "x"))
	l := &lock.Lock{
		Metadata: lock.Metadata{Name: "a", Version: "1"}, Platforms: []string{"linux/amd64"},
		Items: []lock.Item{im.Item()},
	}
	if err := l.Normalize(); err != nil {
		t.Fatal(err)
	}
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	if l.Tool() == nil {
		t.Error("the lock's agent is not found")
	}
	slots, heads := l.Slots(), l.HeadBlobs()
	if len(slots) != 1 || slots[0].Sources[0].Kind != lock.FromTool || len(heads) != 2 || heads[0].Source.Kind != lock.FromTool {
		t.Errorf("%+v\n%+v", slots, heads)
	}
}

func TestRefuses(t *testing.T) {
	text := stacktest.Binary(t, elf.EM_X86_64, "")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"a script": text, "an unknown machine": stacktest.Binary(t, elf.EM_68K, "")} {
		if _, err := agent.Build(path); !errors.Is(err, agent.ErrNotStatic) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	path := stacktest.Binary(t, elf.EM_X86_64, "long")
	im, _ := build(t, path)
	if err := os.Truncate(path, 64); err != nil {
		t.Fatal(err)
	}
	if err := im.WriteLayer(io.Discard); err == nil {
		t.Error("a binary that changed is taken")
	}
}
