package decide

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/caisson/caisson/internal/bytesize"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/listing"
)

// maxSkew is how far two clocks may be apart before somebody should look.
const maxSkew = 60 * time.Second

// unpacked is how much larger than its compressed layers an image is on a node,
// which keeps the layers as well as what they unpack to.
const unpacked = 3

// checkCluster checks the cluster that the plan is for. It looks at nothing that is not
// among the facts.
func (m *maker) checkCluster() {
	for _, check := range []func(){
		m.checkNodes, m.checkDisks, m.checkRuntimes, m.checkNamespaces,
		m.checkServed, m.checkStorage, m.checkDefinitions, m.checkDefiners, m.checkTaken, m.checkRivals, m.checkReady,
		m.checkWebhooks, m.checkSecrets, m.checkPodSecurity, m.checkQuotas, m.checkAccelerators,
		m.noteRegistryRoom, m.checkEscalations, m.checkClocks, m.reportUnread,
	} {
		check()
	}
}

// ownedPart is a part and the component that brings it.
type ownedPart struct {
	*Part
	component string
	level     int
	made      Key // rendering that it is of
}

func (p ownedPart) location() string {
	if p.Line > 0 {
		return fmt.Sprintf("%s line %d", p.Template, p.Line)
	}
	return p.Template
}

// allParts are the parts of every component, in order.
func (m *maker) allParts() []ownedPart {
	var out []ownedPart
	for _, c := range m.selection.Components {
		var keys []Key
		for _, r := range c.Releases {
			keys = append(keys, Key{c.Component.Name, r.Name})
		}
		for _, ref := range c.Component.Manifests {
			keys = append(keys, Key{c.Component.Name, string(ref)})
		}
		for _, k := range keys {
			for i := range m.rendered[k].Parts {
				out = append(out, ownedPart{&m.rendered[k].Parts[i], c.Component.Name, c.Level, k})
			}
		}
	}
	return out
}

// chartVersion finds a chart that does not want this Kubernetes, and says
// whether it did.
func (m *maker) chartVersion(made Rendered, where, item string) bool {
	have, err := semver.NewVersion(m.facts.Version)
	if err != nil || made.KubeVersion == "" {
		return false
	}
	want, err := semver.NewConstraint(made.KubeVersion)
	if err != nil || want.Check(have) {
		return false
	}
	m.addFinding(event.Finding{
		Severity: event.Error, Code: event.CodeChartKubernetes, Item: item,
		What: fmt.Sprintf("%s wants Kubernetes %s; the cluster runs %s", where, made.KubeVersion, m.facts.Version),
		Why:  "its chart refuses to render for any other version",
		Hint: "upgrade the cluster, or take a version of the chart that allows this one into the stack and pack again",
	})
	return true
}

func (m *maker) checkNodes() {
	list, usable := m.facts.Cluster.Nodes, 0
	carried := m.selection.imagePlatforms()
	for _, n := range list {
		here := len(carried) == 0 || hasPlatform(carried, n.Platform)
		if n.Ready && here {
			usable++
		}
		m.checkNode(n, here, carried)
	}
	if list != nil && usable == 0 {
		m.addFinding(event.Finding{
			Severity: event.Error, Code: event.CodeNoUsableNode,
			What: fmt.Sprintf("none of the cluster's %d nodes is ready and of a platform of the bundle (%s)", len(list), strings.Join(carried, ", ")),
			Why:  "no pod of the stack would start",
			Hint: "look with: kubectl get nodes -o wide; add a node, or resolve the stack for the platforms that are there",
		})
	}
}

func (m *maker) checkNode(n NodeFact, here bool, carried []string) {
	if !here {
		m.addFinding(event.Finding{
			Severity: event.Warn, Code: event.CodeNodePlatform,
			What: fmt.Sprintf("node %s is %s; the bundle holds %s", n.Name, n.Platform, strings.Join(carried, ", ")),
			Why:  "pods that are put there cannot start, and DaemonSets put theirs everywhere",
			Hint: "add " + n.Platform + " to platforms: in the stack, resolve and pack again; or taint the node",
		})
	}
	for _, p := range n.Problems {
		m.addFinding(event.Finding{
			Severity: event.Warn, Code: event.CodeNodeCondition,
			What: fmt.Sprintf("node %s has a problem: %s", n.Name, p),
			Why:  "it takes no new pods, or throws out those it has",
			Hint: "look with: kubectl describe node " + n.Name,
		})
	}
}

// hasPlatform says whether one of the platforms is the node's, variants aside.
func hasPlatform(carried []string, node string) bool {
	return slices.ContainsFunc(carried, func(p string) bool { return strings.HasPrefix(p+"/", node+"/") })
}

