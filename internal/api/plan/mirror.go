package plan

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/agent"
	"github.com/caisson/caisson/internal/client/mirror"
	"github.com/caisson/caisson/internal/event"
)

// The reference strategies, see package site.
const (
	Rewrite = "rewrite"
	Mirror  = "mirror"
	IDMS    = "idms"
)

// MirrorComponent is the name under which the journal has what the strategies
// mirror and idms bring. No component of a stack may have it.
const MirrorComponent = "caisson-mirror"

// NodeChange is what happens on every node, so that it finds upstream images in
// the site's registry.
type NodeChange struct {
	Strategy string        `json:"strategy"`           // mirror or idms
	Hosts    []string      `json:"hosts"`              // upstream registries
	Agent    string        `json:"agent,omitempty"`    // image that writes the files
	Runtimes []string      `json:"runtimes,omitempty"` // containerd, cri-o: those of the nodes
	Files    []NodeFile    `json:"files,omitempty"`    // put on the nodes, by their runtime
	CA       digest.Digest `json:"ca,omitempty"`       // of the registry's authority, put beside them
}

// NodeFile is one file that the agent keeps on nodes. The digest is the one that
// it has while no other stack wants it as well.
type NodeFile struct {
	Path   string        `json:"path"`
	Digest digest.Digest `json:"digest"`
}

// Rewrites says whether images become the site's in the objects themselves.
func (s Site) Rewrites() bool {
	return len(s.References) == 0 || slices.Contains(s.References, Rewrite)
}

// Mirrors is the strategy that changes nodes, or "".
func (s Site) Mirrors() string {
	for _, r := range []string{Mirror, IDMS} {
		if slices.Contains(s.References, r) {
			return r
		}
	}
	return ""
}

// Mirror says what nodes are to find where. ca is the registry's authority, PEM.
func (p *Plan) Mirror(ca []byte) mirror.Config {
	return mirrorConfig(p.Name, p.Site.Registry, p.Nodes.Hosts, string(ca))
}

func mirrorConfig(stack string, r Registry, hosts []string, ca string) mirror.Config {
	return mirror.Config{Stack: stack, Registry: r.Base(), PlainHTTP: r.PlainHTTP, CA: ca, Hosts: hosts}
}

// upstreams lists the registries that the lock's images come from.
func upstreams(l *lock.Lock) []string {
	var refs []string
	for _, it := range l.Items {
		if it.Kind == lock.Image {
			refs = append(refs, it.Ref)
		}
	}
	return mirror.Hosts(refs)
}

// files are those of the given runtimes, without the authority's, which the
// lock does not determine.
func (n *NodeChange) files(c mirror.Config) []NodeFile {
	var out []NodeFile
	add := func(dir string, list []mirror.File) {
		for _, f := range list {
			if !f.Authority {
				out = append(out, NodeFile{path.Join(dir, f.Path), f.Digest()})
			}
		}
	}
	if slices.Contains(n.Runtimes, "containerd") {
		add(mirror.ContainerdDir, c.Containerd())
	}
	if slices.Contains(n.Runtimes, "cri-o") {
		add(mirror.CRIODir, c.CRIO())
		add(mirror.CRIOCertsDir, c.CRIOCerts())
	}
	return out
}

// strategies checks what the site chose.
func (m *maker) strategies() {
	for _, r := range m.selection.site.References {
		if r != Rewrite && r != Mirror && r != IDMS {
			m.find(event.Finding{
				Severity: event.Error, Code: event.CodeReferenceStrategy,
				What: fmt.Sprintf("reference strategy %q is not available", r),
				Hint: "set references to rewrite, mirror or idms in the site file",
			})
		}
	}
	for _, c := range m.selection.Components {
		if c.Component.Name == MirrorComponent {
			m.find(event.Finding{
				Severity: event.Error, Code: event.CodeReferenceStrategy, Item: MirrorComponent,
				What: "the stack has a component of the name " + MirrorComponent + ", under which caisson keeps its node agent",
				Hint: "give the component another name in the stack and pack again",
			})
		}
	}
}

