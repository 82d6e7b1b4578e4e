package bundle

import (
	"fmt"
	"sort"
)

// layout is where everything lies in the stream that the volumes make up:
// offsets count from the start of volume 0.
type layout struct {
	volumeSize int64
	streamSize int64
	offsets    []int64 // of each entry's content; its header is the sector before
}

// newLayout places entries of the given sizes one after the other.
func newLayout(volumeSize int64, count int, size func(int) int64) (layout, error) {
	l := layout{volumeSize: volumeSize, offsets: make([]int64, count)}
	if err := checkVolumeSize(volumeSize); err != nil {
		return l, err
	}
	if count > maxEntries {
		return l, formatError("%d blobs, at most %d are allowed", count, maxEntries)
	}
	for i := range l.offsets {
		n := size(i)
		if n < 0 || n > maxStream || l.streamSize > maxStream {
			return l, formatError("blob %d of %d bytes", i, n)
		}
		l.offsets[i] = l.streamSize + sector
		l.streamSize += entrySize(n)
	}
	l.streamSize += trailerSize
	if l.streamSize > maxStream || l.volumeCount() > maxVolumes {
		return l, formatError("%d bytes in volumes of %d", l.streamSize, volumeSize)
	}
	return l, nil
}

func checkVolumeSize(n int64) error {
	if n < VolumeUnit || n > maxStream || n%VolumeUnit != 0 {
		return formatError("volume size %d is not a positive multiple of 1 MiB", n)
	}
	return nil
}

// volumeCount is the number of volumes; never zero.
func (l *layout) volumeCount() int {
	return int((l.streamSize + l.volumeSize - 1) / l.volumeSize)
}

// volumeLength is the size of volume n.
func (l *layout) volumeLength(n int) int64 {
	return min(l.volumeSize, l.streamSize-int64(n)*l.volumeSize)
}

// trailerOffset is the offset of the two zero blocks.
func (l *layout) trailerOffset() int64 { return l.streamSize - trailerSize }

// segment is a piece of the stream that lies in one volume.
type segment struct {
	volume int
	offset int64 // in the volume
	length int64
}

// cutSegments returns the segments of a stream range that lies within the stream.
func (l *layout) cutSegments(offset, length int64) []segment {
	segments := make([]segment, 0, 2)
	for length > 0 {
		n := int(offset / l.volumeSize)
		at := offset % l.volumeSize
		take := min(length, l.volumeSize-at)
		segments = append(segments, segment{n, at, take})
		offset, length = offset+take, length-take
	}
	return segments
}

func volumeName(name string, n int) string { return fmt.Sprintf("%s.vol-%05d.tar", name, n) }
func headName(name string) string          { return name + ".head.tar" }
func journalName(name string) string       { return name + ".pack-journal" }
func ledgerName(name string) string        { return name + ".ledger.json" }
func signatureName(name, key string) string {
	return name + "." + key + ".sigstore.json"
}

const maxName = 128

// checkName accepts what is safe as the stem of a file name on any medium.
func checkName(name string) error {
	if name == "" || len(name) > maxName || name[0] == '.' || name[0] == '-' {
		return formatError("bundle name %q", name)
	}
	for _, c := range []byte(name) {
		if !nameByte(c) {
			return formatError("bundle name %q: only letters, digits, '.', '_', '+' and '-' are allowed", name)
		}
	}
	return nil
}

func nameByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return c == '.' || c == '_' || c == '+' || c == '-'
}

// entryAt is the index of the first entry that ends after a stream offset or
// lies there; len(offsets) in the trailer.
func (l *layout) entryAt(offset int64) int {
	i := sort.Search(len(l.offsets), func(i int) bool { return l.offsets[i]-sector > offset })
	return max(0, i-1)
}
