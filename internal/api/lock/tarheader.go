package lock

import (
	"errors"
	"fmt"
	"strings"
)

// tarBlock is the unit of a tar stream.
const tarBlock = 512

// maxOctalSize is the first size that does not fit the header's octal field.
const maxOctalSize = 1 << 33

// modelDirectory is where a model layer puts its files.
const modelDirectory = "models/"

// errTarName says that a path fits no ustar header.
var errTarName = errors.New("path does not fit a ustar header")

// TarHeader returns the 512 bytes that stand before the file name (relative,
// slash-separated) of size bytes in a model layer: header rule v1. It is a
// POSIX ustar header for a regular file "models/"+name with mode 0644, ids 0,
// empty owner names and mtime 0; names above 100 bytes use the prefix field;
// sizes of 8 GiB and more are base-256. There are no extended headers.
func TarHeader(name string, size int64) ([]byte, error) {
	if size < 0 {
		return nil, fmt.Errorf("making tar header of %q: negative size", name)
	}
	prefix, base, err := splitTarName(modelDirectory + name)
	if err != nil {
		return nil, fmt.Errorf("making tar header of %q: %w", name, err)
	}
	h := make([]byte, tarBlock)
	copy(h[0:100], base)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	putTarSize(h[124:136], size)
	copy(h[136:], "00000000000\x00")
	h[156] = '0'
	copy(h[257:], "ustar\x0000")
	copy(h[329:], "0000000\x00")
	copy(h[337:], "0000000\x00")
	copy(h[345:500], prefix)
	putTarChecksum(h)
	return h, nil
}

// splitTarName puts as much of path as it must into the prefix, cut at a slash.
func splitTarName(path string) (prefix, base string, err error) {
	if len(path) <= 100 {
		return "", path, nil
	}
	i := strings.LastIndexByte(path[:min(len(path), 156)], '/')
	if i <= 0 || len(path)-i-1 > 100 || i+1 == len(path) {
		return "", "", errTarName
	}
	return path[:i], path[i+1:], nil
}

func putTarSize(field []byte, size int64) {
	if size < maxOctalSize {
		copy(field, fmt.Sprintf("%011o\x00", size))
		return
	}
	for i := len(field) - 1; i > 0; i-- {
		field[i] = byte(size)
		size >>= 8
	}
	field[0] = 0x80
}

func putTarChecksum(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// tarPadding is how many zero bytes follow size bytes of content.
func tarPadding(size int64) int64 { return -size & (tarBlock - 1) }
