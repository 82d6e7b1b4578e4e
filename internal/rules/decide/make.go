// Package decide makes plans. A plan is a pure function of the lock, the site's
// choices, what the charts render to and the facts that were gathered; what
// forbids it, or is worth knowing, are findings. It also holds a plan against
// the lock it was made from and against what a cluster is like now.
//
// It reads no cluster, no registry and no bundle: the callers gather Facts.
package decide

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
)

// Bundle is which bundle a plan is for.
type Bundle struct {
	Index    digest.Digest
	Lock     digest.Digest
	Sequence int64
	KeyIDs   []string
	Trust    []digest.Digest
	Paths    []string
	Keys     []string
}

// Make decides. rendered holds what every release of the selection, and every
// manifest item, renders to. The findings are all there are, errors first; with
// an error among them the plan is nil.
func Make(b Bundle, s *Selection, rendered map[Key]Rendered, facts Facts) (*plan.Plan, []event.Finding) {
	m := &maker{
		selection: s, rendered: rendered, facts: facts,
		set: newImageSet(s.lock), paths: manifestPaths(s.lock), images: map[imageref.Ref]*plan.Image{},
	}
	m.plan = &plan.Plan{
		APIVersion: plan.APIVersion, Kind: plan.Kind,
		Name: s.lock.Metadata.Name, Version: s.lock.Metadata.Version,
		Index: b.Index, Lock: b.Lock, Sequence: b.Sequence, KeyIDs: b.KeyIDs, Trust: b.Trust, Bundles: b.Paths, Keys: b.Keys,
		Site: s.site, Models: s.modelImages(),
		Cluster: plan.Cluster{
			UID: facts.UID, Version: facts.Version, Server: facts.Server, Digest: plan.Bind(facts.UID, facts.Version),
			APIVersions: facts.APIVersions,
		},
	}
	m.orderByWebhooks()
	m.checkSite()
	for i := range s.Components {
		m.addComponent(&s.Components[i])
	}
	m.takeOverGPU()
	m.planMirror()
	m.checkTrust()
	m.agentSpace()
	m.checkCluster()
	m.listLacking()
	m.finishImages()
	m.bindFacts()
	return m.finishPlan()
}

type maker struct {
	selection *Selection
	rendered  map[Key]Rendered
	facts     Facts
	set       imageSet
	paths     map[string]string            // see manifestPaths
	images    map[imageref.Ref]*plan.Image // by lock reference
	plan      *plan.Plan
	found     []event.Finding
	lacking   map[string][]string // images that components name and the bundle lacks
	all       tally
	needs     map[string]map[string]bool // see needsComponent
}

func (m *maker) addFinding(f event.Finding) { m.found = append(m.found, f) }

// finishPlan sorts the findings and withholds a plan that has an error.
func (m *maker) finishPlan() (*plan.Plan, []event.Finding) {
	rank := map[event.Severity]int{event.Error: 0, event.Warn: 1, event.Notice: 2}
	slices.SortStableFunc(m.found, func(a, b event.Finding) int { return rank[a.Severity] - rank[b.Severity] })
	if HasErrors(m.found) {
		return nil, m.found
	}
	m.plan.Findings = m.found
	return m.plan, m.found
}

// HasErrors says whether a finding forbids going on.
func HasErrors(found []event.Finding) bool {
	return slices.ContainsFunc(found, func(f event.Finding) bool { return f.Severity == event.Error })
}

// checkSite checks what concerns the whole site.
func (m *maker) checkSite() {
	m.checkStrategies()
	if p := m.facts.Registry.Problem; strings.Contains(p, "x509: ") {
		m.addFinding(unprovenCertificate(m.selection.site.Registry, p))
	} else if p != "" {
		m.addFinding(event.Finding{
			Severity: event.Error, Code: event.CodeRegistryUnreachable,
			What: fmt.Sprintf("the site registry %s does not answer: %s", m.selection.site.Registry.Base(), p),
			Why:  "nodes pull every image from there",
			Hint: "start it, or serve the bundle: caisson serve PATH --key KEY --listen " + m.selection.site.Registry.Address,
		})
	}
	for _, right := range m.facts.Denied {
		m.addFinding(event.Finding{Severity: event.Error, Code: event.CodeNotAllowed, What: "the operator may not " + right, Why: "the installation would stop there", Hint: m.grantHint(right)})
	}
	m.checkLogins()
	m.checkVersion()
}

