package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// TooLargeError says that a file is larger than its reader takes. It does not
// name the file.
type TooLargeError struct {
	Limit int64 // bytes
}

func (e *TooLargeError) Error() string { return fmt.Sprintf("it has more than %d bytes", e.Limit) }

// ReadFile reads the file at path, which may have limit bytes at most, else the
// error is a *TooLargeError. It never holds more than one byte above the limit,
// whatever the file is or grows to meanwhile.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return readOpen(f, limit)
}

// ReadIn is ReadFile for a name below root.
func ReadIn(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	return readOpen(f, limit)
}

// ErrNotRegular: what is to be read is a folder, a pipe or a device.
var ErrNotRegular = errors.New("it is not a plain file")

// ReadRegularIn is ReadIn for plain files: it waits for no pipe.
func ReadRegularIn(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotRegular
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return readOpen(f, limit)
}

// readOpen reads f and closes it.
func readOpen(f *os.File, limit int64) ([]byte, error) {
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &TooLargeError{limit}
	}
	return data, nil
}
