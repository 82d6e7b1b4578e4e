package decide

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/event"
)

// withAgent adds the node agent to a lock and a registry.
func withAgent(l *lock.Lock, f *Facts) {
	it := lock.Item{
		Ref: lock.ToolRepository + ":0123", Kind: lock.Image, Source: lock.SourceTool, Digest: dg("agent"), Size: 10,
		Content: lock.Verbatim{{Blob: lock.Blob{Digest: dg("agent"), Size: 10}, Platform: "linux/amd64", Layers: []lock.Blob{{Digest: dg("binary"), Size: 70000}}}},
	}
	l.Items = append(l.Items, it)
	f.Registry.Has[lock.ToolRepository+"@"+it.Digest.String()] = true
}

// mirrored decides for a site with the strategy mirror.
func mirrored(t *testing.T, change func(l *lock.Lock, s *plan.Site, f *Facts)) (*lock.Lock, *plan.Plan, []event.Finding) {
	t.Helper()
	var used *lock.Lock
	p, found := decide(t, func(l *lock.Lock, s *plan.Site, _ map[Key]Rendered, f *Facts) {
		s.References = []string{plan.Mirror}
		withAgent(l, f)
		if change != nil {
			change(l, s, f)
		}
		used = l
	})
	return used, p, found
}

func TestMirrorChangesNodes(t *testing.T) {
	l, p, found := mirrored(t, nil)
	if p == nil {
		t.Fatalf("%+v", found)
	}
	n := p.Nodes
	if n.Strategy != plan.Mirror || !slices.Equal(n.Hosts, []string{"docker.io", "ghcr.io", "quay.io"}) || !slices.Equal(n.Runtimes, []string{"containerd"}) || n.CA != "" {
		t.Errorf("%+v", n)
	}
	if want := imageref.Ref("reg.site:5000/mirror/images.caisson.dev/caisson").At(dg("agent")); n.Agent != want {
		t.Errorf("the agent is %s, want %s", n.Agent, want)
	}
	if len(n.Files) != 3 || n.Files[0].Path != "/etc/containerd/certs.d/docker.io/hosts.toml" {
		t.Errorf("%+v", n.Files)
	}
	if !slices.ContainsFunc(p.Images, func(i plan.Image) bool { return i.Site == n.Agent && i.Present }) {
		t.Error("the agent is none of the plan's images: install would not ask the registry for it")
	}
	rewrite := p.Rewriter()
	if got, ok := rewrite("nginx:1"); !ok || got != "nginx:1" {
		t.Errorf("nginx:1 becomes %s, %v; a mirror keeps names", got, ok)
	}
	if _, ok := rewrite("ghcr.io/acme/unknown:1"); ok {
		t.Error("an image outside the bundle is taken")
	}
	if got, ok := rewrite(string(n.Agent)); !ok || got != string(n.Agent) {
		t.Errorf("the agent's image becomes %s, %v", got, ok)
	}
	text, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := plan.Parse(text); err != nil || Fit(back, l, dg("lock")) != nil {
		t.Errorf("reading it back: %v", err)
	}
}

// TestMirrorLeadsModels: a pod that mounts a model as an image names it as the
// hub does.
func TestMirrorLeadsModels(t *testing.T) {
	_, p, found := mirrored(t, func(l *lock.Lock, _ *plan.Site, _ *Facts) {
		it := model(nil)
		it.Ref = "huggingface.co/acme/chat:main"
		l.Items = append(l.Items, it)
	})
	if p == nil || !slices.Contains(p.Nodes.Hosts, "huggingface.co") {
		t.Errorf("models' names are led nowhere: %+v", found)
	}
}

func TestMirrorAndRewrite(t *testing.T) {
	_, p, _ := mirrored(t, func(_ *lock.Lock, s *plan.Site, _ *Facts) { s.References = []string{plan.Mirror, plan.Rewrite} })
	if got, ok := p.Rewriter()("nginx:1"); !ok || !strings.HasPrefix(got, "reg.site:5000/mirror/docker.io/library/nginx@") || p.Nodes == nil {
		t.Errorf("nginx:1 becomes %s, %v", got, ok)
	}
	only, _ := decide(t, nil)
	_, alone, _ := mirrored(t, nil)
	digestOf := func(p *plan.Plan) string { c, _ := p.Component("web"); return c.Releases[0].ImagesDigest.String() }
	if digestOf(only) != digestOf(p) || digestOf(only) == digestOf(alone) {
		t.Error("whether a release is as planned does not depend on how its images are named")
	}
}

