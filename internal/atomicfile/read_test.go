package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestReadFileHoldsItsLimit(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, read := range map[string]func(string, int64) ([]byte, error){
		"by path": func(name string, limit int64) ([]byte, error) { return ReadFile(filepath.Join(dir, name), limit) },
		"in root": func(name string, limit int64) ([]byte, error) { return ReadIn(root, name, limit) },
	} {
		if data, err := read("f", 5); err != nil || string(data) != "12345" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
		var large *TooLargeError
		if data, err := read("f", 4); !errors.As(err, &large) || large.Limit != 4 || data != nil {
			t.Errorf("%s: one byte too many: %q, %v", name, data, err)
		}
		if _, err := read("g", 4); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: no file: %v", name, err)
		}
	}
	if _, err := ReadFile("/dev/zero", 1<<10); !errors.As(err, new(*TooLargeError)) {
		t.Errorf("a file without an end: %v", err)
	}
}
