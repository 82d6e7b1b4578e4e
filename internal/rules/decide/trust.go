package decide

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/mirror"
)

// checkTrust says what nodes must know of the registry's authority before they pull
// from there: what would tell them is itself pulled from there. A stack that is
// installed already has shown that they do.
func (m *maker) checkTrust() {
	r := m.selection.site.Registry
	if r.CAFile == "" || r.PlainHTTP || m.anyInstalled() || m.facts.Registry.Problem != "" {
		return
	}
	f := event.Finding{
		Severity: event.Warn, Code: event.CodeNodesTrust,
		What: fmt.Sprintf("the certificate of the site registry %s is from the CA in %s, which each node must trust before it can pull", r.Address, r.CAFile),
		Why:  "with references: [rewrite] caisson changes nothing on nodes",
		Hint: "where a node does not trust it yet, put the file there as " + strings.Join(m.authorityPaths(), " or ") + "; nothing needs a restart",
	}
	switch m.selection.site.Mirrors() {
	case plan.Mirror:
		f.Why = "the node agent's own image comes from there; once it runs, it keeps the CA beside the mirrors"
	case plan.IDMS:
		f.Why = "OpenShift writes the nodes' configuration itself"
		f.Hint = "name it in additionalTrustedCA of image.config.openshift.io/cluster, unless it is there"
	}
	m.addFinding(f)
}

// anyInstalled says whether a release of the plan is there already.
func (m *maker) anyInstalled() bool {
	return slices.ContainsFunc(m.plan.Components, func(c plan.Component) bool {
		return slices.ContainsFunc(c.Releases, func(r plan.Release) bool { return r.Action != plan.Install })
	})
}

// authorityPaths are the paths at which the nodes' runtimes look for a registry's
// authority at each pull, without any configuration beside it.
func (m *maker) authorityPaths() (out []string) {
	dirs := map[string]string{"containerd": mirror.ContainerdDir, "cri-o": mirror.CRIOCertsDir}
	for _, r := range m.nodeRuntimes() {
		out = append(out, path.Join(dirs[r], m.selection.site.Registry.Address, "ca.crt")+" ("+r+")")
	}
	return out
}

// noteReload says that CRI-O has to be made to read its mirrors.
func (m *maker) noteReload() {
	if n := m.plan.Nodes; n == nil || n.Strategy != plan.Mirror || !slices.Contains(n.Runtimes, "cri-o") {
		return
	}
	m.addFinding(event.Finding{
		Severity: event.Warn, Code: event.CodeCRIOReload,
		What: "CRI-O reads its mirrors when it starts and when it reloads, and caisson makes no runtime do either",
		Why:  "until it has, a node with CRI-O goes by what it read before: after an installation to the upstreams, after an uninstall to the site registry",
		Hint: "once the node agent runs, on each such node: systemctl reload crio; or set auto_reload_registries = true in [crio.image] beforehand, which newer CRI-O heeds; with references: [mirror, rewrite] pods need no mirror",
	})
}

// unprovenCertificate is the finding for a registry whose certificate is not proven by the
// site's CA, or by those that this machine trusts.
func unprovenCertificate(r site.Registry, problem string) event.Finding {
	f := event.Finding{
		Severity: event.Error, Code: event.CodeRegistryUntrusted,
		What: fmt.Sprintf("the certificate of the site registry %s is not proven by the CA in %s: %s", r.Base(), r.CAFile, problem),
		Why:  "nodes that are given this CA could not pull from there",
		Hint: "name the CA that signed the registry's certificate as registry.caFile in the site file",
	}
	if r.CAFile == "" {
		f.What = fmt.Sprintf("the certificate of the site registry %s is not proven by what this machine trusts: %s", r.Base(), problem)
		f.Why = "another machine may answer in the registry's place"
	}
	return f
}
