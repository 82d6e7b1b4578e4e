package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// volumes is the stream being written: sparse files of their final size, created
// in order when first needed. Any number of goroutines may write disjoint
// ranges.
type volumes struct {
	dir    string
	name   string
	layout *layout
	files  *fileCache
	noSync bool

	turns []sync.Mutex // one writer of a volume at a time

	mu      sync.Mutex
	created int    // volumes 0 … created-1 exist with their final size
	dirty   []bool // written since the last sync
	entered bool   // the directory has entries that are not synced
}

func newVolumes(dir, name string, l *layout, noSync bool) *volumes {
	v := &volumes{
		dir: dir, name: name, layout: l, noSync: noSync,
		turns: make([]sync.Mutex, l.volumeCount()),
		dirty: make([]bool, l.volumeCount()),
	}
	v.files = newFileCache(maxOpenVolumes, func(path string) (*os.File, error) {
		return os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	})
	return v
}

func (v *volumes) volumePath(n int) string { return filepath.Join(v.dir, volumeName(v.name, n)) }

// createUpTo creates what is missing up to volume n.
func (v *volumes) createUpTo(n int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for ; v.created <= n; v.created++ {
		if err := v.createVolume(v.created); err != nil {
			return fmt.Errorf("laying out volume %d: %w", v.created, err)
		}
	}
	return nil
}

// createVolume makes volume n a file of its final size, sparse where it is new.
func (v *volumes) createVolume(n int) error {
	f, err := os.OpenFile(v.volumePath(n), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != v.layout.volumeLength(n) {
		v.dirty[n], v.entered = true, true
		err = f.Truncate(v.layout.volumeLength(n))
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// writeAt writes p into the stream.
func (v *volumes) writeAt(p []byte, offset int64) error {
	for _, seg := range v.layout.cutSegments(offset, int64(len(p))) {
		if err := v.writeSegment(p[:seg.length], seg); err != nil {
			return fmt.Errorf("writing volume %d: %w", seg.volume, err)
		}
		p = p[seg.length:]
	}
	return nil
}

func (v *volumes) writeSegment(p []byte, seg segment) error {
	if err := v.createUpTo(seg.volume); err != nil {
		return err
	}
	f, err := v.files.acquire(v.volumePath(seg.volume))
	if err != nil {
		return err
	}
	defer v.files.release(f)
	v.turns[seg.volume].Lock()
	_, err = f.WriteAt(p, seg.offset)
	v.turns[seg.volume].Unlock()
	v.mu.Lock()
	v.dirty[seg.volume] = true
	v.mu.Unlock()
	return err
}

// readAt fills p from the stream; what was never written is an error or zeros.
func (v *volumes) readAt(p []byte, offset int64, _ choice) error {
	for _, seg := range v.layout.cutSegments(offset, int64(len(p))) {
		if err := v.readSegment(p[:seg.length], seg); err != nil {
			return fmt.Errorf("reading volume %d: %w", seg.volume, err)
		}
		p = p[seg.length:]
	}
	return nil
}

func (v *volumes) readSegment(p []byte, seg segment) error {
	f, err := v.files.acquire(v.volumePath(seg.volume))
	if err != nil {
		return err
	}
	defer v.files.release(f)
	if _, err := f.ReadAt(p, seg.offset); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

func (v *volumes) otherChoices(int64, int64) []choice { return nil }

func (v *volumes) readAhead(int64, int64) {}

func (v *volumes) findPlaces(offset, length int64) []Place {
	var all []Place
	for _, seg := range v.layout.cutSegments(offset, length) {
		all = append(all, Place{seg.volume, volumeName(v.name, seg.volume), seg.offset, seg.length})
	}
	return all
}

// sync makes durable what was written before the call.
func (v *volumes) sync() error {
	v.mu.Lock()
	dirty, entered := v.dirty, v.entered
	v.dirty, v.entered = make([]bool, len(dirty)), false
	v.mu.Unlock()
	if v.noSync {
		return nil
	}
	for n, d := range dirty {
		if !d {
			continue
		}
		if err := v.syncVolume(n); err != nil {
			return fmt.Errorf("syncing volume %d: %w", n, err)
		}
	}
	if entered {
		return syncDirectory(v.dir)
	}
	return nil
}

func (v *volumes) syncVolume(n int) error {
	f, err := v.files.acquire(v.volumePath(n))
	if err != nil {
		return err
	}
	defer v.files.release(f)
	return dataSync(f.File)
}

// allocatedBytes is how many bytes of the stream have room on the disk already.
func (v *volumes) allocatedBytes() (total int64, err error) {
	for n := range v.dirty {
		var st unix.Stat_t
		err := unix.Lstat(v.volumePath(n), &st)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("looking at volume %d: %w", n, err)
		}
		total += min(st.Blocks*512, v.layout.volumeLength(n))
	}
	return total, nil
}

func (v *volumes) close() error { return v.files.close() }

// requireRoom requires that the file system of dir can take need more bytes.
func requireRoom(dir string, need int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("looking at the disk of %s: %w", dir, err)
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < need {
		return &SpaceError{Dir: dir, Need: need, Free: free}
	}
	return nil
}

// SpaceError says that a disk cannot hold the bundle. It matches ErrNoSpace.
type SpaceError struct {
	Dir  string
	Need int64 // bytes still to be written
	Free int64
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%v in %s: %d bytes needed, %d free", ErrNoSpace, e.Dir, e.Need, e.Free)
}

func (e *SpaceError) Is(target error) bool { return target == ErrNoSpace }
