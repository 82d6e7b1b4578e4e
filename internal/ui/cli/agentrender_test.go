package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestRenderCommandLeadsToTheProgram: the process that renders starts in the root
// directory, where a path relative to this one leads nowhere.
func TestRenderCommandLeadsToTheProgram(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "bin", "caisson-under-test")
	if err := os.MkdirAll(filepath.Dir(program), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("PATH", filepath.Dir(program))
	unknown := errors.New("no such link")
	for _, c := range []struct {
		self   string
		err    error
		called string
		want   string
	}{
		{"/opt/caisson", nil, "./caisson", "/opt/caisson"},
		{"", unknown, "bin/caisson-under-test", program},
		{"", unknown, "./bin/caisson-under-test", program},
		{"", unknown, program, program},
		{"", unknown, "caisson-under-test", program},
		{"", unknown, "gone", filepath.Join(dir, "gone")},
	} {
		if got := ownFile(c.self, c.err, c.called); got != c.want {
			t.Errorf("called %q, it is %q, want %q", c.called, got, c.want)
		}
	}
}
