package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/mirror"
)

// act is what one stack's agent does in a look.
type act struct {
	stack  string
	remove bool
}

func (a act) on(n node, c mirror.Config) error {
	c.Stack = a.stack
	k := n.keeper(a.stack)
	if a.remove {
		_, err := k.remove(c.Containerd())
		return err
	}
	_, err := k.keep(c.Containerd())
	return err
}

// text is a file as the given stacks together have it.
func text(f mirror.File, stacks ...string) string { return string(withOwners(f.Data, stacks)) }

// TestStacksShareFiles removes two stacks in either order: what both want stays
// until the last is gone, without a moment in which it is missing.
func TestStacksShareFiles(t *testing.T) {
	one, two := sample(), sample()
	one.Stack, two.Stack = "one", "two"
	two.Hosts = []string{"ghcr.io", "quay.io"}
	for _, first := range []string{"one", "two"} {
		n := newNode(t, map[string]string{"ghcr.io/hosts.toml": theirs, "docker.io/hosts.toml": theirs})
		before := n.tree()
		must2(t)(n.keeper("one").keep(one.Containerd()))
		must2(t)(n.keeper("two").keep(two.Containerd()))
		both := n.tree()
		for _, f := range two.Containerd() {
			want := text(f, "one", "two")
			if strings.HasPrefix(f.Path, "quay.io/") {
				want = text(f, "two")
			}
			if both[f.Path] != want {
				t.Errorf("%s is\n%s", f.Path, both[f.Path])
			}
		}
		for _, c := range []mirror.Config{one, two, one} { // agents look again
			if n2 := must2(t)(n.keeper(c.Stack).keep(c.Containerd())); n2 != 0 {
				t.Errorf("a look of %s changed %d files", c.Stack, n2)
			}
		}
		left, gone := two, one
		if first == "two" {
			left, gone = one, two
		}
		must2(t)(n.keeper(gone.Stack).remove(gone.Containerd()))
		got := n.tree()
		for _, f := range left.Containerd() {
			if got[f.Path] != text(f, left.Stack) {
				t.Errorf("after %s, %s is\n%s", first, f.Path, got[f.Path])
			}
		}
		for _, host := range gone.Hosts {
			if now := got[host+"/hosts.toml"]; strings.Contains(now, gone.Stack+".") {
				t.Errorf("%s still holds %s:\n%s", gone.Stack, host, now)
			}
		}
		must2(t)(n.keeper(left.Stack).remove(left.Containerd()))
		n.same(before)
	}
}

// must2 passes on a count and ends the test on an error.
func must2(t *testing.T) func(int, error) int {
	return func(n int, err error) int { t.Helper(); return must(t, n, err) }
}

// TestAnyOrderOfAgents runs every order of a few looks and removals: afterwards
// the node has what the stacks that are left want, and nothing of the others.
func TestAnyOrderOfAgents(t *testing.T) {
	c := mirror.Config{Registry: "reg", CA: authority, Hosts: []string{"ghcr.io"}}
	acts := []act{{"one", false}, {"two", false}, {"one", true}, {"two", true}}
	var run func(done []act)
	run = func(done []act) {
		if len(done) == 4 {
			n, there := newNode(t, map[string]string{"ghcr.io/hosts.toml": theirs}), map[string]bool{}
			before := n.tree()
			for _, a := range done {
				if err := a.on(n, c); err != nil {
					t.Fatalf("%v: %v", done, err)
				}
				there[a.stack] = !a.remove
			}
			var left []string
			for _, s := range []string{"one", "two"} {
				if there[s] {
					left = append(left, s)
				}
			}
			got := n.tree()
			if len(left) == 0 {
				n.same(before)
			} else if got["ghcr.io/hosts.toml"] != text(c.Containerd()[1], left...) || got["ghcr.io/hosts.toml.before-caisson"] != theirs {
				t.Errorf("%v leaves %q", done, got)
			}
			return
		}
		for _, a := range acts {
			run(append(done[:len(done):len(done)], a))
		}
	}
	run(nil)
}

