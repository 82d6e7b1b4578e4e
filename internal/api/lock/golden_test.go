package lock

import (
	"encoding/json"
	"testing"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestTextStays holds a lock's text, slots and descriptors against what earlier
// versions made of it: locks are kept, signed and compared by digest.
func TestTextStays(t *testing.T) {
	l := sample()
	text := marshal(t, l)
	if got := digest.FromBytes(text); got != "sha256:3e376e5847f8d6a63259a95e4ec71517c2d0747df668eaba5c125186396edb48" {
		t.Errorf("the text is %s:\n%s", got, text)
	}
	if err := l.Normalize(); err != nil {
		t.Fatal(err)
	}
	descriptors, err := l.Descriptors(map[imageref.Ref]ocispec.Descriptor{l.Items[2].Ref: {Digest: dg("model"), Size: 7}})
	if err != nil {
		t.Fatal(err)
	}
	all := canonical(t, []any{l.Slots(), l.HeadBlobs(), descriptors})
	if got := digest.FromBytes(all); got != "sha256:371c06c374429d91ec9def8839c6172d7742fa0bb049aef5f4f1553e12147459" {
		t.Errorf("slots, head blobs and descriptors are %s:\n%s", got, all)
	}
}

// canonical is v as JSON, the fields of objects sorted by name.
func canonical(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil {
		t.Fatal(err)
	}
	if text, err = json.Marshal(plain); err != nil {
		t.Fatal(err)
	}
	return text
}
