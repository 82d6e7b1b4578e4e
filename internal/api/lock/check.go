package lock

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/ledger"
	"github.com/caisson/caisson/internal/event"
)

// Bounds on a lock.
const (
	maxComponents   = 1000
	maxItems        = 20_000
	maxChecks       = 100_000
	maxManifests    = 1000 // of one item
	maxLayers       = 1000 // of one manifest
	maxModelFiles   = 100_000
	maxText         = 4096
	maxPath         = 1024
	maxSize         = 1 << 50 // one blob
	maxTotal        = 1 << 55 // all blobs
	maxManifestSize = 4 << 20
)

var (
	nameRule     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	platformRule = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?$`)
	commitRule   = regexp.MustCompile(`^[0-9a-f]{40}$`)
	hubRule      = regexp.MustCompile(`^[A-Za-z0-9][-._A-Za-z0-9]{0,95}/[A-Za-z0-9][-._A-Za-z0-9]{0,95}$`)
)

// Check reports every way in which the lock is not one that Parse accepts, or
// nil.
func (l *Lock) Check() error {
	var errs []error
	newChecker(l, func(field, format string, args ...any) {
		if len(errs) < 50 {
			errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
		}
	}).checkLock()
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("checking the lock: %w", errors.Join(errs...))
}

// checker walks a lock and reports what is wrong with it.
type checker struct {
	l       *Lock
	problem func(field, format string, args ...any)
	sizes   map[digest.Digest]int64
	layers  map[string]digest.Digest // content key → pinned digest
	total   int64
	refs    map[imageref.Ref]int
	names   map[string]int
}

func newChecker(l *Lock, problem func(field, format string, args ...any)) *checker {
	return &checker{l: l, problem: problem,
		sizes:  map[digest.Digest]int64{},
		layers: map[string]digest.Digest{},
		refs:   map[imageref.Ref]int{},
		names:  map[string]int{},
	}
}

func (c *checker) checkLock() {
	c.checkName("metadata.name", c.l.Metadata.Name)
	c.checkText("metadata.version", c.l.Metadata.Version, true)
	sortedNames(c, "metadata.profiles", c.l.Metadata.Profiles)
	for i, name := range c.l.Metadata.Profiles {
		c.checkName(fmt.Sprintf("metadata.profiles[%d]", i), name)
	}
	c.checkPlatforms()
	if len(c.l.Components) > maxComponents {
		c.problem("components", "has more than %d entries", maxComponents)
		return
	}
	if len(c.l.Items) > maxItems {
		c.problem("items", "has more than %d entries", maxItems)
		return
	}
	c.indexItems()
	for i := range c.l.Items {
		c.checkItem(fmt.Sprintf("items[%d]", i), &c.l.Items[i])
	}
	for i := range c.l.Components {
		c.checkComponent(fmt.Sprintf("components[%d]", i), &c.l.Components[i])
	}
	c.checkDrivers()
	c.checkChecks()
	c.pendingTwins()
	c.checkCycles()
}

// crdRule is that of names of custom resource definitions and of their versions.
var crdRule = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`)

// IsCRD says whether a custom resource definition can have this name.
func IsCRD(name string) bool { return len(name) <= 253 && crdRule.MatchString(name) }

func (c *checker) checkCRDs(at string, list []CRD) {
	names := make([]string, len(list))
	for i, d := range list {
		names[i] = d.Name
		for _, name := range append([]string{d.Name, d.Stored}, d.Served...) {
			if name != "" && !IsCRD(name) || d.Name == "" {
				c.problem(fmt.Sprintf("%s[%d]", at, i), "%q is not the name of a definition or version", name)
			}
		}
		sortedNames(c, fmt.Sprintf("%s[%d].served", at, i), d.Served)
	}
	sortedNames(c, at, names)
}

