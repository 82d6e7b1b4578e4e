package decide

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/listing"
)

// sendsLoginForTokens is the first containerd that logs in with a header of hosts.toml
// where a registry gives out tokens, too.
var sendsLoginForTokens = semver.MustParse("2.1.0-0")

// maxNodesNamed bounds how many nodes a sentence names.
const maxNodesNamed = 5

// containerdLogin is the Secret whose login the node agent can give to containerd, or "".
func containerdLogin(s plan.Site, n *plan.NodeChange) string {
	ref := s.Registry.PullSecretRef
	if ref == nil || s.Registry.NodesLogIn || n.Strategy != plan.Mirror || !slices.Contains(n.Runtimes, "containerd") {
		return ""
	}
	return ref.Name
}

// chooseLogin is the Secret whose login containerd gets, or "". One with which something
// is wrong is left out: the registry then gives to anybody, or nothing is installed.
func (m *maker) chooseLogin(n *plan.NodeChange) string {
	if len(m.facts.Logins) > 0 {
		return ""
	}
	return containerdLogin(m.selection.site, n)
}

// checkNodeLogin finds nodes that do not log in for images under upstream names, and
// passwords that go unprotected.
func (m *maker) checkNodeLogin(n *plan.NodeChange) {
	site := m.selection.site
	if site.Registry.PullSecretRef == nil || site.Registry.NodesLogIn {
		return
	}
	if n.Login == "" {
		m.warnOfUpstreamNames("a node")
		return
	}
	if slices.Contains(n.Runtimes, "cri-o") {
		m.warnOfUpstreamNames("a node with CRI-O")
	}
	if old := m.olderContainerds(); m.facts.TokensOnly && len(old) > 0 {
		m.addFinding(event.Finding{
			Severity: event.Warn, Code: event.CodeMirrorPullSecret,
			What: "the site registry takes no password with a request, only tokens, for which containerd logs in from 2.1 on; older on: " +
				listing.Some(old, maxNodesNamed),
			Why:  "there, an image found through a mirror is pulled without the secret",
			Hint: "update containerd on these nodes, set references: [mirror, rewrite] in the site file, or let the registry be read without a password",
		})
	}
	if site.Registry.PlainHTTP && !isLoopback(site.Registry.Address) {
		m.addFinding(event.Finding{
			Severity: event.Warn, Code: event.CodePlainLogin,
			What: fmt.Sprintf("nodes log in to the site registry %s without TLS", site.Registry.Address),
			Why:  "the password crosses the network readable at each pull",
			Hint: "give the registry TLS, and set caFile instead of plainHTTP in the site file",
		})
	}
}

// warnOfUpstreamNames tells of nodes that pull images through a mirror without the secret.
func (m *maker) warnOfUpstreamNames(who string) {
	if m.selection.site.Rewrites() {
		return
	}
	m.addFinding(event.Finding{
		Severity: event.Warn, Code: event.CodeMirrorPullSecret,
		What: fmt.Sprintf("the site registry asks for a pull secret, which %s offers only for images that name that registry", who),
		Why:  "an image found through a mirror keeps its upstream name, and is pulled without the secret",
		Hint: "set references: [mirror, rewrite] in the site file, or let the registry be read without a password",
	})
}

// olderContainerds are the nodes whose containerd has the login for no token.
func (m *maker) olderContainerds() (out []string) {
	for _, n := range m.facts.Cluster.Nodes {
		name, version, _ := strings.Cut(n.Runtime, "://")
		if v, err := semver.NewVersion(version); name == "containerd" && err == nil && v.LessThan(sendsLoginForTokens) {
			out = append(out, n.Name)
		}
	}
	slices.Sort(out)
	return out
}

// isLoopback says whether HOST[:PORT] is this machine.
func isLoopback(address string) bool {
	if ip, err := netip.ParseAddrPort(address); err == nil {
		return ip.Addr().IsLoopback()
	}
	if ip, err := netip.ParseAddr(strings.Trim(address, "[]")); err == nil {
		return ip.IsLoopback()
	}
	host, _, _ := strings.Cut(address, ":")
	return host == "localhost"
}
