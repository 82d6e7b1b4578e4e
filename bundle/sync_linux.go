package bundle

import (
	"os"

	"golang.org/x/sys/unix"
)

// dataSync makes a file's bytes and size durable.
func dataSync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// readAhead tells the kernel what will be read soon.
func readAhead(f *os.File, offset, length int64) {
	_ = unix.Fadvise(int(f.Fd()), offset, length, unix.FADV_WILLNEED)
}
