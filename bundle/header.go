package bundle

import (
	"encoding/binary"
	"fmt"
)

const (
	sector        = 512
	trailerSize   = 2 * sector
	maxOctalSize  = 1<<33 - 1 // largest size of eleven octal digits
	blobDirectory = "blobs/sha256/"
)

// header is the 512-byte tar header of one entry: a function of name and size.
type header [sector]byte

// newHeader builds the ustar header: mode 0644, ids 0, no owner names, mtime 0,
// size in base 256 from 8 GiB up (FORMAT.md, "Entry headers"). The name must be
// at most 100 bytes.
func newHeader(name string, size int64) (h header) {
	copy(h[0:100], name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	h.setSize(size)
	copy(h[136:], "00000000000\x00")
	h[156] = '0'
	copy(h[257:], "ustar\x0000")
	copy(h[329:], "0000000\x000000000\x00")
	copy(h[148:], fmt.Sprintf("%06o\x00 ", h.checksum()))
	return h
}

func blobName(s sum) string                   { return blobDirectory + s.hex() }
func blobHeader(s sum, size int64) (h header) { return newHeader(blobName(s), size) }

func (h *header) setSize(size int64) {
	if size <= maxOctalSize {
		copy(h[124:], fmt.Sprintf("%011o\x00", size))
		return
	}
	h[124] = 0x80
	binary.BigEndian.PutUint64(h[128:136], uint64(size))
}

// checksum adds the bytes up, its own field counted as spaces.
func (h *header) checksum() (n int) {
	for i, b := range h {
		if i >= 148 && i < 156 {
			b = ' '
		}
		n += int(b)
	}
	return n
}

// parseEntry returns name and size, having required every byte of h to be what
// newHeader makes of them.
func (h *header) parseEntry() (name string, size int64, err error) {
	end := 0
	for end < 100 && h[end] != 0 {
		end++
	}
	name = string(h[:end])
	if size, err = h.parseSize(); err != nil {
		return "", 0, err
	}
	if newHeader(name, size) != *h {
		return "", 0, formatError("tar header of %q is not in canonical form", name)
	}
	return name, size, nil
}

func (h *header) parseSize() (n int64, err error) {
	if h[124] == 0x80 {
		u := binary.BigEndian.Uint64(h[128:136])
		if u > maxStream {
			return 0, formatError("entry of %d bytes", u)
		}
		return int64(u), nil
	}
	for _, b := range h[124:135] {
		if b < '0' || b > '7' {
			return 0, formatError("size field of a tar header")
		}
		n = n<<3 | int64(b-'0')
	}
	return n, nil
}

// paddingLength is the number of zero bytes after an entry's content.
func paddingLength(size int64) int64 { return -size & (sector - 1) }

// entrySize is what an entry takes in the stream.
func entrySize(size int64) int64 { return sector + size + paddingLength(size) }
