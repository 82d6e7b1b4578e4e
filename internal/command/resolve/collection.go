package resolve

import (
	"cmp"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/version"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/rules/document"
	"github.com/caisson/caisson/internal/rules/lint"
)

// collection is what the tasks of a session find. It is safe for concurrent
// use; what it returns does not depend on the order things were found in.
type collection struct {
	mu       sync.Mutex
	items    map[imageref.Ref]*lock.Item
	owners   map[imageref.Ref]map[string]bool // item reference → components
	images   map[imageref.Ref]*wantedImage
	releases map[[2]int]lock.Release // by component and chart
	listed   map[[2]int]imageref.Ref // manifests, then those of upstreams: item reference by component and position
	suspects []suspect
	crds     map[string]map[string]lock.CRD // by component and name
	guesses  map[imageref.Ref]bool          // normalised references put together from fields, that do not exist
	linted   map[string][]lint.Finding
	seen     map[lintKey]int
	clashes  []imageref.Ref // references that two different items would have
	evidence Evidence
}

// wantedImage is one image reference and everybody who names it.
type wantedImage struct {
	places     []stackField
	components map[string]bool
	by         map[string]bool // "stack", "chart web", "manifest extra.yaml"
	certain    bool            // somebody names exactly this reference
	only       []platform      // where nobody but nodes needs it, theirs
}

// suspect is a string that looks like an image reference where none is
// expected.
type suspect struct {
	component string
	site      document.Site
}

// addItem adds an item for a component. Items of one reference are equal, but for
// a manifest that lies in two places, of which the first by name is kept.
func (c *collection) addItem(it lock.Item, components ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items == nil {
		c.items, c.owners = map[imageref.Ref]*lock.Item{}, map[imageref.Ref]map[string]bool{}
	}
	have := c.items[it.Ref]
	if have == nil {
		c.owners[it.Ref] = map[string]bool{}
	}
	if have != nil && contentOf(have) != contentOf(&it) {
		c.clashes = append(c.clashes, it.Ref)
	}
	if have == nil || it.Source < have.Source {
		c.items[it.Ref] = &it
	}
	for _, name := range components {
		c.owners[it.Ref][name] = true
	}
}

// contentOf is the digest that decides whether two items are the same.
func contentOf(it *lock.Item) digest.Digest {
	return it.Describe(it.Digest).Checksum
}

func (c *collection) addImage(ref imageref.Ref, component, by string, at stackField, certain bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.images == nil {
		c.images = map[imageref.Ref]*wantedImage{}
	}
	w := c.images[ref]
	if w == nil {
		w = &wantedImage{components: map[string]bool{}, by: map[string]bool{}}
		c.images[ref] = w
	}
	w.places = append(w.places, at)
	w.components[component] = true
	w.by[by] = true
	w.certain = w.certain || certain
}

// addDefinitions notes the custom resource definitions among sites. Where renderings
// differ, a definition has the versions of all, and keeps objects in the newest that any
// of them keeps them in: renderings come in no order.
func (c *collection) addDefinitions(component string, sites []document.Site) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range sites {
		if s.What != document.Definition || !lock.IsCRD(s.Name) {
			continue
		}
		if c.crds == nil {
			c.crds = map[string]map[string]lock.CRD{}
		}
		if c.crds[component] == nil {
			c.crds[component] = map[string]lock.CRD{}
		}
		crd := c.crds[component][s.Name]
		served := slices.DeleteFunc(slices.Concat(crd.Served, s.Served), isNoVersion)
		slices.Sort(served)
		crd.Name, crd.Served = s.Name, slices.Compact(served)
		if !isNoVersion(s.Stored) && (crd.Stored == "" || compareVersions(s.Stored, crd.Stored) > 0) {
			crd.Stored = s.Stored
		}
		c.crds[component][s.Name] = crd
	}
}

// compareVersions orders the versions of a definition: v2, v1, v1beta1 and v1alpha1 fall.
// Two that Kubernetes holds for equal are compared as text.
func compareVersions(a, b string) int {
	return cmp.Or(version.CompareKubeAwareVersionStrings(a, b), cmp.Compare(a, b))
}

func isNoVersion(name string) bool { return !lock.IsCRD(name) }

func (c *collection) addSuspect(x suspect) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.suspects = append(c.suspects, x)
}

func (c *collection) addRelease(component, chart int, r lock.Release) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.releases == nil {
		c.releases = map[[2]int]lock.Release{}
	}
	c.releases[[2]int{component, chart}] = r
}

func (c *collection) addManifest(component, position int, ref imageref.Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listed == nil {
		c.listed = map[[2]int]imageref.Ref{}
	}
	c.listed[[2]int{component, position}] = ref
}

// addEvidence adds up the evidence of one root.
func (c *collection) addEvidence(e evidence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evidence.Found += e.found
	c.evidence.Carried += e.countCarried()
	c.evidence.Missing += e.missing
	c.evidence.Failed += e.failed
	if e.found == 0 {
		c.evidence.Bare++
	}
}

func sortedKeys[V any](set map[string]V) []string {
	out := make([]string, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