// checkChecks wants each about an item of the lock, in order and none twice.
func (c *checker) checkChecks() {
	if len(c.l.Checks) > maxChecks {
		c.problem("checks", "has more than %d entries", maxChecks)
		return
	}
	for i := range c.l.Checks {
		at, check := fmt.Sprintf("checks[%d]", i), &c.l.Checks[i]
		if err := check.Validate(); err != nil {
			c.problem(at, "%v", err)
		}
		if _, ok := c.refs[imageref.Ref(check.Item)]; !ok {
			c.problem(at+".item", "%q is not an item of the lock", check.Item)
		}
		if i > 0 && ledger.Compare(c.l.Checks[i-1], *check) >= 0 {
			c.problem(at, "is out of order or repeated")
		}
	}
}

// indexItems notes names and references and refuses repeated ones.
func (c *checker) indexItems() {
	for i, comp := range c.l.Components {
		if first, dup := c.names[comp.Name]; dup {
			c.problem(fmt.Sprintf("components[%d].name", i), "is %q like components[%d]", comp.Name, first)
			continue
		}
		c.names[comp.Name] = i
	}
	for i, it := range c.l.Items {
		if first, dup := c.refs[it.Ref]; dup {
			c.problem(fmt.Sprintf("items[%d].ref", i), "is %q like items[%d]", it.Ref, first)
			continue
		}
		c.refs[it.Ref] = i
		if i > 0 && compareItems(c.l.Items[i-1], it) > 0 {
			c.problem(fmt.Sprintf("items[%d]", i), "is out of order")
		}
	}
}

func (c *checker) checkPlatforms() {
	if len(c.l.Platforms) == 0 {
		c.problem("platforms", "is missing")
	}
	for i, p := range c.l.Platforms {
		if !platformRule.MatchString(p) {
			c.problem(fmt.Sprintf("platforms[%d]", i), "%q is not os/arch or os/arch/variant", p)
		}
	}
	sortedNames(c, "platforms", c.l.Platforms)
}

func (c *checker) checkComponent(at string, comp *Component) {
	c.checkName(at+".name", comp.Name)
	if comp.Namespace != "" {
		c.checkName(at+".namespace", comp.Namespace)
	}
	c.checkOrder(at+".needs", comp.Name, comp.Needs)
	c.checkOrder(at+".after", comp.Name, comp.After)
	releases := map[string]bool{}
	for i, r := range comp.Releases {
		p := fmt.Sprintf("%s.releases[%d]", at, i)
		c.checkName(p+".name", r.Name)
		if releases[r.Name] {
			c.problem(p+".name", "is used twice in the component")
		}
		releases[r.Name] = true
		sortedNames(c, p+".facts", r.Facts)
		for k, fact := range r.Facts {
			if !slices.Contains(SiteFacts(), fact) {
				c.problem(fmt.Sprintf("%s.facts[%d]", p, k), "%q is not one of %s", fact, strings.Join(SiteFacts(), ", "))
			}
		}
		if !plainKeys(r.Values) {
			c.problem(p+".values", "has a key with control characters")
		}
		c.checkMembership(p+".chart", r.Chart, comp.Name, Chart)
	}
	for i, ref := range comp.Manifests {
		c.checkMembership(fmt.Sprintf("%s.manifests[%d]", at, i), ref, comp.Name, Manifest)
	}
	sortedNames(c, at+".items", comp.Items)
	for i, ref := range comp.Items {
		c.checkMembership(fmt.Sprintf("%s.items[%d]", at, i), ref, comp.Name, "")
	}
	c.checkCRDs(at+".crds", comp.CRDs)
	for i, r := range comp.Ready {
		p := fmt.Sprintf("%s.ready[%d]", at, i)
		c.checkText(p+".kind", r.Kind, true)
		c.checkText(p+".name", r.Name, true)
	}
	for i, a := range comp.Allow {
		c.checkAllow(fmt.Sprintf("%s.allow[%d]", at, i), a)
	}
}

func (c *checker) checkAllow(at string, a Allow) {
	if !slices.Contains(event.EgressCodes(), a.Code) {
		c.problem(at+".code", "%q is not a code of the egress lint", a.Code)
	}
	c.checkText(at+".match", a.Match, true)
	c.checkText(at+".reason", a.Reason, true)
	if len(a.Match) > event.MaxAllowText {
		c.problem(at+".match", "has more than %d bytes", event.MaxAllowText)
	}
}

