package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
)

// smallDisk mounts a file system of the given size; only root may.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skip("mounting a small file system:", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	return dir
}

func TestSpaceIsCheckedBeforeTheFirstByte(t *testing.T) {
	dir := smallDisk(t, "size=20m")
	f := newFixture("demo", 30*mib)
	_, err := Create(t.Context(), dir, "demo", digest.FromBytes(f.lock), f.slots, WriterOptions{VolumeSize: mib})
	var space *SpaceError
	if !errors.As(err, &space) || !errors.Is(err, ErrNoSpace) || space.Need < 30*mib || space.Free > 20*mib {
		t.Errorf("30 MiB on a disk of 20: %v", err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("left %v", files)
	}
}

func TestDiskFullWhileWriting(t *testing.T) {
	dir := smallDisk(t, "size=24m")
	f := newFixture("demo", 6*mib, 6*mib)
	w := f.create(t, dir, WriterOptions{VolumeSize: 2 * mib})
	if _, err := f.fill(t.Context(), w, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	hog := filepath.Join(dir, "hog") // somebody else fills the disk
	if err := fillDisk(hog); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if _, err := f.fill(t.Context(), w, 1); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing to a full disk: %v", err)
	}
	_ = w.Close()
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	w = f.create(t, dir, WriterOptions{VolumeSize: 2 * mib})
	if !w.Finished(0) {
		t.Error("the finished slot was lost")
	}
	if n := f.finish(t, w); n > 6*mib {
		t.Errorf("%d bytes fetched", n)
	}
}

func fillDisk(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(f, patternReader{make([]byte, 1<<16)})
	return err
}

// TestEachByteIsWrittenOnce counts what the process hands to the kernel.
func TestEachByteIsWrittenOnce(t *testing.T) {
	before := writtenBytes(t)
	f := newFixture("demo", 40*mib, 24*mib+1)
	f.write(t, t.TempDir(), WriterOptions{VolumeSize: 7 * mib})
	payload := int64(64*mib + 1)
	if got := writtenBytes(t) - before; got < payload || got > payload+payload/100 {
		t.Errorf("%d bytes written for a payload of %d", got, payload)
	}
}

// writtenBytes is the sum of what write calls of this process took.
func writtenBytes(t *testing.T) (n int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skip(err)
	}
	if _, err := fmt.Sscanf(string(b[bytes.Index(b, []byte("wchar")):]), "wchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}