// checkVersion compares the cluster's version with the range the stack was resolved for.
func (m *maker) checkVersion() {
	have, err := semver.NewVersion(m.facts.Version)
	if err != nil {
		m.addFinding(event.Finding{Severity: event.Error, Code: event.CodeClusterVersion, What: fmt.Sprintf("the cluster calls its version %q, which cannot be read", m.facts.Version)})
		return
	}
	var low, high *semver.Version
	for _, s := range m.selection.lock.Kubernetes.Versions {
		v, err := semver.NewVersion(s)
		if err != nil {
			continue
		}
		if low == nil || v.LessThan(low) {
			low = v
		}
		if high == nil || v.GreaterThan(high) {
			high = v
		}
	}
	if low == nil {
		return
	}
	minor := func(v *semver.Version) uint64 { return v.Major()<<32 | v.Minor() }
	if minor(have) < minor(low) || minor(have) > minor(high) {
		m.addFinding(event.Finding{
			Severity: event.Warn, Code: event.CodeClusterVersion,
			What: fmt.Sprintf("the cluster runs Kubernetes %s; the stack was resolved for %s", m.facts.Version, strings.Join(m.selection.lock.Kubernetes.Versions, " to ")),
			Why:  "charts may render images there that are not in the bundle",
			Hint: "add the version to kubernetes.versions in the stack and resolve again",
		})
	}
}

func (m *maker) addComponent(c *Chosen) {
	out := plan.Component{
		Name: c.Component.Name, Level: c.Level, Needs: c.Component.Needs, Namespace: c.Namespace,
		Ready: withNamespaces(c.Component.Ready, c.Namespace),
	}
	used := map[imageref.Ref]bool{}
	for _, ref := range c.Component.Items {
		if it := m.set.byRef[ref]; it != nil {
			m.useImage(used, it, "", ref)
		}
	}
	for _, r := range c.Releases {
		out.Releases = append(out.Releases, m.makeRelease(c, r, &out, used))
	}
	for _, ref := range c.Component.Manifests {
		out.Manifests = append(out.Manifests, m.makeManifest(c, ref, &out, used))
	}
	out.Images = slices.Sorted(maps.Keys(used))
	out.Bytes = m.imageBytes(out.Images)
	out.Rollback = describeRollback(&out)
	m.plan.Components = append(m.plan.Components, out)
}

func withNamespaces(list []lock.Condition, namespace string) []lock.Condition {
	out := slices.Clone(list)
	for i := range out {
		if out[i].Namespace == "" {
			out[i].Namespace = namespace
		}
	}
	return out
}

func (m *maker) makeRelease(c *Chosen, r lock.Release, out *plan.Component, used map[imageref.Ref]bool) plan.Release {
	made := m.rendered[Key{c.Component.Name, r.Name}]
	where := fmt.Sprintf("release %s of component %s", r.Name, c.Component.Name)
	m.reportProblem(made, where, c.Component.Name)
	sites := m.foundImages(made.Images, where, c.Component.Name, used)
	m.checkEgress(c, made, where)
	values, err := plan.DigestValues(r.Values)
	if err != nil {
		m.addFinding(event.Finding{Severity: event.Error, Code: event.CodeValues, Item: c.Component.Name, What: where + ": " + err.Error()})
	}
	m.addCRDs(out, made, "release "+r.Name)
	plan := plan.Release{
		Name: r.Name, Chart: r.Chart, ChartDigest: made.ChartDigest, ChartVersion: made.ChartVersion,
		Values: r.Values, ValuesDigest: values, ImagesDigest: digest.FromString(m.selection.site.Keeps() + strings.Join(sites, "\n")),
		Objects: made.Objects, Action: plan.Install, Rendering: made.Rendering,
	}
	m.checkExisting(c, &plan, where)
	return plan
}

func (m *maker) reportProblem(made Rendered, where, item string) {
	if !m.chartVersion(made, where, item) && made.Problem != "" {
		m.addFinding(event.Finding{Severity: event.Error, Code: event.CodeRender, Item: item, What: where + " does not render for this cluster: " + made.Problem, Why: "what does not render cannot be installed", Hint: "correct the values in the site file"})
	}
}