// checkMembership checks that a component's reference leads to an item that
// leads back.
func (c *checker) checkMembership(at string, ref imageref.Ref, component string, kind Kind) {
	i, ok := c.refs[ref]
	if !ok {
		c.problem(at, "%q is not an item of the lock", ref)
		return
	}
	it := c.l.Items[i]
	if kind != "" && it.Kind != kind {
		c.problem(at, "%q is a %s, want a %s", ref, it.Kind, kind)
	}
	if !slices.Contains(it.Components, component) {
		c.problem(at, "%q does not name the component %q", ref, component)
	}
}

func (c *checker) checkItem(at string, it *Item) {
	if it.Kind.rank() < 0 {
		c.problem(at+".kind", "%q is not %s", it.Kind, oneOf(kindNames(), "or"))
	}
	if !it.Ref.Valid() {
		c.problem(at+".ref", "%q is not a whole reference", it.Ref)
	}
	sortedNames(c, at+".components", it.Components)
	for i, n := range it.Components {
		if _, ok := c.names[n]; !ok {
			c.problem(fmt.Sprintf("%s.components[%d]", at, i), "%q is not a component", n)
		}
	}
	c.checkSource(at+".source", it.Source)
	sortedNames(c, at+".foundBy", it.FoundBy)
	if it.Subject != "" {
		c.checkDigest(at+".subject", it.Subject)
	}
	c.checkContent(at, it)
	c.checkRoot(at, it)
}

// checkContent checks the one part that says what the item is made of.
func (c *checker) checkContent(at string, it *Item) {
	n := it.surplus
	if it.Content != nil {
		n++
	}
	if n != 1 {
		c.problem(at, "has %d of %s; it needs exactly one", n, oneOf(it.ExtraNames(), "and"))
		return
	}
	field := formOf(it.Content).Field
	if !slices.Contains(it.Kind.Info().forms, field) {
		c.problem(at+".kind", "%q does not go with the item's content", it.Kind)
	}
	it.Content.check(c, at+"."+field)
}

// checkRoot compares the item's digest, media type and size with its content.
func (c *checker) checkRoot(at string, it *Item) {
	if it.Pending() {
		if it.Digest != "" || it.Size != 0 {
			c.problem(at+".digest", "is set although a layer is pending")
		}
		return
	}
	c.checkBlob(at, it.Digest, it.Size)
	c.mediaType(at+".mediaType", it.MediaType, true)
	if v, ok := As[Verbatim](it); ok {
		v.checkRoot(c, at, it)
	} else if it.Wrapped() {
		c.checkWrapper(at, it)
	}
}

func (c *checker) checkWrapper(at string, it *Item) {
	manifest, _, err := it.Wrap(nil)
	if err != nil || digest.FromBytes(manifest) != it.Digest || int64(len(manifest)) != it.Size ||
		it.MediaType != ocispec.MediaTypeImageManifest {
		c.problem(at+".digest", "is not the digest of the manifest that wraps the item")
	}
}

func (c *checker) typedBlob(at string, b *Blob) {
	c.checkBlob(at, b.Digest, b.Size)
	c.mediaType(at+".mediaType", b.MediaType, false)
}

// checkOrder checks what a component needs or comes after.
func (c *checker) checkOrder(at, component string, list []string) {
	sortedNames(c, at, list)
	for i, n := range list {
		if _, ok := c.names[n]; !ok || n == component {
			c.problem(fmt.Sprintf("%s[%d]", at, i), "%q is not another component", n)
		}
	}
}

// checkCycles reports the first circle of needs.
func (c *checker) checkCycles() {
	graph := make(map[string][]string, len(c.l.Components))
	for _, comp := range c.l.Components {
		graph[comp.Name] = slices.Concat(comp.Needs, comp.After)
	}
	if circle := Cycle(graph); circle != nil {
		c.problem(fmt.Sprintf("components[%d].needs", c.names[circle[0]]), "goes in a circle: %s", strings.Join(circle, " needs "))
	}
}

