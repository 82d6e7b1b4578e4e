package bundle

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sort"
)

const (
	maxOpenVolumes = 64
	maxAttempts    = 32 // combinations of volume copies tried for one block
)

// MissingError says that no copy of a volume was found. It matches ErrMissing.
type MissingError struct {
	Volume int
	Name   string // of the file
}

func (e *MissingError) Error() string        { return fmt.Sprintf("%s: %v", e.Name, ErrMissing) }
func (e *MissingError) Is(target error) bool { return target == ErrMissing }

// source reads the stream from the volume files, wherever copies of them lie.
// It is safe for concurrent use.
type source struct {
	name   string
	layout *layout
	copies [][]string // by volume; copies of the right size first
	files  *fileCache
}

func newSource(files Files, l *layout) *source {
	s := &source{name: files.Name, layout: l, copies: make([][]string, l.volumeCount())}
	for n := range s.copies {
		s.copies[n] = preferWhole(files.Volumes[n], l.volumeLength(n))
	}
	s.files = newFileCache(maxOpenVolumes, openVolume)
	return s
}

// openVolume refuses whatever is not a regular file: a device or pipe on a
// medium must not stall a reader.
func openVolume(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("opening %s: not a regular file", path)
	}
	return os.Open(path)
}

func preferWhole(paths []string, size int64) []string {
	ordered := append([]string(nil), paths...)
	sort.SliceStable(ordered, func(i, j int) bool {
		return hasSize(ordered[i], size) && !hasSize(ordered[j], size)
	})
	return ordered
}

func hasSize(path string, size int64) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() == size
}

// choice names the copy to read of each volume; of a volume that it does not
// mention the first.
type choice map[int]int

// readAt fills p from the stream, copy by choice.
func (s *source) readAt(p []byte, offset int64, by choice) error {
	for _, seg := range s.layout.cutSegments(offset, int64(len(p))) {
		if err := s.readSegment(p[:seg.length], seg, by[seg.volume]); err != nil {
			return err
		}
		p = p[seg.length:]
	}
	return nil
}

func (s *source) readSegment(p []byte, seg segment, pick int) error {
	copies := s.copies[seg.volume]
	if len(copies) == 0 {
		return &MissingError{seg.volume, volumeName(s.name, seg.volume)}
	}
	f, err := s.files.acquire(copies[pick])
	if errors.Is(err, os.ErrNotExist) {
		return &MissingError{seg.volume, volumeName(s.name, seg.volume)}
	}
	if err != nil {
		return &segmentError{seg.volume, err}
	}
	defer s.files.release(f)
	if _, err := f.ReadAt(p, seg.offset); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return &segmentError{seg.volume, err}
	}
	return nil
}

// segmentError says which volume the disk refused to read.
type segmentError struct {
	volume int
	err    error
}

func (e *segmentError) Error() string { return fmt.Sprintf("reading volume %d: %v", e.volume, e.err) }

func (e *segmentError) Unwrap() error { return e.err }

// otherChoices lists the ways to read a range when its first choice is bad: each
// combination of copies but the first, at most maxAttempts.
func (s *source) otherChoices(offset, length int64) (all []choice) {
	segments := s.layout.cutSegments(offset, length)
	now := choice{}
	for len(all) < maxAttempts && s.nextChoice(now, segments) {
		all = append(all, maps.Clone(now))
	}
	return all
}

// nextChoice counts through the combinations of copies.
func (s *source) nextChoice(c choice, segments []segment) bool {
	for _, seg := range segments {
		if c[seg.volume]++; c[seg.volume] < len(s.copies[seg.volume]) {
			return true
		}
		c[seg.volume] = 0
	}
	return false
}

// fileName is the name of the file from which a volume is read first.
func (s *source) fileName(volume int) string {
	if c := s.copies[volume]; len(c) > 0 {
		return filepath.Base(c[0])
	}
	return volumeName(s.name, volume)
}

// Close closes the volumes that are open.
func (s *source) Close() error { return s.files.close() }

// readAhead tells the kernel that a range will be read at once.
func (s *source) readAhead(offset, length int64) {
	for _, seg := range s.layout.cutSegments(offset, length) {
		if len(s.copies[seg.volume]) == 0 {
			continue
		}
		f, err := s.files.acquire(s.copies[seg.volume][0])
		if err != nil {
			return
		}
		readAhead(f.File, seg.offset, seg.length)
		s.files.release(f)
	}
}
