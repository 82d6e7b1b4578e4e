package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"
)

func TestRecorderEqualsSHA256(t *testing.T) {
	for _, size := range awkward {
		b, _ := io.ReadAll(blobReader(9, size))
		for _, step := range []int{1000, 1 << 20, 1 << 24} {
			r := newRecorder(size)
			for rest := b; len(rest) > 0; rest = rest[min(step, len(rest)):] {
				if err := r.write(rest[:min(step, len(rest))]); err != nil {
					t.Fatal(err)
				}
			}
			if r.chain.finalSum() != sha256.Sum256(b) || int64(len(r.values)) != valueCount(size) {
				t.Errorf("size %d, step %d: wrong digest or %d values", size, step, len(r.values))
			}
			proveAll(t, b, r.values)
		}
	}
}

// proveAll checks every block alone, and that no block passes with one bit
// changed.
func proveAll(t *testing.T, b []byte, values []sum) {
	t.Helper()
	p := proof{sumOf(b), int64(len(b)), values}
	c := newChain()
	for i := blockCount(p.size) - 1; i >= 0; i-- {
		at, n := p.blockSpan(i)
		block := b[at : at+n]
		if ok, err := p.checkBlock(c, i, block); !ok || err != nil {
			t.Errorf("block %d of %d bytes: %v, %v", i, len(b), ok, err)
		}
		block[n/2] ^= 4
		if ok, _ := p.checkBlock(c, i, block); ok {
			t.Errorf("block %d of %d bytes passes although changed", i, len(b))
		}
		block[n/2] ^= 4
	}
}

func TestRecorderResumes(t *testing.T) {
	const size = 3*BlockSize + 9
	b, _ := io.ReadAll(blobReader(3, size))
	whole := newRecorder(size)
	if err := whole.write(b); err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		r := newRecorder(size)
		if err := r.resumeAfter(whole.values[:n]); err != nil {
			t.Fatal(err)
		}
		if err := r.write(b[n*BlockSize:]); err != nil || r.chain.finalSum() != sumOf(b) {
			t.Errorf("resumed after %d blocks: %v", n, err)
		}
	}
}

// TestChainAgainstThePlainAlgorithm holds the meaning of a check value to the
// text of FORMAT.md, and to a constant.
func TestChainAgainstThePlainAlgorithm(t *testing.T) {
	const golden = "13a844f9f56194350beed80fc2860be65d6d9741e16c9a975c99ed2d71929684"
	block := bytes.Repeat([]byte{'a'}, BlockSize)
	h := [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}
	for rest := block; len(rest) > 0; rest = rest[64:] {
		compress(&h, rest[:64])
	}
	var want sum
	for i, v := range h {
		want[4*i], want[4*i+1], want[4*i+2], want[4*i+3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
	}
	c := newChain()
	_, _ = c.Write(block)
	got, err := c.chainingValue()
	if err != nil || got != want {
		t.Errorf("chaining value %s, %v; plain algorithm %s", got.hex(), err, want.hex())
	}
	if hex.EncodeToString(got[:]) != golden {
		t.Errorf("chaining value %s, must be %s", got.hex(), golden)
	}
}

// compress is the compression function of FIPS 180-4 §6.2.2, word for word.
func compress(h *[8]uint32, m []byte) {
	var w [64]uint32
	for i := range 16 {
		w[i] = uint32(m[4*i])<<24 | uint32(m[4*i+1])<<16 | uint32(m[4*i+2])<<8 | uint32(m[4*i+3])
	}
	rot := func(x uint32, n uint) uint32 { return x>>n | x<<(32-n) }
	for i := 16; i < 64; i++ {
		s0 := rot(w[i-15], 7) ^ rot(w[i-15], 18) ^ w[i-15]>>3
		s1 := rot(w[i-2], 17) ^ rot(w[i-2], 19) ^ w[i-2]>>10
		w[i] = w[i-16] + s0 + w[i-7] + s1
	}
	v := *h
	for i := range 64 {
		s1 := rot(v[4], 6) ^ rot(v[4], 11) ^ rot(v[4], 25)
		t1 := v[7] + s1 + (v[4]&v[5] ^ ^v[4]&v[6]) + roundConstants[i] + w[i]
		s0 := rot(v[0], 2) ^ rot(v[0], 13) ^ rot(v[0], 22)
		t2 := s0 + (v[0]&v[1] ^ v[0]&v[2] ^ v[1]&v[2])
		v = [8]uint32{t1 + t2, v[0], v[1], v[2], v[3] + t1, v[4], v[5], v[6]}
	}
	for i := range h {
		h[i] += v[i]
	}
}

var roundConstants = [64]uint32{
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}
