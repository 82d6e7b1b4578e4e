package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestWriteReplacesContentAndMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan.json")
	for _, tc := range []struct {
		data string
		mode fs.FileMode
	}{{"first, and longer", 0o666}, {"second", 0o600}, {"", 0o755}} {
		if err := Write(path, []byte(tc.data), tc.mode); err != nil {
			t.Fatal(err)
		}
		holds(t, path, tc.data, tc.mode)
	}
}

// TestFailureLeavesTheOldFile: neither half a file nor a temporary one stays.
func TestFailureLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tool")
	if err := Write(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	cut := io.MultiReader(strings.NewReader("half of the ne"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := Copy(path, cut, 0o755); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
	holds(t, path, "old", 0o644)
}

// TestRenameFails: a directory that is in the way stays, the temporary file goes.
func TestRenameFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.html")
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("new"), 0o644); err == nil {
		t.Error("a directory was replaced")
	}
	alone(t, path)
}

func TestNoDirectory(t *testing.T) {
	err := Write(filepath.Join(t.TempDir(), "no", "file"), nil, 0o644)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func holds(t *testing.T, path, data string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != data {
		t.Errorf("%q, %v; want %q", got, err, data)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
		t.Errorf("mode %v, %v; want %v", info.Mode(), err, mode)
	}
	alone(t, path)
}

// alone wants nothing beside path.
func alone(t *testing.T, path string) {
	t.Helper()
	beside, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(beside) != 1 || beside[0].Name() != filepath.Base(path) {
		t.Errorf("%v, %v", beside, err)
	}
}
