package decide

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/event"
)

// runtimeNode is a node that is ready, with a runtime.
func runtimeNode(name, runtime string) NodeFact {
	return NodeFact{Name: name, Platform: "linux/amd64", Ready: true, Runtime: runtime}
}

// withSecret has the site name a pull secret, and its nodes run containerd.
func withSecret(s *plan.Site, f *Facts) {
	s.Registry.PullSecretRef = &site.SecretRef{Name: "site-login", Namespace: "default"}
	f.Cluster.Nodes = []NodeFact{runtimeNode("a", "containerd://2.1.0")}
}

func TestContainerdGetsTheLogin(t *testing.T) {
	l, p, found := mirrored(t, func(_ *lock.Lock, s *plan.Site, f *Facts) { withSecret(s, f) })
	if p == nil || slices.ContainsFunc(found, func(f event.Finding) bool { return f.Code == event.CodeMirrorPullSecret }) {
		t.Fatalf("%+v", found)
	}
	n := p.Nodes
	if n.Login != "site-login" || len(n.Files) != 4 || n.Files[3].Path != "/etc/containerd/certs.d/reg.site_5000_/hosts.toml" {
		t.Errorf("%+v", n)
	}
	_, without, _ := mirrored(t, nil)
	for i, f := range n.Files {
		if !f.Login || i < 3 && f.Digest != without.Nodes.Files[i].Digest {
			t.Errorf("%+v: the digest is to be that of the file without the login", f)
		}
	}
	text, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := plan.Parse(text); err != nil || Fit(back, l, dg("lock")) != nil {
		t.Errorf("reading it back: %v", err)
	}
	for name, spoil := range map[string]func(n *plan.NodeChange){
		"another Secret":       func(n *plan.NodeChange) { n.Login = "others" },
		"no login in the list": func(n *plan.NodeChange) { n.Files[0].Login = false },
		"no login, but files":  func(n *plan.NodeChange) { n.Login = "" },
		"none for containerd":  func(n *plan.NodeChange) { n.Runtimes = []string{"cri-o"} },
	} {
		bad, err := plan.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		spoil(bad.Nodes)
		if err := Fit(bad, l, dg("lock")); !errors.Is(err, plan.ErrUnfit) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func TestNodeLoginFindings(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *plan.Site, f *Facts)
		login  bool
		code   string // of the finding there is to be; "": none of ours
		what   string
	}{
		"containerd": {func(*plan.Site, *Facts) {}, true, "", ""},
		"CRI-O alone": {
			func(_ *plan.Site, f *Facts) { f.Cluster.Nodes = []NodeFact{runtimeNode("a", "cri-o://1.33.1")} },
			false, event.CodeMirrorPullSecret, "which a node offers only",
		},
		"CRI-O beside containerd": {
			func(_ *plan.Site, f *Facts) {
				f.Cluster.Nodes = append(f.Cluster.Nodes, runtimeNode("b", "cri-o://1.33.1"))
			},
			true, event.CodeMirrorPullSecret, "which a node with CRI-O offers only",
		},
		"CRI-O, rewritten": {
			func(s *plan.Site, f *Facts) {
				s.References = append(s.References, plan.Rewrite)
				f.Cluster.Nodes = append(f.Cluster.Nodes, runtimeNode("b", "cri-o://1.33.1"))
			},
			true, "", "",
		},
		"tokens, old": {
			func(_ *plan.Site, f *Facts) {
				f.TokensOnly = true
				f.Cluster.Nodes = append(f.Cluster.Nodes, runtimeNode("b", "containerd://1.7.27"), runtimeNode("c", "containerd://2.0.5"))
			},
			true, event.CodeMirrorPullSecret, "older on: b, c",
		},
		"tokens, new":      {func(_ *plan.Site, f *Facts) { f.TokensOnly = true }, true, "", ""},
		"passwords, old":   {func(_ *plan.Site, f *Facts) { f.Cluster.Nodes[0].Runtime = "containerd://1.7.27" }, true, "", ""},
		"nodes log in":     {func(s *plan.Site, _ *Facts) { s.Registry.NodesLogIn = true }, false, "", ""},
		"a spare Secret":   {func(_ *plan.Site, f *Facts) { f.Logins = []plan.LoginTrouble{{Spare: true}} }, false, event.CodeMirrorPullSecret, "a node"},
		"no TLS":           {func(s *plan.Site, _ *Facts) { s.Registry.PlainHTTP = true }, true, event.CodePlainLogin, "without TLS"},
		"no TLS, loopback": {func(s *plan.Site, _ *Facts) { s.Registry.PlainHTTP, s.Registry.Address = true, "127.0.0.1:5000" }, true, "", ""},
	} {
		_, p, found := mirrored(t, func(_ *lock.Lock, s *plan.Site, f *Facts) {
			withSecret(s, f)
			c.change(s, f)
		})
		if p == nil {
			t.Errorf("%s: no plan: %+v", name, found)
			continue
		}
		if (p.Nodes.Login != "") != c.login {
			t.Errorf("%s: login %q", name, p.Nodes.Login)
		}
		var ours []event.Finding
		for _, f := range found {
			if f.Code == event.CodeMirrorPullSecret || f.Code == event.CodePlainLogin {
				ours = append(ours, f)
			}
		}
		if c.code == "" && len(ours) == 0 {
			continue
		}
		if len(ours) != 1 || ours[0].Code != c.code || !strings.Contains(ours[0].What, c.what) {
			t.Errorf("%s: %+v", name, ours)
		}
	}
}

func TestIsLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:5000": true, "localhost:5000": true, "localhost": true, "[::1]:5000": true, "127.3.2.1": true,
		"10.0.0.1:5000": false, "reg.site": false, "localhost.evil.example:5000": false, "127.0.0.1.example": false,
	} {
		if got := isLoopback(address); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}
