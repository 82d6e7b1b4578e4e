package bundletest

import (
	"bytes"
	"testing"
)

// TestMake: what comes out of the bundle is what went in, and equal options
// give equal bundles.
func TestMake(t *testing.T) {
	b := Make(t, Options{})
	trusted := b.Open(t)
	for d, want := range b.Content {
		if _, _, ok := trusted.Stat(d); !ok {
			t.Errorf("%s is not in the bundle", d)
			continue
		}
		blob, err := trusted.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		if got := ReadAll(t, blob.NewReader(0, blob.Size())); !bytes.Equal(got, want) {
			t.Errorf("%s came out otherwise", d)
		}
	}
	again := Make(t, Options{}).Open(t)
	if trusted.IndexDigest() != again.IndexDigest() {
		t.Error("equal options gave different bundles")
	}
	if salted := Make(t, Options{Salt: "x"}).Open(t); trusted.IndexDigest() == salted.IndexDigest() {
		t.Error("salt changes nothing")
	}
}