// checkExisting compares a release with what the cluster has under its name.
func (m *maker) checkExisting(c *Chosen, r *plan.Release, where string) {
	for _, f := range m.facts.Releases {
		if f.Namespace != c.Namespace || f.Name != r.Name {
			continue
		}
		if f.Foreign {
			m.addFinding(event.Finding{
				Severity: event.Error, Code: event.CodeForeignRelease, Item: c.Component.Name,
				What: fmt.Sprintf("%s: a release of that name in namespace %s is kept by another tool", where, c.Namespace),
				Why:  "two tools that keep one release undo each other's work",
				Hint: fmt.Sprintf("remove it first: helm uninstall %s -n %s", r.Name, c.Namespace),
			})
			continue
		}
		r.Revision = f.Revision
		r.Action = plan.Upgrade
		if f.Status == "deployed" && f.Chart == plan.Mark(r.ChartDigest) && f.Values == plan.Mark(r.ValuesDigest) && f.Images == plan.Mark(r.ImagesDigest) {
			r.Action = plan.Keep
			continue
		}
		compareRelease(r, f)
	}
}

func (m *maker) makeManifest(c *Chosen, ref imageref.Ref, out *plan.Component, used map[imageref.Ref]bool) plan.Manifest {
	made := m.rendered[Key{c.Component.Name, string(ref)}]
	where := fmt.Sprintf("manifest %s of component %s", ref, c.Component.Name)
	m.reportProblem(made, where, c.Component.Name)
	m.foundImages(made.Images, where, c.Component.Name, used)
	m.checkEgress(c, made, where)
	m.addCRDs(out, made, "manifest "+string(ref))
	return plan.Manifest{Item: ref, Digest: made.ChartDigest, Objects: made.Objects}
}

func (m *maker) addCRDs(out *plan.Component, made Rendered, source string) {
	for _, crd := range made.CRDs {
		crd.Source, crd.Exists = source, slices.Contains(m.facts.CRDs, crd.Name)
		out.CRDs = append(out.CRDs, crd)
	}
}

// foundImages takes what a rendering names as images, reports those the bundle lacks
// and returns what the others become, sorted.
func (m *maker) foundImages(list []document.Site, where, item string, used map[imageref.Ref]bool) []string {
	sites := map[string]bool{}
	for _, s := range list {
		ref, _ := s.Image()
		it, dg := m.set.findItem(ref)
		switch {
		case it != nil:
			sites[string(m.useImage(used, it, dg, ref).Site)] = true
			m.checkKept(s, where, item)
		case m.pulledAs(s) != "":
			sites[m.pulledAs(s)] = true
			m.checkKept(s, where, item)
		case len(m.set.candidateRefs(ref)) > 0:
			m.addFinding(event.Finding{
				Severity: event.Error, Code: event.CodeImageAmbiguous, Item: item,
				What: fmt.Sprintf("%s names image %s in %s, and the bundle has several of that tag: %s",
					where, s.Ref, locationOf(s), joinRefs(m.set.candidateRefs(ref))),
				Why:  "which of them is meant cannot be told",
				Hint: "name one by digest in the values of the site file, or keep one of them in the stack and pack again",
			})
		case s.Certainty == document.Certain:
			m.addFinding(event.Finding{
				Severity: event.Error, Code: event.CodeImageOutsideBundle, Item: item,
				What: fmt.Sprintf("%s names image %s in %s, which is not in the bundle", where, s.Ref, locationOf(s)),
				Why:  "no node of this site can pull it",
				Hint: "take the value that brings it in out of the site file, or add the image to the stack and pack again",
			})
		}
	}
	return slices.Sorted(maps.Keys(sites))
}

func joinRefs(refs []imageref.Ref) string {
	words := make([]string, len(refs))
	for i, r := range refs {
		words[i] = r.String()
	}
	return strings.Join(words, ", ")
}

func locationOf(s document.Site) string {
	if s.Line > 0 {
		return fmt.Sprintf("%s line %d", s.Template, s.Line)
	}
	return s.Template
}