// mirror decides what changes on the nodes.
func (m *maker) mirror() {
	site := m.selection.site
	n := &NodeChange{Strategy: site.Mirrors(), Hosts: upstreams(m.selection.lock)}
	switch {
	case n.Strategy == "" || len(n.Hosts) == 0:
		return
	case n.Strategy == Mirror:
		m.agent(n)
	case n.Strategy == IDMS:
		m.openshift()
	}
	if n.Strategy == Mirror && len(m.facts.CA) > 0 {
		n.CA = digest.FromBytes(m.facts.CA)
	}
	n.Files = n.files(mirrorConfig(m.plan.Name, site.Registry, n.Hosts, string(m.facts.CA)))
	m.plan.Nodes = n
	m.reload()
	if site.Registry.PullSecretRef != nil && !site.Rewrites() {
		m.find(event.Finding{
			Severity: event.Warn, Code: event.CodeMirrorPullSecret,
			What: "the site registry asks for a pull secret, which a node offers only for images that name that registry",
			Why:  "an image found through a mirror keeps its upstream name, and is pulled without the secret",
			Hint: "set references: [mirror, rewrite] in the site file, or let the registry be read without a password",
		})
	}
}

// agent takes the node agent's image, which must be for every node.
func (m *maker) agent(n *NodeChange) {
	n.Runtimes = m.nodeRuntimes()
	it := agent.Find(m.selection.lock)
	if it == nil {
		m.find(event.Finding{
			Severity: event.Error, Code: event.CodeNoAgent,
			What: "the bundle does not carry the node agent, which the strategy mirror needs",
			Hint: "set agent: true at the top of the stack, resolve and pack again; or use references: [rewrite] in the site file",
		})
		return
	}
	n.Agent = m.use(map[string]bool{}, it, "", it.Ref).Site
	if p := it.Manifests[0].Platform; !m.only(p) {
		m.find(event.Finding{
			Severity: event.Error, Code: event.CodeAgentPlatform, Item: it.Ref,
			What: fmt.Sprintf("the node agent in the bundle is for %s, and the cluster's nodes are %s", p, strings.Join(m.facts.Platforms, ", ")),
			Hint: "resolve and pack with the caisson binary for those nodes, or use references: [rewrite] in the site file",
		})
	}
}

// nodeRuntimes are those of the nodes that can be told of a mirror; containerd
// where none says.
func (m *maker) nodeRuntimes() []string {
	var out []string
	for _, f := range m.facts.Around.Nodes {
		if name, _, _ := strings.Cut(f.Runtime, "://"); name == "containerd" || name == "cri-o" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	if out = slices.Compact(out); len(out) == 0 {
		out = []string{"containerd"}
	}
	return out
}

func (m *maker) openshift() {
	for _, crd := range mirrorSets {
		if !slices.Contains(m.facts.CRDs, crd) {
			m.find(event.Finding{
				Severity: event.Error, Code: event.CodeNoMirrorSets,
				What: "the cluster does not know " + crd,
				Why:  "the strategy idms is for OpenShift 4.13 and later",
				Hint: "use references: [mirror] or [rewrite] in the site file",
			})
		}
	}
}

// check says what is wrong with a change that was read.
func (n *NodeChange) check() error {
	if n == nil {
		return nil
	}
	if n.Strategy != Mirror && n.Strategy != IDMS {
		return fmt.Errorf("nodes: no strategy is called %q", n.Strategy)
	}
	for _, r := range n.Runtimes {
		if r != "containerd" && r != "cri-o" {
			return fmt.Errorf("nodes: no runtime is called %q", r)
		}
	}
	if n.CA != "" && n.CA.Validate() != nil {
		return fmt.Errorf("nodes: digest %q is none", n.CA)
	}
	return nil
}

var errNodes = errors.New("what it changes on nodes is not what the site and the bundle give")

// fitsNodes holds the change of the nodes against the lock.
func (p *Plan) fitsNodes(l *lock.Lock) error {
	n, hosts := p.Nodes, upstreams(l)
	if n == nil {
		if p.Site.Mirrors() != "" && len(hosts) > 0 {
			return errNodes
		}
		return nil
	}
	want := NodeChange{Strategy: p.Site.Mirrors(), Hosts: hosts, Runtimes: n.Runtimes}
	ca := ""
	if n.CA != "" {
		ca = "given"
	}
	want.Files = want.files(mirrorConfig(p.Name, p.Site.Registry, hosts, ca))
	if it := agent.Find(l); it != nil && want.Strategy == Mirror {
		want.Agent = p.Site.Registry.Place(it.Ref, it.Digest)
	}
	if n.Strategy != want.Strategy || n.Agent != want.Agent || !slices.Equal(n.Hosts, hosts) || !slices.Equal(n.Files, want.Files) {
		return errNodes
	}
	return nil
}

// keeps says for the digest of a release's images how they are named.
func (s Site) keeps() string {
	if s.Rewrites() {
		return ""
	}
	return "upstream names\n"
}
