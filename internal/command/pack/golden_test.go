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
		"demo-1.0.0.head.tar":    "sha256:65bf8dbdf87c9e8a442debf7d6d673f31cc24bdc8c32eafc328a527f53b30a43",
		"demo-1.0.0.ledger.json": "sha256:1cc93aacf3750a834c86ba99449143cdf2c6c3de7200e0ee1db0c550a965221b",
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
