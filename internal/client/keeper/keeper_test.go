package keeper

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/rules/mirror"
)

// node is a directory of a node.
type node struct {
	t   *testing.T
	dir string
}

func newNode(t *testing.T, files map[string]string) node {
	t.Helper()
	n := node{t, t.TempDir()}
	for name, text := range files {
		n.write(name, text)
	}
	return n
}

func (n node) write(name, text string) {
	n.t.Helper()
	path := filepath.Join(n.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		n.t.Fatal(err)
	}
}

// tree is everything there, directories with a slash.
func (n node) tree() map[string]string {
	n.t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(n.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == n.dir {
			return err
		}
		name, _ := filepath.Rel(n.dir, path)
		switch {
		case d.IsDir():
			out[name+"/"] = ""
		case d.Type()&fs.ModeSymlink != 0:
			out[name], err = os.Readlink(path)
		default:
			data, e := os.ReadFile(path)
			out[name], err = string(data), e
		}
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// stackKeeper opens the keeper of a stack for each act, as an agent does.
type stackKeeper struct {
	node
	stack string
}

func (n node) keeper(stack string) stackKeeper { return stackKeeper{n, stack} }

func (s stackKeeper) keep(files []mirror.File) (int, error) {
	return s.do(func(k *keeper) (int, error) { return k.keepFiles(files) })
}

func (s stackKeeper) remove(files []mirror.File) (int, error) {
	return s.do(func(k *keeper) (int, error) { return k.removeFiles(files) })
}

func (s stackKeeper) do(act func(*keeper) (int, error)) (int, error) {
	s.t.Helper()
	k, err := openKeeper(s.dir, s.stack)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = k.close() }()
	return act(k)
}

func (n node) same(want map[string]string) {
	n.t.Helper()
	got := n.tree()
	if maps.Equal(got, want) {
		return
	}
	n.t.Errorf("the node has %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	for name := range got {
		if text, ok := want[name]; ok && text != got[name] {
			n.t.Errorf("%s is\n%s", name, got[name])
		}
	}
}

func must(t *testing.T, changed int, err error) int {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

const theirs = "server = \"https://proxy.lan\"\n"

func TestKeepAndRemove(t *testing.T) {
	n := newNode(t, map[string]string{"ghcr.io/hosts.toml": theirs, "ghcr.io/own.crt": "x", "quay.io/hosts.toml": theirs})
	before, k, files := n.tree(), n.keeper("demo"), sample().Containerd()
	changed, err := k.keep(files)
	if must(t, changed, err) != len(files) {
		t.Errorf("%d files changed, want %d", changed, len(files))
	}
	got := n.tree()
	for _, f := range files {
		if got[f.Path] != string(f.Data) {
			t.Errorf("%s is %q", f.Path, got[f.Path])
		}
	}
	if got["ghcr.io/hosts.toml.before-caisson"] != theirs || got["quay.io/hosts.toml"] != theirs {
		t.Error("what the administrator had is lost")
	}
	changed, err = k.keep(files)
	if must(t, changed, err) != 0 {
		t.Errorf("a second look changed %d files", changed)
	}
	n.same(got)

	n.write("docker.io/hosts.toml", mirror.Mark+"demo.\n# Changes are undone\nserver = \"\"\n")
	changed, err = k.keep(files)
	if must(t, changed, err) != 1 {
		t.Errorf("%d files put right, want 1", changed)
	}
	n.same(got)

	changed, err = k.remove(files)
	must(t, changed, err)
	n.same(before)
	changed, err = k.remove(files)
	if must(t, changed, err) != 0 {
		t.Errorf("a second removal changed %d files", changed)
	}
	if info, err := os.Stat(filepath.Join(n.dir, "ghcr.io/hosts.toml")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the administrator's file came back otherwise: %v, %v", info, err)
	}
}

func TestUpdateDropsHostsAndAuthority(t *testing.T) {
	n, c := newNode(t, nil), sample()
	k := n.keeper("demo")
	changed, err := k.keep(c.Containerd())
	must(t, changed, err)
	c.Hosts, c.CA, c.Registry = []string{"ghcr.io"}, "", "other.site"
	changed, err = k.keep(c.Containerd())
	must(t, changed, err)
	n.same(map[string]string{"ghcr.io/": "", "ghcr.io/hosts.toml": string(c.Containerd()[0].Data)})
	// What an earlier configuration wrote goes as well.
	changed, err = k.remove(mirror.Config{Stack: "demo", Registry: "x", Hosts: []string{"quay.io"}}.Containerd())
	must(t, changed, err)
	n.same(map[string]string{})
}

// TestCutOff begins at every state that a killed keeper can leave.
func TestCutOff(t *testing.T) {
	files := mirror.Config{Stack: "demo", Registry: "reg", Hosts: []string{"ghcr.io"}}.Containerd()
	for name, spoil := range map[string]func(n node){
		"directory made": func(n node) { n.write("ghcr.io/.x", ""); _ = os.Remove(filepath.Join(n.dir, "ghcr.io/.x")) },
		"half a file":    func(n node) { n.write("ghcr.io/.hosts.toml.demo.caisson", "# Writ") },
	} {
		n := newNode(t, nil)
		spoil(n)
		k := n.keeper("demo")
		changed, err := k.remove(files)
		must(t, changed, err)
		n.same(map[string]string{})
		spoil(n)
		changed, err = k.keep(files)
		must(t, changed, err)
		if n.same(map[string]string{"ghcr.io/": "", files[0].Path: string(files[0].Data)}); t.Failed() {
			t.Fatal(name)
		}
	}
	// Saved, and not yet replaced.
	n := newNode(t, map[string]string{"ghcr.io/hosts.toml": theirs})
	before := n.tree()
	link := func() {
		path := filepath.Join(n.dir, "ghcr.io/hosts.toml")
		if err := os.Link(path, path+".before-caisson"); err != nil {
			t.Fatal(err)
		}
	}
	link()
	k := n.keeper("demo")
	changed, err := k.remove(files)
	must(t, changed, err)
	n.same(before)
	link()
	changed, err = k.keep(files)
	must(t, changed, err)
	changed, err = k.remove(files)
	must(t, changed, err)
	n.same(before)
}

func TestConflictsAreLeftAlone(t *testing.T) {
	files := mirror.Config{Stack: "demo", Registry: "reg", Hosts: []string{"ghcr.io"}}.Containerd()
	outside := t.TempDir()
	other := mirror.Config{Stack: "other", Registry: "elsewhere", Hosts: []string{"ghcr.io"}}.Containerd()
	for name, c := range map[string]struct {
		make func(n node)
		want string
	}{
		"a link for a directory": {func(n node) { _ = os.Symlink(outside, filepath.Join(n.dir, "ghcr.io")) }, "is not a directory"},
		"a link for a file": {func(n node) {
			n.write("ghcr.io/x", "")
			_ = os.Symlink(filepath.Join(outside, "target"), filepath.Join(n.dir, "ghcr.io/hosts.toml"))
		}, "is not a plain file"},
		"a link inside": {func(n node) {
			n.write("ghcr.io/real", theirs)
			_ = os.Symlink("real", filepath.Join(n.dir, "ghcr.io/hosts.toml"))
		}, "is not a plain file"},
		"too long":      {func(n node) { n.write("ghcr.io/hosts.toml", strings.Repeat("#", maxFile+1)) }, "is not a plain file"},
		"another stack": {func(n node) { n.write(other[0].Path, string(other[0].Data)) }, "stack other"},
		"two of the administrator": {func(n node) {
			n.write("ghcr.io/hosts.toml", theirs)
			n.write("ghcr.io/hosts.toml.before-caisson", "older")
		}, "somebody else"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, nil)
			n.t = t
			c.make(n)
			before := n.tree()
			_, err := n.keeper("demo").keep(files)
			var conflict *Conflict
			if !errors.As(err, &conflict) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v", err)
			}
			n.same(before)
			_, _ = n.keeper("demo").remove(files)
			n.same(before)
			if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
				t.Errorf("something was written outside: %v, %v", left, err)
			}
		})
	}
}

const authority = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

func sample() mirror.Config {
	return mirror.Config{Stack: "demo", Registry: "reg.site:5000/mirror", CA: authority, Hosts: []string{"docker.io", "ghcr.io", "reg.lan:8443"}}
}

// fileOf is containerd's file of that path.
func fileOf(t *testing.T, c mirror.Config, path string) mirror.File {
	t.Helper()
	for _, f := range c.Containerd() {
		if f.Path == path {
			return f
		}
	}
	t.Fatalf("containerd gets no %s", path)
	return mirror.File{}
}
