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
	all, err := json.Marshal([]any{l.Slots(), l.HeadBlobs(), descriptors})
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(all); got != "sha256:b312b45ba34c52244836aa4475ece01336dbc64c65f8adc37a5b0e8bfd193ae9" {
		t.Errorf("slots, head blobs and descriptors are %s:\n%s", got, all)
	}
}
