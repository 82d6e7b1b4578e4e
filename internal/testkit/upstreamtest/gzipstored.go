package upstreamtest

import (
	"encoding/binary"
	"hash/crc32"
)

// Lengths of the parts of a gzip file made of stored blocks (RFC 1951 §3.2.4,
// RFC 1952 §2.3).
const (
	gzipHeader  = 10
	gzipTrailer = 8
	blockHeader = 5
	blockData   = 65535
)

// gzipStored is a gzip file around a blob, without compression, so that any
// part of it can be produced from the same part of the blob. The checksum of
// the blob has to be known.
type gzipStored struct {
	inner *blob
	crc   uint32
}

// gzipStoredSize returns the length of the gzip file around n > 0 bytes.
func gzipStoredSize(n int64) int64 {
	blocks := (n + blockData - 1) / blockData
	return gzipHeader + blocks*blockHeader + n + gzipTrailer
}

// Size returns the number of bytes in the gzip file.
func (g gzipStored) Size() int64 { return gzipStoredSize(g.inner.Size()) }

// ReadAt implements io.ReaderAt.
func (g gzipStored) ReadAt(p []byte, off int64) (int, error) {
	return readAt(g, g.fillAt, p, off)
}

func (g gzipStored) fillAt(p []byte, off int64) {
	for len(p) > 0 {
		n := g.fillPart(p, off)
		p, off = p[n:], off+int64(n)
	}
}

// fillPart sets a prefix of p to the bytes at off, up to the next boundary
// between a header and data, and returns its length.
func (g gzipStored) fillPart(p []byte, off int64) int {
	if off < gzipHeader {
		return copy(p, g.gzipHeader()[off:])
	}
	trailer := g.Size() - gzipTrailer
	if off >= trailer {
		return copy(p, g.gzipTrailer()[off-trailer:])
	}
	block, at := (off-gzipHeader)/(blockHeader+blockData), (off-gzipHeader)%(blockHeader+blockData)
	size := min(blockData, g.inner.Size()-block*blockData)
	if at < blockHeader {
		return copy(p, storedHeader(int(size), (block+1)*blockData >= g.inner.Size())[at:])
	}
	at -= blockHeader
	n := min(int64(len(p)), size-at)
	g.inner.fillAt(p[:n], block*blockData+at)
	return int(n)
}

func (g gzipStored) gzipHeader() []byte {
	return []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}
}

func (g gzipStored) gzipTrailer() []byte {
	t := binary.LittleEndian.AppendUint32(nil, g.crc)
	return binary.LittleEndian.AppendUint32(t, uint32(g.inner.Size()))
}

// storedHeader returns the header of a stored block of n bytes.
func storedHeader(n int, last bool) []byte {
	h := []byte{0, byte(n), byte(n >> 8), ^byte(n), ^byte(n >> 8)}
	if last {
		h[0] = 1
	}
	return h
}

// gzipBytes returns data as a gzip file whose bytes do not depend on any
// compressor.
func gzipBytes(data []byte) []byte {
	return readAll(gzipStored{inner: newBlob(fixedSegment(data)), crc: crc32.ChecksumIEEE(data)})
}