func TestMirrorBindsRuntimesAndAuthority(t *testing.T) {
	l, p, found := mirrored(t, func(_ *lock.Lock, s *plan.Site, f *Facts) {
		f.CA, s.Registry.CAFile = []byte("pem"), "/etc/ca.pem"
		f.Cluster.Nodes = []NodeFact{{Name: "a", Platform: "linux/amd64", Ready: true, Runtime: "cri-o://1.33.1"}, {Name: "b", Platform: "linux/amd64", Ready: true, Runtime: "containerd://2.1.0"}}
	})
	if p == nil {
		t.Fatalf("%+v", found)
	}
	if n := p.Nodes; n.CA != dg("pem") || !slices.Equal(n.Runtimes, []string{"containerd", "cri-o"}) || n.Files[3].Path != "/etc/containerd/certs.d/reg.site_5000_/hosts.toml" || n.Files[4].Path != "/etc/containers/registries.conf.d/50-caisson-demo.conf" {
		t.Errorf("%+v", n)
	}
	if err := Fit(p, l, dg("lock")); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(n *plan.NodeChange){
		"another agent":    func(n *plan.NodeChange) { n.Agent = imageref.Ref("evil.example/agent@" + dg("evil").String()) },
		"a further host":   func(n *plan.NodeChange) { n.Hosts = append(n.Hosts, "registry.example") },
		"another file":     func(n *plan.NodeChange) { n.Files[0].Path = "/etc/passwd" },
		"other content":    func(n *plan.NodeChange) { n.Files[0].Digest = dg("evil") },
		"another strategy": func(n *plan.NodeChange) { n.Strategy = plan.IDMS },
	} {
		text, _ := p.Marshal()
		bad, err := plan.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		spoil(bad.Nodes)
		if err := Fit(bad, l, dg("lock")); !errors.Is(err, plan.ErrUnfit) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	bad := *p
	bad.Nodes = nil
	if err := Fit(&bad, l, dg("lock")); !errors.Is(err, plan.ErrUnfit) {
		t.Errorf("no change at all: error is %v", err)
	}
}

func TestMirrorFindings(t *testing.T) {
	for code, change := range map[string]func(l *lock.Lock, s *plan.Site, f *Facts){
		"no-agent":       func(l *lock.Lock, _ *plan.Site, _ *Facts) { l.Items = l.Items[:len(l.Items)-1] },
		"agent-platform": func(_ *lock.Lock, _ *plan.Site, f *Facts) { f.Platforms = append(f.Platforms, "linux/arm64") },
		"image-not-in-registry": func(_ *lock.Lock, _ *plan.Site, f *Facts) {
			delete(f.Registry.Has, lock.ToolRepository+"@"+dg("agent").String())
		},
		"mirror-pull-secret": func(_ *lock.Lock, s *plan.Site, f *Facts) {
			s.Registry.PullSecretRef = &site.SecretRef{Name: "s"}
			f.Cluster.Nodes = []NodeFact{runtimeNode("a", "cri-o://1.33.1")}
		},
		"no-mirror-sets":     func(_ *lock.Lock, s *plan.Site, _ *Facts) { s.References = []string{plan.IDMS} },
		"reference-strategy": func(_ *lock.Lock, s *plan.Site, _ *Facts) { s.References = []string{"ansible"} },
	} {
		_, _, found := mirrored(t, change)
		if !slices.ContainsFunc(found, func(f event.Finding) bool { return f.Code == code }) {
			t.Errorf("%s is not found: %+v", code, found)
		}
	}
	_, p, found := mirrored(t, func(_ *lock.Lock, s *plan.Site, f *Facts) {
		s.References = []string{plan.IDMS}
		f.CRDs = []string{"imagedigestmirrorsets.config.openshift.io", "imagetagmirrorsets.config.openshift.io"}
	})
	if p == nil || p.Nodes.Agent != "" || len(p.Nodes.Files) > 0 || p.Nodes.Strategy != plan.IDMS {
		t.Errorf("%+v, %+v", p, found)
	}
}