func (c *checker) checkBlob(at string, dg digest.Digest, size int64) {
	c.checkDigest(at+".digest", dg)
	c.checkSize(at+".size", size)
	if known, ok := c.sizes[dg]; ok {
		if known != size {
			c.problem(at+".size", "is %d; elsewhere %s has %d bytes", size, dg, known)
		}
		return
	}
	c.sizes[dg] = size
	c.addSize(at, size)
}

func (c *checker) addSize(at string, size int64) {
	if size < 0 || size > maxSize {
		return // already reported
	}
	if c.total += size; c.total > maxTotal {
		c.problem(at, "makes the lock larger than %d bytes", int64(maxTotal))
		c.total = 0
	}
}

func (c *checker) checkSize(at string, n int64) {
	if n < 0 || n > maxSize {
		c.problem(at, "is %d, want 0 to %d", n, int64(maxSize))
	}
}

func (c *checker) checkDigest(at string, dg digest.Digest) {
	if dg.Validate() != nil || dg.Algorithm() != digest.SHA256 {
		c.problem(at, "%q is not sha256: and 64 hex digits", string(dg))
	}
}

func (c *checker) checkName(at, s string) {
	if len(s) > 63 || !nameRule.MatchString(s) {
		c.problem(at, "%q is not a name of lower-case letters, digits and '-'", s)
	}
}

func (c *checker) mediaType(at, s string, required bool) {
	c.checkText(at, s, required)
	if s != "" && (!strings.Contains(s, "/") || strings.ContainsAny(s, " \t")) {
		c.problem(at, "%q is not a media type", s)
	}
}

// checkText refuses control characters and overlong values.
func (c *checker) checkText(at, s string, required bool) {
	switch {
	case s == "" && required:
		c.problem(at, "is missing")
	case len(s) > maxText:
		c.problem(at, "is longer than %d bytes", maxText)
	case !isPlain(s):
		c.problem(at, "holds control characters")
	}
}

func isPlain(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// checkPath wants a clean relative slash-separated path below its root.
func (c *checker) checkPath(at, s string) {
	if !CleanPath(s) {
		c.problem(at, "%q is not a clean relative path", s)
	}
}

// CleanPath says whether s is a slash-separated relative path that stays below
// its root and is written in its shortest form, free of backslashes, control
// characters and names that would take other files of an image away.
func CleanPath(s string) bool {
	return s != "" && s != "." && len(s) <= maxPath && isPlain(s) &&
		!strings.ContainsRune(s, '\\') && path.Clean(s) == s &&
		!strings.HasPrefix(s, "/") && s != ".." && !strings.HasPrefix(s, "../") &&
		!strings.Contains("/"+s, "/"+whiteout)
}

// whiteout begins the names by which a layer of an image takes files of earlier layers away.
const whiteout = ".wh."

// FileAsFolder finds a path that is another's folder, which no file system can have; "" for
// none.
func FileAsFolder(paths []string) string {
	all := map[string]bool{}
	for _, p := range paths {
		all[p] = true
	}
	for _, p := range paths {
		for i := strings.LastIndexByte(p, '/'); i > 0; i = strings.LastIndexByte(p[:i], '/') {
			if all[p[:i]] {
				return p[:i]
			}
		}
	}
	return ""
}

func (c *checker) checkURL(at, s string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || len(s) > maxText || !isPlain(s) || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		c.problem(at, "%q is not an http or https address", s)
	case u.User != nil:
		c.problem(at, "holds a user name or password, which a lock must not")
	}
}

func (c *checker) checkSource(at, s string) {
	c.checkText(at, s, true)
	scheme, rest, _ := strings.Cut(s, ":")
	switch scheme {
	case "docker", "oci", "hf", "file", "caisson":
		if strings.TrimPrefix(rest, "//") == "" {
			c.problem(at, "%q names nothing", s)
		}
	case "http", "https":
		c.checkURL(at, s)
	default:
		c.problem(at, "%q does not begin with docker, oci, hf, https, http, file or caisson", s)
	}
}

func sortedNames[T ~string](c *checker, at string, list []T) {
	for i := 1; i < len(list); i++ {
		if list[i-1] >= list[i] {
			c.problem(fmt.Sprintf("%s[%d]", at, i), "%q is out of order or repeated", list[i])
			return
		}
	}
}
