package upstreamtest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Stream is an endless sequence of bytes that looks random and follows from
// (seed, id) alone. Any part of it can be produced without what comes before.
// It is safe for concurrent use. The bytes are no secret: the key is public.
type Stream struct {
	block cipher.Block
}

// NewStream returns the stream that belongs to seed and id.
func NewStream(seed uint64, id string) Stream {
	key := sha256.Sum256(fmt.Appendf(nil, "upstreamtest\x00%d\x00%s", seed, id))
	block, err := aes.NewCipher(key[:16])
	if err != nil {
		panic(err) // a key of 16 bytes is always accepted
	}
	return Stream{block: block}
}

// Fill sets p to the bytes [off, off+len(p)) of the stream.
func (s Stream) Fill(p []byte, off int64) {
	var counter [aes.BlockSize]byte
	binary.BigEndian.PutUint64(counter[8:], uint64(off/aes.BlockSize))
	ctr := cipher.NewCTR(s.block, counter[:])
	if skip := off % aes.BlockSize; skip > 0 {
		var unused [aes.BlockSize]byte
		ctr.XORKeyStream(unused[:skip], unused[:skip])
	}
	clear(p)
	ctr.XORKeyStream(p, p)
}

// Bytes returns the first n bytes of the stream.
func (s Stream) Bytes(n int) []byte {
	p := make([]byte, n)
	s.Fill(p, 0)
	return p
}
