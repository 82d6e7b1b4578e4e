package pack_test

import (
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
		"demo-1.0.0.head.tar":    "sha256:ec81c057e1c7b0d2b5f5d2a7847cf865245610a268d8ac2f2a23d222c7ad481a",
		"demo-1.0.0.ledger.json": "sha256:c3a5f9dd558060dd75181ab0b8812eabb7cc7602a3292b35b6e6bfd7998ea3a6",
	} {
		if got := digest.FromString(files[name]); got != want {
			t.Errorf("%s is %s, it was %s", name, got, want)
		}
	}
}