// TestAgentsSideBySide lets the agents of several stacks look at one directory
// at the same time: none loses what another wrote.
func TestAgentsSideBySide(t *testing.T) {
	n := newNode(t, map[string]string{"ghcr.io/hosts.toml": theirs})
	before, c := n.tree(), sample()
	all := func(remove bool) {
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				for range 5 {
					if err := (act{fmt.Sprintf("s%d", i), remove}).on(n, c); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
	}
	all(false)
	if got := n.tree()["ghcr.io/hosts.toml"]; got != text(fileOf(t, c, "ghcr.io/hosts.toml"), "s0", "s1", "s2", "s3") {
		t.Errorf("the file is\n%s", got)
	}
	all(true)
	n.same(before)
}

// TestStacksCutOff ends an agent in the middle of a write beside another stack's.
func TestStacksCutOff(t *testing.T) {
	n, c := newNode(t, nil), mirror.Config{Registry: "reg", Hosts: []string{"ghcr.io"}}
	if err := (act{"one", false}).on(n, c); err != nil {
		t.Fatal(err)
	}
	n.write("ghcr.io/.hosts.toml.two.caisson", "# Writ") // two was ended, and its agent never ran again
	for _, a := range []act{{"one", false}, {"two", true}, {"one", true}} {
		if err := a.on(n, c); err != nil {
			t.Fatal(err)
		}
	}
	n.same(map[string]string{})
}

// TestStacksFollowOneAnother: two stacks share a registry whose CA changes. The
// first to be told of it is refused and steps back; so the other can go on, and
// then the first.
func TestStacksFollowOneAnother(t *testing.T) {
	n, old := newNode(t, nil), mirror.Config{Registry: "reg", CA: authority, Hosts: []string{"ghcr.io"}}
	changed := old
	changed.CA = strings.Replace(authority, "MIIB", "MIIC", 1)
	for _, a := range []act{{"one", false}, {"two", false}} {
		if err := a.on(n, old); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		var conflict *Conflict
		if err := (act{"two", false}).on(n, changed); !errors.As(err, &conflict) || !strings.Contains(err.Error(), "stack one, which has another site registry, or another CA") {
			t.Fatalf("error is %v", err)
		}
	}
	if got := n.tree()["ghcr.io/"+mirror.CAFile]; got != text(fileOf(t, old, "ghcr.io/"+mirror.CAFile), "one") {
		t.Errorf("while they differ the CA is\n%s", got)
	}
	for _, a := range []act{{"one", false}, {"two", false}} {
		if err := a.on(n, changed); err != nil {
			t.Fatal(err)
		}
	}
	if got := n.tree()["ghcr.io/"+mirror.CAFile]; got != text(fileOf(t, changed, "ghcr.io/"+mirror.CAFile), "one", "two") {
		t.Errorf("afterwards the CA is\n%s", got)
	}
}

// TestOwnHostYields: what a node has for the site registry's own name stays.
func TestOwnHostYields(t *testing.T) {
	c := sample()
	own := "reg.site_5000_/"
	for name, files := range map[string]map[string]string{
		"a certificate":   {own + "ca.crt": "x"},
		"the other name":  {"reg.site:5000/hosts.toml": theirs},
		"for every host":  {"_default/hosts.toml": theirs},
		"their own hosts": {own + "hosts.toml": theirs},
	} {
		n := newNode(t, files)
		before := n.tree()
		must2(t)(n.keeper("demo").keep(c.Containerd()))
		got := n.tree()
		if _, ok := got[own+mirror.CAFile]; ok || (got[own+mirror.HostsFile] != "" && got[own+mirror.HostsFile] != theirs) {
			t.Errorf("%s: the keeper wrote beside it: %q", name, got)
		}
		must2(t)(n.keeper("demo").remove(c.Containerd()))
		n.same(before)
	}
	n := newNode(t, nil)
	must2(t)(n.keeper("demo").keep(c.Containerd()))
	if err := os.Remove(filepath.Join(n.dir, own+mirror.HostsFile)); err != nil { // cut off between both
		t.Fatal(err)
	}
	must2(t)(n.keeper("two").keep(c.Containerd()))
	if got := n.tree()[own+mirror.HostsFile]; !strings.Contains(got, `server = "https://reg.site:5000"`) || !strings.Contains(got, mirror.CAFile) {
		t.Errorf("the registry's own hosts.toml is\n%s", got)
	}
	link := newNode(t, nil)
	if err := os.Symlink(t.TempDir(), filepath.Join(link.dir, "reg.site_5000_")); err != nil {
		t.Fatal(err)
	}
	must2(t)(link.keeper("demo").keep(c.Containerd()))
}

// crioAgent is an agent's options on a CRI-O node, for the given stack.
func crioAgent(t *testing.T, n, certs node, c mirror.Config) Status {
	t.Helper()
	opt := agentOptions(t, c)
	opt.Containerd, opt.CRIO, opt.CRIOCerts, opt.Once = "", n.dir, certs.dir, true
	_ = Run(t.Context(), opt, event.Discard)
	s, err := ReadStatus(opt.Status)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCRIOFilesOfStacks(t *testing.T) {
	const old = "50-caisson.conf"
	n, certs := newNode(t, map[string]string{"00-shortnames.conf": "[aliases]\n"}), newNode(t, map[string]string{"reg.site:5000/ca.crt": "theirs"})
	before, trusted := n.tree(), certs.tree()
	one, two := sample(), sample()
	one.Stack, two.Stack, two.Hosts = "one", "two", []string{"ghcr.io", "quay.io"}
	n.write(old, mirror.Mark+"one.\n# Changes are undone; uninstalling the stack removes it.\n"+"[[registry]]\n") // of an earlier caisson
	for _, c := range []mirror.Config{one, two, one} {
		if s := crioAgent(t, n, certs, c); !s.Ready || len(s.Warnings) > 0 {
			t.Fatalf("%s: %+v", c.Stack, s)
		}
	}
	got := n.tree()
	if got["50-caisson-one.conf"] != string(one.CRIO()[0].Data) || got["50-caisson-two.conf"] != string(two.CRIO()[0].Data) || got[old] != "" {
		t.Errorf("CRI-O has %q", got)
	}
	if ca := certs.tree()["reg.site:5000/"+mirror.CAFile]; ca != text(one.CRIOCerts()[0], "one", "two") || !strings.Contains(ca, "BEGIN CERTIFICATE") {
		t.Errorf("the CA is\n%s", ca)
	}
	elsewhere := sample()
	elsewhere.Stack, elsewhere.Registry, elsewhere.CA = "three", "other.site", ""
	if s := crioAgent(t, n, certs, elsewhere); s.Ready || !strings.Contains(s.Err().Error(), "50-caisson-one.conf leads docker.io to reg.site:5000/mirror/docker.io for stack one") {
		t.Errorf("%+v", s)
	}
	must2(t)(n.keeper("three").remove(elsewhere.CRIO()))
	n.write("99-proxy.conf", "[[registry]]\nlocation = \"ghcr.io\"\n")
	if s := crioAgent(t, n, certs, two); !s.Ready || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "99-proxy.conf leads ghcr.io to ghcr.io") {
		t.Errorf("%+v", s)
	}
	if err := os.Remove(filepath.Join(n.dir, "99-proxy.conf")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []mirror.Config{one, two} {
		must2(t)(n.keeper(c.Stack).remove(c.CRIO()))
		must2(t)(certs.keeper(c.Stack).remove(c.CRIOCerts()))
	}
	n.same(before)
	certs.same(trusted)
}

func TestAgentRefusesAHostileConfiguration(t *testing.T) {
	for _, c := range []mirror.Config{
		{Stack: "../x", Registry: "reg"}, {Stack: "a, b", Registry: "reg"}, {Stack: "a", Registry: "../../etc"}, {Stack: "a", Registry: ".x/y"},
	} {
		if c.Check() == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
