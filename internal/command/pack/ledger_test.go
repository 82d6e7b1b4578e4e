package pack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/ledger"
	"github.com/caisson/caisson/internal/api/lock"
)

func oneItem(it lock.Item) *lock.Lock {
	it.Components = []string{"web"}
	return &lock.Lock{
		Metadata: lock.Metadata{Name: "large", Version: "1.0.0"}, Platforms: []string{"linux/amd64"},
		Components: []lock.Component{{Name: "web", Namespace: "web"}}, Items: []lock.Item{it},
	}
}

// TestTheLedgerOfAModelOfManyFiles: as many files as a lock takes fit.
func TestTheLedgerOfAModelOfManyFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("a lock of the largest size")
	}
	commit := strings.Repeat("a", 40)
	model := &lock.HubModel{Repository: "acme/Large", Revision: "main", Commit: commit, License: "mit"}
	for i := range 100_000 {
		path := fmt.Sprintf("shards/part-%06d.json", i)
		sum := digest.FromString(path)
		model.Files = append(model.Files, lock.ModelFile{Path: path, Size: 1000, SHA256: sum, GitSHA1: sum.Encoded()[:40]})
	}
	l := oneItem(lock.Item{
		Ref: imageref.Ref("huggingface.co/acme/large:" + commit), Kind: lock.Model,
		Source: "hf://acme/Large@" + commit, Content: model,
	})
	if _, err := makeLedger(l, digest.FromString("lock"), digest.FromString("index"), time.Unix(0, 0).UTC()).Marshal(); err != nil {
		t.Error(err)
	}
}

// TestATooLargeLedgerIsRefusedBeforeAnythingIsWritten: a lock may name so much
// under so long a reference that its ledger could not be read again.
func TestATooLargeLedgerIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("a lock of the largest size")
	}
	var content lock.Verbatim
	for i := range 25 {
		m := lock.ImageManifest{Blob: lock.Blob{
			Digest: digest.FromString(fmt.Sprint(i)), MediaType: ocispec.MediaTypeImageManifest, Size: 1000,
		}}
		for range 1000 {
			m.Layers = append(m.Layers, lock.Blob{Digest: digest.FromString("layer"), MediaType: ocispec.MediaTypeImageLayerGzip, Size: 1})
		}
		content = append(content, m)
	}
	ref := "ghcr.io/" + strings.Repeat("a", 3500) + ":1"
	l := oneItem(lock.Item{
		Ref: imageref.Ref(ref), Kind: lock.Image, Source: "docker://" + ref, Content: content,
		Digest: content[0].Digest, MediaType: content[0].MediaType, Size: content[0].Size,
	})
	dir := t.TempDir()
	file, out := filepath.Join(dir, "lock.yaml"), filepath.Join(dir, "out")
	if err := lock.Write(file, l); err != nil {
		t.Fatal(err)
	}
	_, err := Run(t.Context(), Options{Lock: file, Output: out}, nil)
	if !errors.Is(err, ledger.ErrTooLarge) || !strings.Contains(err.Error(), file) {
		t.Errorf("error is %v", err)
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
}
