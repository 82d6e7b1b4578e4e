package pack_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestFilesStay holds what packing makes of the test upstream against what
// earlier versions made: the head, with lock, table and SBOM, and the ledger.
func TestFilesStay(t *testing.T) {
	w := newWorld(t)
	out := t.TempDir()
	w.pack(w.options(out))
	files := snapshot(t, out)
	for name, want := range map[string]digest.Digest{
		"demo-1.0.0.head.tar":    "sha256:cc107c85e22a4fe0eeeba31bff6d9375414326b4227863609f94f366fab93b8c",
		"demo-1.0.0.ledger.json": "sha256:b3dc284b88eff2828ccbc334a3947e26937401487b1e8cf5226cffd4d95ee555",
	} {
		if got := digest.FromString(files[name]); got != want {
			t.Errorf("%s is %s, it was %s", name, got, want)
		}
	}
}

// TestFilesOfAnOlderLockStay packs a lock that caisson wrote before locks said what
// models are served for, what is left out of them and how large files begin.
func TestFilesOfAnOlderLockStay(t *testing.T) {
	w := newWorld(t)
	older, err := os.ReadFile(filepath.Join("testdata", "older.lock.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.lock, older, 0o644); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	w.pack(w.options(out))
	if got := digest.FromString(snapshot(t, out)["demo-1.0.0.head.tar"]); got != "sha256:ec81c057e1c7b0d2b5f5d2a7847cf865245610a268d8ac2f2a23d222c7ad481a" {
		t.Errorf("its head is now %s", got)
	}
}