// imagePlatforms are those of the selected images, sorted.
func (s *Selection) imagePlatforms() []string {
	seen := map[string]bool{}
	for _, it := range s.imageItems() {
		for _, c := range it.Manifests() {
			if c.Platform != "" && c.Platform != "attestation" {
				seen[c.Platform] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// checkDisks holds the nodes' room against the images of the plan.
func (m *maker) checkDisks() {
	var largest int64
	var name string
	for _, it := range m.selection.imageItems() {
		t := newTally()
		t.addItem(it, true)
		if n := t.sumBytes().Total; n > largest {
			largest, name = n, string(it.Ref)
		}
	}
	for _, n := range m.facts.Cluster.Nodes {
		total := m.planTally().sumBytes().Total
		switch {
		case n.Disk == 0 || !n.Ready:
		case n.Disk < largest*unpacked:
			m.addFinding(event.Finding{
				Severity: event.Warn, Code: event.CodeNodeDisk,
				What: fmt.Sprintf("node %s has %s for images and pods; image %s alone takes about %s there", n.Name, bytesize.Text(n.Disk), name, bytesize.Text(largest*unpacked)),
				Why:  "a node without room cannot pull, and throws out the pods it has",
				Hint: "give the node a larger disk for its container images, or keep the image away from it",
			})
		case n.Disk < total*unpacked:
			m.addFinding(event.Finding{
				Severity: event.Notice, Code: event.CodeNodeDisk,
				What: fmt.Sprintf("node %s has %s for images and pods; all images of the plan would take about %s there", n.Name, bytesize.Text(n.Disk), bytesize.Text(total*unpacked)),
				Why:  "it has room only for a part of them",
				Hint: "spread the stack over more nodes, or give the node a larger disk",
			})
		}
	}
}

// noteRegistryRoom notes how much the site's registry has to store: a registry does
// not say how much room it has.
func (m *maker) noteRegistryRoom() {
	missing := m.planTally().sumBytes().Missing
	if missing == 0 || m.facts.Registry.Problem != "" || m.selection.site.Registry.Mode == "embedded" {
		return
	}
	m.addFinding(event.Finding{
		Severity: event.Notice, Code: event.CodeRegistryDisk,
		What: fmt.Sprintf("the site registry lacks %s of the plan's images and has to store them", bytesize.Text(missing)),
		Why:  "a registry does not say how much room it has, and a full one fails in the middle of a load",
		Hint: "look at the disk of " + m.selection.site.Registry.Address + " before caisson load",
	})
}

// checkRuntimes finds runtimes that cannot use a mirror, where the site wants one.
func (m *maker) checkRuntimes() {
	if !slices.Contains(m.selection.site.References, "mirror") {
		return
	}
	for _, n := range m.facts.Cluster.Nodes {
		name, version, _ := strings.Cut(n.Runtime, "://")
		v, err := semver.NewVersion(version)
		f := event.Finding{Severity: event.Warn, Code: event.CodeNodeRuntime, Hint: "update the node's container runtime, or use references: [rewrite] in the site file"}
		switch {
		case n.Runtime == "" || name == "cri-o":
			continue
		case name != "containerd":
			f.What = fmt.Sprintf("node %s runs %s, which has no registry mirrors per host", n.Name, n.Runtime)
			f.Why = "the strategy mirror can write them for containerd and CRI-O alone"
		case err == nil && v.LessThan(semver.MustParse("1.7.0")):
			f.What = fmt.Sprintf("node %s runs containerd %s; mirrors are proven from 1.7 on", n.Name, version)
			f.Why = "older ones may not read hosts.toml and go to the upstream instead"
		default:
			continue
		}
		m.addFinding(f)
	}
}

func (m *maker) checkNamespaces() {
	for _, name := range slices.Sorted(maps.Keys(m.facts.Cluster.Spaces)) {
		if m.facts.Cluster.Spaces[name].Terminating {
			m.addFinding(event.Finding{
				Severity: event.Error, Code: event.CodeNamespaceTerminating,
				What: fmt.Sprintf("namespace %s is being deleted", name),
				Why:  "nothing can be made in it until it is gone",
				Hint: "see what holds it: kubectl get namespace " + name + " -o jsonpath={.status.conditions}; wait until it is gone, then run this again",
			})
		}
	}
}

func inFlag(namespace string) string {
	if namespace == "" {
		return ""
	}
	return " -n " + namespace
}

// nameSeveral names the first of a list and counts the rest.
func nameSeveral(list []string) string {
	switch len(list) {
	case 0:
		return "anything"
	case 1:
		return list[0]
	}
	return fmt.Sprintf("%s (and %d more)", list[0], len(list)-1)
}

// checkSecrets finds Secrets that the API server refuses, in words that quote what
// they hold.
func (m *maker) checkSecrets() {
	for _, p := range m.allParts() {
		if len(p.Faults) == 0 {
			continue
		}
		m.addFinding(event.Finding{
			Severity: event.Error, Code: event.CodeSecretValue, Item: p.component,
			What: fmt.Sprintf("%s (%s): %s", p, p.location(), listing.Some(p.Faults, maxFaults)),
			Why:  "the API server refuses the Secret",
			Hint: "write the value as text, in quotes, in the component's values",
		})
	}
}

// maxFaults bounds how many fields of a Secret a finding names.
const maxFaults = 5

// checkPodSecurity holds pods against the Pod Security level of their namespace.
func (m *maker) checkPodSecurity() {
	for _, p := range m.allParts() {
		level := m.facts.Cluster.Spaces[p.Namespace].Enforce
		var broken []string
		for _, b := range p.Breaches {
			if levelForbids(level, b.Level) && !slices.Contains(broken, b.What) {
				broken = append(broken, b.What)
			}
		}
		if len(broken) == 0 || p.Copies == 0 {
			continue
		}
		m.addFinding(event.Finding{
			Severity: event.Error, Code: event.CodePodSecurity, Item: p.component,
			What: fmt.Sprintf("%s (%s) breaks Pod Security level %s of namespace %s: %s", p, p.location(), level, p.Namespace, strings.Join(broken, "; ")),
			Why:  "the API server refuses its pods",
			Hint: fmt.Sprintf("if that is wanted: kubectl label namespace %s pod-security.kubernetes.io/enforce=%s --overwrite; otherwise set the securityContext in the component's values", p.Namespace, strictestAllowing(p.Breaches)),
		})
	}
}

// levelForbids says whether a namespace's level forbids what only weaker ones allow.
func levelForbids(enforced, level string) bool {
	return enforced == "restricted" || (enforced == "baseline" && level == "baseline")
}

// strictestAllowing is the strictest level that still allows the breaches.
func strictestAllowing(breaches []Breach) string {
	for _, b := range breaches {
		if b.Level == "baseline" {
			return "privileged"
		}
	}
	return "baseline"
}

func (m *maker) checkEscalations() {
	for _, e := range m.facts.Cluster.Escalations {
		rights := listing.Cut(e.Rights, 3, "")
		m.addFinding(event.Finding{
			Severity: event.Error, Code: event.CodeRBACEscalation,
			What: fmt.Sprintf("%s gives rights that the operator %s lacks: %s", e.Role, m.facts.Cluster.User, strings.Join(rights, "; ")),
			Why:  "Kubernetes lets nobody hand out more than they have, unless they may " + e.Verb,
			Hint: "use a kubeconfig whose user has those rights, or the verb " + e.Verb + " on roles and clusterroles of rbac.authorization.k8s.io",
		})
	}
}

func (m *maker) checkClocks() {
	skew := m.facts.Cluster.Skew
	if skew.Abs() <= maxSkew {
		return
	}
	word := "before"
	if skew < 0 {
		word = "behind"
	}
	m.addFinding(event.Finding{
		Severity: event.Warn, Code: event.CodeClockSkew,
		What: fmt.Sprintf("the API server's clock is %s %s this machine's", skew.Abs().Round(time.Second), word),
		Why:  "certificates, tokens, leases and the bundle's term are judged by the clock",
		Hint: "set both by the same time source: date -u shows this machine's",
	})
}

func (m *maker) reportUnread() {
	for _, what := range m.facts.Cluster.Unread {
		m.addFinding(event.Finding{
			Severity: event.Warn, Code: event.CodeNotLookedAt,
			What: "the operator may not " + what + ", so that could not be checked",
			Why:  "a fault there shows only when the installation meets it",
			Hint: "use a kubeconfig whose user may, and run caisson preflight again",
		})
	}
}

// lowerKind writes KIND NAME as kubectl wants it.
func lowerKind(s string) string {
	kind, name, _ := strings.Cut(s, " ")
	return strings.ToLower(kind) + " " + name
}

// grantHint says how to come by a right.
func (m *maker) grantHint(right string) string {
	if show := m.facts.Cluster.Grants[right]; show != "" {
		return "use a kubeconfig whose user may, and check with: " + show
	}
	return "use a kubeconfig whose user may"
}
