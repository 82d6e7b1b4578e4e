package decide

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/mirror"
)

// MirrorConfig says what nodes are to find where. ca is the registry's authority, PEM.
func MirrorConfig(p *plan.Plan, ca []byte) mirror.Config {
	return mirrorConfig(p.Name, p.Site.Registry, p.Nodes, string(ca))
}

func mirrorConfig(stack string, r site.Registry, n *plan.NodeChange, ca string) mirror.Config {
	return mirror.Config{Stack: stack, Registry: r.Base(), PlainHTTP: r.PlainHTTP, CA: ca, Hosts: n.Hosts, Login: n.Login != ""}
}

// upstreamHosts lists the registries that the lock's images come from, and where
// its models do: a pod may mount a model as the image that it is at the site.
func upstreamHosts(l *lock.Lock) []string {
	var refs []imageref.Ref
	for _, it := range l.Items {
		if it.Kind == lock.Image || it.Kind == lock.Model {
			refs = append(refs, it.Ref)
		}
	}
	return mirror.Hosts(refs)
}

// nodeFiles are those of the given runtimes, without the authority's, which the
// lock does not determine.
func nodeFiles(runtimes []string, c mirror.Config) []plan.NodeFile {
	var out []plan.NodeFile
	add := func(dir string, list []mirror.File) {
		for _, f := range list {
			if !f.Authority {
				out = append(out, plan.NodeFile{Path: path.Join(dir, f.Path), Digest: f.Digest(), Login: f.LogsInTo != ""})
			}
		}
	}
	if slices.Contains(runtimes, "containerd") {
		add(mirror.ContainerdDir, c.Containerd())
	}
	if slices.Contains(runtimes, "cri-o") {
		add(mirror.CRIODir, c.CRIO())
		add(mirror.CRIOCertsDir, c.CRIOCerts())
	}
	return out
}

// checkStrategies checks what the site chose.
func (m *maker) checkStrategies() {
	for _, r := range m.selection.site.References {
		if r != plan.Rewrite && r != plan.Mirror && r != plan.IDMS {
			m.addFinding(event.Finding{
				Severity: event.Error, Code: event.CodeReferenceStrategy,
				What: fmt.Sprintf("reference strategy %q is not available", r),
				Hint: "set references to rewrite, mirror or idms in the site file",
			})
		}
	}
	for _, c := range m.selection.Components {
		if c.Component.Name == plan.MirrorComponent {
			m.addFinding(event.Finding{
				Severity: event.Error, Code: event.CodeReferenceStrategy, Item: plan.MirrorComponent,
				What: "the stack has a component of the name " + plan.MirrorComponent + ", under which caisson keeps its node agent",
				Hint: "give the component another name in the stack and pack again",
			})
		}
	}
}

// planMirror decides what changes on the nodes.
func (m *maker) planMirror() {
	site := m.selection.site
	n := &plan.NodeChange{Strategy: site.Mirrors(), Hosts: upstreamHosts(m.selection.lock)}
	switch {
	case n.Strategy == "" || len(n.Hosts) == 0:
		return
	case n.Strategy == plan.Mirror:
		m.useAgentImage(n)
	case n.Strategy == plan.IDMS:
		m.planOpenShift()
	}
	if n.Strategy == plan.Mirror && len(m.facts.CA) > 0 {
		n.CA = digest.FromBytes(m.facts.CA)
	}
	n.Login = m.chooseLogin(n)
	n.Files = nodeFiles(n.Runtimes, mirrorConfig(m.plan.Name, site.Registry, n, string(m.facts.CA)))
	m.plan.Nodes = n
	m.noteReload()
	m.checkNodeLogin(n)
}

// useAgentImage takes the node agent's image, which must be for every node.
func (m *maker) useAgentImage(n *plan.NodeChange) {
	n.Runtimes = m.nodeRuntimes()
	it := m.selection.lock.Tool()
	if it == nil {
		m.addFinding(event.Finding{
			Severity: event.Error, Code: event.CodeNoAgent,
			What: "the bundle does not carry the node agent, which the strategy mirror needs",
			Hint: "set agent: true at the top of the stack, resolve and pack again; or use references: [rewrite] in the site file",
		})
		return
	}
	n.Agent = m.useImage(map[imageref.Ref]bool{}, it, "", it.Ref).Site
	if p := it.Manifests()[0].Platform; !m.onlyPlatform(p) {
		m.addFinding(event.Finding{
			Severity: event.Error, Code: event.CodeAgentPlatform, Item: string(it.Ref),
			What: fmt.Sprintf("the node agent in the bundle is for %s, and the cluster's nodes are %s", p, strings.Join(m.facts.Platforms, ", ")),
			Hint: "resolve and pack with the caisson binary for those nodes, or use references: [rewrite] in the site file",
		})
	}
}

// nodeRuntimes are those of the nodes that can be told of a mirror; containerd
// where none says.
func (m *maker) nodeRuntimes() []string {
	var out []string
	for _, f := range m.facts.Cluster.Nodes {
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

func (m *maker) planOpenShift() {
	for _, crd := range mirrorSets {
		if !slices.Contains(m.facts.CRDs, crd) {
			m.addFinding(event.Finding{
				Severity: event.Error, Code: event.CodeNoMirrorSets,
				What: "the cluster does not know " + crd,
				Why:  "the strategy idms is for OpenShift 4.13 and later",
				Hint: "use references: [mirror] or [rewrite] in the site file",
			})
		}
	}
}

var errNodes = errors.New("what it changes on nodes is not what the site and the bundle give")

// fitNodes holds the change of the nodes against the lock.
func fitNodes(p *plan.Plan, l *lock.Lock) error {
	n, hosts := p.Nodes, upstreamHosts(l)
	if n == nil {
		if p.Site.Mirrors() != "" && len(hosts) > 0 {
			return errNodes
		}
		return nil
	}
	want := plan.NodeChange{Strategy: p.Site.Mirrors(), Hosts: hosts, Runtimes: n.Runtimes}
	if n.Login != "" {
		want.Login = containerdLogin(p.Site, &want)
	}
	ca := ""
	if n.CA != "" {
		ca = "given"
	}
	want.Files = nodeFiles(n.Runtimes, mirrorConfig(p.Name, p.Site.Registry, &want, ca))
	if it := l.Tool(); it != nil && want.Strategy == plan.Mirror {
		want.Agent = p.Site.Registry.Place(it.Ref, it.Digest)
	}
	if n.Strategy != want.Strategy || n.Agent != want.Agent || n.Login != want.Login || !slices.Equal(n.Hosts, hosts) || !slices.Equal(n.Files, want.Files) {
		return errNodes
	}
	return nil
}
