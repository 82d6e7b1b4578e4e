package cli

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestBuildNamesItsCommit: a program that make builds says which commit it is
// from, also where go build may not ask git.
func TestBuildNamesItsCommit(t *testing.T) {
	if testing.Short() {
		t.Skip("links the program")
	}
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = "../../.."
		cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if err := exec.CommandContext(t.Context(), "git", "-C", "../../..", "rev-parse", "HEAD").Run(); err != nil {
		t.Skip("this is no clone")
	}
	dir := t.TempDir()
	run("make", "build", "BIN="+dir)
	if commit, said := run("git", "rev-parse", "HEAD"), run(dir+"/caisson", "version"); !strings.Contains(said, commit) {
		t.Errorf("built from %s, it says\n%s", commit, said)
	}
}