// useImage enters an item, named by ref, into the plan's images.
func (m *maker) useImage(used map[imageref.Ref]bool, it *lock.Item, dg digest.Digest, ref imageref.Ref) *plan.Image {
	key := keyOf(it, dg)
	used[key] = true
	image := m.images[key]
	if image == nil {
		image = m.placeAtSite(it, dg, key)
		m.images[key] = image
	}
	if ref != key && !slices.Contains(image.Aliases, ref) {
		image.Aliases = append(image.Aliases, ref)
	}
	return image
}

// placeAtSite decides which manifest stands for the item at the site.
func (m *maker) placeAtSite(it *lock.Item, dg digest.Digest, key imageref.Ref) *plan.Image {
	path := it.Ref.SitePath()
	image := &plan.Image{Ref: key, Digest: it.Digest}
	if dg != "" {
		image.Digest = dg
	}
	has := m.facts.Registry.Has
	image.Present = has[path+"@"+image.Digest.String()]
	if !image.Present && image.Digest == it.Digest {
		m.useChild(it, path, image)
	}
	image.Site = m.selection.site.Registry.Place(it.Ref, image.Digest)
	if !image.Present && m.facts.Registry.Problem == "" {
		m.addFinding(event.Finding{
			Severity: event.Error, Code: event.CodeImageNotInRegistry, Item: string(it.Ref),
			What: fmt.Sprintf("the site registry does not have %s", image.Site),
			Why:  "nodes pull it from there and from nowhere else",
			Hint: "caisson load PATH --key KEY --registry " + m.selection.site.Registry.Base(),
		})
	}
	return image
}

// useChild takes a platform's manifest where a registry refused the index.
func (m *maker) useChild(it *lock.Item, path string, image *plan.Image) {
	for _, c := range it.Manifests() {
		if c.Digest == it.Digest || c.Platform == "" || c.Platform == "attestation" || !m.facts.Registry.Has[path+"@"+c.Digest.String()] {
			continue
		}
		if !m.onlyPlatform(c.Platform) {
			m.addFinding(event.Finding{
				Severity: event.Error, Code: event.CodeMixedPlatforms, Item: string(it.Ref),
				What: fmt.Sprintf("the site registry has %s for %s alone, and the cluster's nodes are %s", it.Ref, c.Platform, strings.Join(m.facts.Platforms, ", ")),
				Hint: "use a registry that takes sparse indexes, or resolve with every platform of the image",
			})
		}
		image.Digest, image.Platform, image.Present = c.Digest, c.Platform, true
		return
	}
}

// onlyPlatform says whether all nodes are of the platform, variants left aside.
func (m *maker) onlyPlatform(platform string) bool {
	return !slices.ContainsFunc(m.facts.Platforms, func(p string) bool { return !strings.HasPrefix(platform+"/", p+"/") })
}

func (m *maker) imageBytes(refs []imageref.Ref) plan.Bytes {
	t := newTally()
	for _, ref := range refs {
		if it, _ := m.set.findItem(ref); it != nil {
			t.addItem(it, m.images[ref].Present)
			m.planTally().addItem(it, m.images[ref].Present)
		}
	}
	return t.sumBytes()
}

func (m *maker) planTally() tally {
	if m.all.total == nil {
		m.all = newTally()
	}
	return m.all
}

func (m *maker) finishImages() {
	for _, ref := range slices.Sorted(maps.Keys(m.images)) {
		image := *m.images[ref]
		slices.Sort(image.Aliases)
		m.plan.Images = append(m.plan.Images, image)
	}
	m.plan.Bytes = m.planTally().sumBytes()
}

// describeRollback says for people what going back would do, last step first.
func describeRollback(c *plan.Component) []string {
	var out []string
	if n := len(c.Manifests); n > 0 {
		word := "manifests"
		if n == 1 {
			word = "manifest"
		}
		out = append(out, fmt.Sprintf("apply the former objects of %d %s, delete those that are new", n, word))
	}
	for _, r := range slices.Backward(c.Releases) {
		switch r.Action {
		case plan.Install:
			out = append(out, fmt.Sprintf("uninstall release %s", r.Name))
		case plan.Upgrade:
			out = append(out, fmt.Sprintf("roll release %s back to revision %d", r.Name, r.Revision))
		}
	}
	return out
}
