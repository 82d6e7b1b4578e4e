package bundle

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"

	"github.com/opencontainers/go-digest"
)

// sum is a SHA-256 value: a digest, or a chaining value at a block boundary.
type sum [sha256.Size]byte

func (s *sum) decode(hexDigits string) { _, _ = hex.Decode(s[:], []byte(hexDigits)) }
func (s sum) hex() string              { return hex.EncodeToString(s[:]) }
func (s sum) digest() digest.Digest    { return digest.NewDigestFromEncoded(digest.SHA256, s.hex()) }

func sumOf(p []byte) sum { return sha256.Sum256(p) }

// chain computes SHA-256 over a blob and can stop and start at block
// boundaries: the chaining value after block i (FIPS 180-4 §6.2) is the check
// value of block i. One pass thus yields the blob's digest and what proves each
// of its blocks alone; no byte is hashed twice. A chain is not safe for
// concurrent use.
type chain struct {
	hash.Hash
	state []byte // scratch for the marshalled form
}

// Layout of crypto/sha256's marshalled state: magic, chaining value, 64 bytes
// of unprocessed input, length. At a block boundary the input is empty.
const (
	stateMagic  = "sha\x03"
	stateLength = len(stateMagic) + sha256.Size + sha256.BlockSize + 8
)

var errState = errors.New("crypto/sha256 changed its state encoding")

func newChain() *chain {
	return &chain{Hash: sha256.New(), state: make([]byte, 0, stateLength)}
}

// startAt continues at an offset, a multiple of 64, where the chaining value is
// prev.
func (c *chain) startAt(prev sum, offset int64) error {
	if offset == 0 {
		c.Reset()
		return nil
	}
	b := append(c.state[:0], stateMagic...)
	b = append(b, prev[:]...)
	b = append(b, make([]byte, sha256.BlockSize)...)
	b = binary.BigEndian.AppendUint64(b, uint64(offset))
	if err := c.Hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(b); err != nil {
		return errState
	}
	return nil
}

// chainingValue returns the chaining value; it is meant for multiples of 64 bytes.
func (c *chain) chainingValue() (s sum, err error) {
	b, err := c.Hash.(encoding.BinaryAppender).AppendBinary(c.state[:0])
	if err != nil || len(b) != stateLength || string(b[:len(stateMagic)]) != stateMagic {
		return s, errState
	}
	copy(s[:], b[len(stateMagic):])
	return s, nil
}

// finalSum returns the digest of all that went in.
func (c *chain) finalSum() (s sum) {
	c.Sum(s[:0])
	return s
}

// blockCount is the number of blocks of a blob.
func blockCount(size int64) int64 { return (size + BlockSize - 1) / BlockSize }

// valueCount is the number of check values stored for a blob: none for its last
// block, which the blob's digest proves.
func valueCount(size int64) int64 { return max(0, blockCount(size)-1) }

// proof is what proves each block of one blob.
type proof struct {
	digest sum
	size   int64
	values []sum // valueCount(size), or fewer while the blob is being written
}

// blockSpan returns the range of block i within the blob.
func (p *proof) blockSpan(i int64) (offset, length int64) {
	offset = i * BlockSize
	return offset, min(BlockSize, p.size-offset)
}

// beginBlock readies c for block i.
func (p *proof) beginBlock(c *chain, i int64) error {
	if i == 0 {
		return c.startAt(sum{}, 0)
	}
	return c.startAt(p.values[i-1], i*BlockSize)
}

// blockHolds reports whether c, having taken block i since beginBlock, ends where it must.
func (p *proof) blockHolds(c *chain, i int64) (bool, error) {
	if i == blockCount(p.size)-1 {
		return c.finalSum() == p.digest, nil
	}
	v, err := c.chainingValue()
	return v == p.values[i], err
}

// checkBlock reports whether block is block i of the blob.
func (p *proof) checkBlock(c *chain, i int64, block []byte) (bool, error) {
	if err := p.beginBlock(c, i); err != nil {
		return false, err
	}
	_, _ = c.Write(block)
	return p.blockHolds(c, i)
}

// recorder hashes a blob of known size as it passes and keeps the value at each
// block boundary.
type recorder struct {
	chain  *chain
	size   int64
	offset int64
	values []sum
}

func newRecorder(size int64) *recorder { return &recorder{chain: newChain(), size: size} }

// resumeAfter continues after blocks whose check values are given.
func (r *recorder) resumeAfter(values []sum) error {
	r.values = append([]sum(nil), values...)
	r.offset = int64(len(values)) * BlockSize
	if len(values) == 0 {
		return r.chain.startAt(sum{}, 0)
	}
	return r.chain.startAt(values[len(values)-1], r.offset)
}

// write takes the next bytes.
func (r *recorder) write(p []byte) error {
	for len(p) > 0 {
		n := min(int64(len(p)), BlockSize-r.offset%BlockSize)
		_, _ = r.chain.Write(p[:n])
		p, r.offset = p[n:], r.offset+n
		if r.offset%BlockSize != 0 || r.offset >= r.size {
			continue
		}
		v, err := r.chain.chainingValue()
		if err != nil {
			return err
		}
		r.values = append(r.values, v)
	}
	return nil
}
