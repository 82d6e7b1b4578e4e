package keeper

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/mirror"
)

// withLogin is a configuration whose containerd logs in.
func withLogin() mirror.Config {
	c := sample()
	c.Login = true
	return c
}

// withPassword are containerd's files with the login robot and a password.
func withPassword(c mirror.Config, password string) (out []mirror.File) {
	for _, f := range c.Containerd() {
		out = append(out, f.WithLogin(mirror.NewLogin("robot", password)))
	}
	return out
}

const (
	hosts    = "ghcr.io/hosts.toml"
	ownHosts = "reg.site_5000_/hosts.toml"
)

func (n node) mode(name string) os.FileMode {
	n.t.Helper()
	info, err := os.Stat(filepath.Join(n.dir, name))
	if err != nil {
		n.t.Fatal(err)
	}
	return info.Mode().Perm()
}

// TestLoginsAreForRootAlone: from the first write on, also when somebody opens the file,
// and what was there before comes back with its own mode.
func TestLoginsAreForRootAlone(t *testing.T) {
	n, files := newNode(t, map[string]string{hosts: theirs}), withPassword(withLogin(), "right")
	before := n.tree()
	if err := os.Chmod(filepath.Join(n.dir, hosts), 0o640); err != nil {
		t.Fatal(err)
	}
	k := n.keeper("demo")
	changed, err := k.keep(files)
	must(t, changed, err)
	for _, f := range files {
		if want := map[bool]os.FileMode{true: 0o600, false: 0o644}[f.Secret]; n.mode(f.Path) != want {
			t.Errorf("%s has mode %o, want %o", f.Path, n.mode(f.Path), want)
		}
	}
	if err := os.Chmod(filepath.Join(n.dir, hosts), 0o644); err != nil {
		t.Fatal(err)
	}
	changed, err = k.keep(files)
	if must(t, changed, err) != 1 || n.mode(hosts) != 0o600 {
		t.Errorf("%d files put right, mode %o", changed, n.mode(hosts))
	}
	changed, err = k.keep(files)
	if must(t, changed, err) != 0 {
		t.Errorf("another look changed %d files", changed)
	}
	changed, err = k.remove(withLogin().Containerd())
	must(t, changed, err)
	if n.same(before); n.mode(hosts) != 0o640 {
		t.Errorf("the administrator's file came back with mode %o", n.mode(hosts))
	}
}

// TestLoginComesAndGoes: a site that has one from now on, and no longer.
func TestLoginComesAndGoes(t *testing.T) {
	n := newNode(t, nil)
	k, plain := n.keeper("demo"), sample().Containerd()
	for _, files := range [][]mirror.File{plain, withPassword(withLogin(), "right"), withPassword(withLogin(), "newer"), plain} {
		changed, err := k.keep(files)
		must(t, changed, err)
		i := slices.IndexFunc(files, func(f mirror.File) bool { return f.Path == hosts })
		want := os.FileMode(0o644)
		if files[i].Secret {
			want = 0o600
		}
		if n.tree()[hosts] != string(files[i].Data) || n.mode(hosts) != want {
			t.Errorf("mode %o:\n%s", n.mode(hosts), n.tree()[hosts])
		}
	}
}

