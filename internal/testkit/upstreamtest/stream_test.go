package upstreamtest_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

func TestStreamAtAnyOffset(t *testing.T) {
	const size = 1 << 16
	s := upstreamtest.NewStream(1, "x")
	whole := s.Bytes(size)
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		from := random.IntN(size)
		part := make([]byte, random.IntN(size-from))
		if s.Fill(part, int64(from)); !bytes.Equal(part, whole[from:from+len(part)]) {
			t.Fatalf("%d bytes at %d differ", len(part), from)
		}
	}
	if bytes.Equal(whole, upstreamtest.NewStream(2, "x").Bytes(size)) || bytes.Equal(whole, upstreamtest.NewStream(1, "y").Bytes(size)) {
		t.Fatal("streams do not depend on seed and id")
	}
}

func TestStreamGoesFarWithoutRepeating(t *testing.T) {
	s := upstreamtest.NewStream(1, "x")
	near, far := make([]byte, 64), make([]byte, 64)
	s.Fill(near, 5)
	s.Fill(far, 5+1<<40)
	if bytes.Equal(near, far) {
		t.Fatal("the stream repeats")
	}
}

func BenchmarkStream(b *testing.B) {
	s := upstreamtest.NewStream(1, "x")
	buf := make([]byte, 256<<10)
	b.SetBytes(int64(len(buf)))
	var off int64
	for b.Loop() {
		s.Fill(buf, off)
		off += int64(len(buf))
	}
}