// TestStacksShareALogin: the same login is shared, another one, or none, is a conflict
// that names no password, and the mode stays when one of the stacks leaves.
func TestStacksShareALogin(t *testing.T) {
	n := newNode(t, nil)
	one, two := withLogin(), withLogin()
	two.Stack = "two"
	changed, err := n.keeper("demo").keep(withPassword(one, "right"))
	must(t, changed, err)
	changed, err = n.keeper("two").keep(withPassword(two, "right"))
	must(t, changed, err)
	if n.mode(hosts) != 0o600 || !strings.HasPrefix(n.tree()[hosts], mirror.Mark+"demo, two.\n") {
		t.Errorf("mode %o:\n%s", n.mode(hosts), n.tree()[hosts])
	}
	for name, files := range map[string][]mirror.File{"another": withPassword(two, "newer"), "none": {fileOf(t, sample(), hosts)}} {
		three := func(f mirror.File) mirror.File {
			f.Data = []byte(strings.Replace(strings.Replace(string(f.Data), "two", "three", 1), "stack demo", "stack three", 1))
			return f
		}
		for _, f := range files {
			if f.Path != hosts {
				continue
			}
			_, err := n.keeper("three").keep([]mirror.File{three(f)})
			if conflict := new(Conflict); !errors.As(err, &conflict) || !strings.Contains(err.Error(), "another CA or login") || strings.Contains(err.Error(), "Basic") {
				t.Errorf("%s: error is %v", name, err)
			}
		}
	}
	// A new password arrives at both, one after the other.
	if _, err := n.keeper("demo").keep(withPassword(one, "newer")); err == nil {
		t.Error("the first to change over takes the other's files")
	}
	for _, look := range []struct {
		stack string
		c     mirror.Config
	}{{"two", two}, {"demo", one}} {
		if n.mode(hosts) != 0o600 {
			t.Errorf("mode %o while passwords change", n.mode(hosts))
		}
		changed, err := n.keeper(look.stack).keep(withPassword(look.c, "newer"))
		must(t, changed, err)
	}
	changed, err = n.keeper("two").remove(two.Containerd())
	must(t, changed, err)
	if n.mode(hosts) != 0o600 || !strings.HasPrefix(n.tree()[hosts], mirror.Mark+"demo.\n") || n.mode(ownHosts) != 0o600 {
		t.Errorf("mode %o:\n%s", n.mode(hosts), n.tree()[hosts])
	}
}

// TestAgentReadsTheLoginAnew: a changed Secret reaches the node, one that is missing or
// damaged leaves the login that is there, and nothing that people read has the password.
func TestAgentReadsTheLoginAnew(t *testing.T) {
	opt := agentOptions(t, withLogin())
	opt.Once, opt.Login = true, filepath.Join(t.TempDir(), mirror.LoginFile)
	secret := func(text string) {
		if err := os.WriteFile(opt.Login, []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	var told strings.Builder
	look := func() error {
		err := Run(t.Context(), opt, event.Func(func(e event.Event) { told.WriteString(e.Message + "\n") }))
		if err != nil {
			told.WriteString(err.Error())
		}
		status, _ := os.ReadFile(opt.Status)
		told.Write(status)
		return err
	}
	file := func() string {
		data, err := os.ReadFile(filepath.Join(opt.Containerd, hosts))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	// None yet: what a registry that gives to anybody needs is there.
	if err := look(); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "pull secret: it does not exist") {
		t.Errorf("error is %v", err)
	}
	if text := file(); !strings.Contains(text, "reg.site") || strings.Contains(text, "Authorization") {
		t.Error(text)
	}
	for _, password := range []string{"first-hunter", "second-hunter"} {
		secret(`{"auths":{"reg.site:5000":{"username":"robot","password":"` + password + `"}}}`)
		if err := look(); err != nil {
			t.Fatal(err)
		}
		if want := mirror.NewLogin("robot", password).Authorization(); strings.Count(file(), want) != 2 {
			t.Errorf("%s is not there:\n%s", password, file())
		}
	}
	last := file()
	for name, text := range map[string]string{
		"for another registry": `{"auths":{"other.site":{"username":"robot","password":"third-hunter"}}}`,
		"no JSON":              `third-hunter`,
		"too long":             strings.Repeat(" ", maxLogin+1),
	} {
		if err := os.Remove(opt.Login); err != nil {
			t.Fatal(err)
		}
		secret(text)
		if err := look(); !errors.Is(err, ErrConflict) || file() != last {
			t.Errorf("%s: %v\n%s", name, err, file())
		}
	}
	if err := os.Remove(opt.Login); err != nil {
		t.Fatal(err)
	}
	opt.Remove = true
	if err := look(); err != nil {
		t.Errorf("removing needs no Secret: %v", err)
	}
	for _, word := range []string{"hunter", "Basic", "robot"} {
		if strings.Contains(told.String(), word) {
			t.Errorf("the agent told %s:\n%s", word, told.String())
		}
	}
}
