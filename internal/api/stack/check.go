package stack

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/caisson/caisson/charts"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/yamlfile"
	"github.com/caisson/caisson/internal/event"
)

var (
	labelRule    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	fileRule     = regexp.MustCompile(`^[a-z0-9]([-._a-z0-9]*[a-z0-9])?$`)
	platformRule = regexp.MustCompile(`^(linux|windows)/[a-z0-9_]+(/[a-z0-9.]+)?$`)
	kubeRule     = regexp.MustCompile(`^v?[0-9]+\.[0-9]+(\.[0-9]+)?$`)
	versionRule  = regexp.MustCompile(`^v?[0-9]+(\.[0-9]+){0,2}([-+][-+.0-9A-Za-z]+)?$`)
	stackVersion = regexp.MustCompile(`^[0-9A-Za-z]([-+._0-9A-Za-z]*[0-9A-Za-z])?$`)
	sha256Rule   = regexp.MustCompile(`^(sha256:)?[0-9a-f]{64}$`)
	hubRule      = regexp.MustCompile(`^hf://[A-Za-z0-9][-._A-Za-z0-9]{0,95}/[A-Za-z0-9][-._A-Za-z0-9]{0,95}$`)
	tagRule      = regexp.MustCompile(`:[A-Za-z0-9_][-._A-Za-z0-9]*$`)
)

// Longest names, in bytes.
const (
	maxLabel       = 63
	maxReleaseName = 53 // Helm's
	maxFileName    = 128
)

// checker looks at one stack and reports to its document.
type checker struct {
	doc   reporter
	names []string
}

// reporter reports problems of a stack where they were written. What stands in another
// file is reported at the field that names it.
type reporter struct {
	doc   *yamlfile.Document
	stack *Stack
}

// Problemf reports a problem with a field of the stack.
func (r reporter) Problemf(field, format string, args ...any) {
	o := r.stack.Origin(field)
	if o.File == r.stack.file {
		r.doc.Problemf(o.Field, format, args...)
		return
	}
	r.doc.Problemf("extends", "%s: %s: %s", o.File.Name, o.Field, fmt.Sprintf(format, args...))
}

// Missing reports a field that is not there.
func (r reporter) Missing(field string) {
	if o := r.stack.Origin(field); o.File == r.stack.file {
		r.doc.Missing(o.Field)
		return
	}
	r.Problemf(field, "is missing")
}

func checkStack(doc *yamlfile.Document, s *Stack) {
	c := checker{doc: reporter{doc, s}}
	c.checkMetadata(s.Metadata)
	c.checkPlatforms(s.Platforms)
	for i, v := range s.Kubernetes.Versions {
		if !kubeRule.MatchString(v) {
			c.doc.Problemf(fmt.Sprintf("kubernetes.versions[%d]", i), "%q is not a Kubernetes version like 1.33", v)
		}
	}
	if len(s.Components) == 0 {
		c.doc.Missing("components")
	}
	for _, comp := range s.Components {
		c.names = append(c.names, comp.Name)
	}
	for i := range s.Components {
		c.checkComponent(fmt.Sprintf("components[%d]", i), i, &s.Components[i])
	}
	c.checkCircle(s)
	c.checkProfiles(s)
}

func (c *checker) checkProfiles(s *Stack) {
	seen := names{}
	for i, p := range s.Profiles {
		at := fmt.Sprintf("profiles[%d]", i)
		c.checkLabel(at+".name", p.Name, maxLabel)
		c.checkUnique(at, p.Name, seen)
		if len(p.Components) == 0 {
			c.doc.Missing(at + ".components")
		}
		for j, name := range p.Components {
			if !slices.Contains(c.names, name) {
				c.doc.Problemf(fmt.Sprintf("%s.components[%d]", at, j), "unknown component %q%s", name, yamlfile.Suggest(name, c.names))
			}
		}
		c.checkProfileValues(at+".values", s, p.Values)
	}
	c.checkCarry(s)
}

// checkCarry checks what is carried where nobody asks for other profiles, and that what the
// stack's own file adds is part of it.
func (c *checker) checkCarry(s *Stack) {
	for j, name := range s.Carry {
		if !slices.Contains(s.profileNames(), name) {
			c.doc.Problemf(fmt.Sprintf("carry[%d]", j), "the stack has no profile %q%s", name, yamlfile.Suggest(name, s.profileNames()))
		}
	}
	if len(s.Carry) == 0 || c.doc.doc.Failed() {
		return
	}
	held := s.Held()
	for i, comp := range s.Components {
		at := fmt.Sprintf("components[%d]", i)
		if !held[comp.Name] && s.Origin(at).File == s.file {
			c.doc.Problemf(at+".name", "%q would not be carried; add it to a profile: profiles: [{name: %s, components: [%s]}]", comp.Name, s.Carry[0], comp.Name)
		}
	}
}

// checkProfileValues checks for whom values of a profile are.
func (c *checker) checkProfileValues(at string, s *Stack, values map[string]map[string]any) {
	for _, component := range slices.Sorted(maps.Keys(values)) {
		i := slices.Index(c.names, component)
		if i < 0 {
			c.doc.Problemf(at, "unknown component %q%s", component, yamlfile.Suggest(component, c.names))
			continue
		}
		for _, release := range slices.Sorted(maps.Keys(values[component])) {
			if !slices.ContainsFunc(s.Components[i].Charts, func(ch Chart) bool { return ch.Name == release }) {
				c.doc.Problemf(at, "component %s has no chart %q", component, release)
			}
			if _, ok := values[component][release].(map[string]any); !ok {
				c.doc.Problemf(at, "%s.%s is no mapping of values", component, release)
			}
		}
	}
}

func (c *checker) checkMetadata(m Metadata) {
	c.checkLabel("metadata.name", m.Name, maxLabel)
	if c.requireGiven("metadata.version", m.Version) && !stackVersion.MatchString(m.Version) {
		c.doc.Problemf("metadata.version", "%q is not a version of letters, digits, '.', '-', '_' and '+'", m.Version)
	}
}

func (c *checker) checkPlatforms(list []string) {
	if len(list) == 0 {
		c.doc.Missing("platforms")
	}
	for i, p := range list {
		at := fmt.Sprintf("platforms[%d]", i)
		if !platformRule.MatchString(p) {
			c.doc.Problemf(at, "%q is not a platform like linux/amd64", p)
		} else if slices.Index(list, p) < i {
			c.doc.Problemf(at, "%q is listed twice", p)
		}
	}
}

func (c *checker) checkComponent(at string, i int, comp *Component) {
	c.checkLabel(at+".name", comp.Name, maxLabel)
	if first := slices.Index(c.names, comp.Name); comp.Name != "" && first < i {
		c.doc.Problemf(at+".name", "%q is already the name of components[%d]", comp.Name, first)
	}
	if comp.Namespace != "" {
		c.checkLabel(at+".namespace", comp.Namespace, maxLabel)
	}
	if comp.License != "" {
		c.checkOneLine(at+".license", comp.License)
	}
	c.checkOrder(at+".needs", comp.Needs, comp)
	c.checkOrder(at+".after", comp.After, comp)
	for j, image := range comp.Images {
		if _, err := comp.Image(j); err != nil {
			c.doc.Problemf(fmt.Sprintf("%s.images[%d]", at, j), "%q is not an image reference", image)
		}
	}
	c.checkContent(at, comp)
	for j := range comp.Ready {
		p := fmt.Sprintf("%s.ready[%d]", at, j)
		c.requireGiven(p+".kind", comp.Ready[j].Kind)
		c.requireGiven(p+".name", comp.Ready[j].Name)
	}
	for j := range comp.Allow {
		c.checkAllow(fmt.Sprintf("%s.allow[%d]", at, j), comp.Allow[j])
	}
}

func (c *checker) checkAllow(at string, a Allow) {
	if c.requireGiven(at+".code", a.Code) && !slices.Contains(event.EgressCodes(), a.Code) {
		c.doc.Problemf(at+".code", "unknown code %q%s", a.Code, yamlfile.Suggest(a.Code, event.EgressCodes()))
	}
	c.checkOneLine(at+".match", a.Match)
	c.checkOneLine(at+".reason", a.Reason)
}

// checkOneLine wants one line of text.
func (c *checker) checkOneLine(at, s string) {
	switch {
	case !c.requireGiven(at, strings.TrimSpace(s)):
	case len(s) > event.MaxAllowText:
		c.doc.Problemf(at, "has more than %d bytes", event.MaxAllowText)
	case strings.ContainsFunc(s, unicode.IsControl):
		c.doc.Problemf(at, "holds a line break or another control character")
	}
}

// checkOrder checks what a component needs or comes after.
func (c *checker) checkOrder(at string, list []string, comp *Component) {
	for j, n := range list {
		p := fmt.Sprintf("%s[%d]", at, j)
		switch {
		case n == comp.Name:
			c.doc.Problemf(p, "a component cannot need itself")
		case slices.Index(list, n) < j:
			c.doc.Problemf(p, "%q is listed twice", n)
		case !slices.Contains(c.names, n):
			c.doc.Problemf(p, "unknown component %q%s", n, yamlfile.Suggest(n, c.names))
		}
	}
}

// checkContent checks what a component brings. Names are unique per kind.
func (c *checker) checkContent(at string, comp *Component) {
	charts, models, files := names{}, names{}, names{}
	for j := range comp.Charts {
		p := fmt.Sprintf("%s.charts[%d]", at, j)
		c.checkChart(p, &comp.Charts[j])
		c.checkUnique(p, comp.Charts[j].Name, charts)
	}
	for j := range comp.Models {
		p := fmt.Sprintf("%s.models[%d]", at, j)
		c.checkModel(p, &comp.Models[j])
		c.checkUnique(p, comp.Models[j].Name, models)
	}
	for j := range comp.Files {
		p := fmt.Sprintf("%s.files[%d]", at, j)
		c.checkFile(p, &comp.Files[j])
		c.checkUnique(p, comp.Files[j].Name, files)
	}
	for j, m := range comp.Manifests {
		c.checkLocalFile(fmt.Sprintf("%s.manifests[%d]", at, j), m)
	}
	upstream := names{}
	for j := range comp.UpstreamManifests {
		p := fmt.Sprintf("%s.upstreamManifests[%d]", at, j)
		c.checkUpstreamManifest(p, &comp.UpstreamManifests[j])
		c.checkUnique(p, comp.UpstreamManifests[j].Name, upstream)
	}
}

type names map[string]string // name → where it was first given

func (c *checker) checkUnique(at, name string, seen names) {
	if first, dup := seen[name]; dup && name != "" {
		c.doc.Problemf(at+".name", "%q is already the name of %s", name, first)
		return
	}
	seen[name] = at
}

func (c *checker) checkChart(at string, ch *Chart) {
	c.checkLabel(at+".name", ch.Name, maxReleaseName)
	shipped, ours := ch.Shipped()
	if (!ours || ch.Version != "") && c.requireGiven(at+".version", ch.Version) && !versionRule.MatchString(ch.Version) {
		c.doc.Problemf(at+".version", "%q is not one exact version like 1.2.3", ch.Version)
	}
	for j, f := range ch.ValuesFiles {
		c.checkLocalFile(fmt.Sprintf("%s.valuesFiles[%d]", at, j), f)
	}
	if !c.requireGiven(at+".source", ch.Source) {
		return
	}
	rest, oci := strings.CutPrefix(ch.Source, ociScheme)
	switch {
	case ours:
		c.checkShipped(at, shipped, ch)
	case oci:
		c.checkOCISource(at, rest, ch)
	default:
		c.checkAddress(at+".source", ch.Source, "oci://, https://, http:// or caisson://")
	}
}

func (c *checker) checkShipped(at, name string, ch *Chart) {
	if !slices.Contains(charts.Names(), name) {
		c.doc.Problemf(at+".source", "no chart %q comes with caisson%s", name, yamlfile.Suggest(name, charts.Names()))
	}
	if ch.Chart != "" {
		c.doc.Problemf(at+".chart", "goes with an HTTP repository; a caisson:// source ends with the chart's name")
	}
}

func (c *checker) checkOCISource(at, rest string, ch *Chart) {
	_, path, _ := strings.Cut(rest, "/")
	_, err := ch.Repository()
	switch {
	case strings.Contains(rest, "@") || tagRule.MatchString(path):
		c.doc.Problemf(at+".source", "ends with a tag or digest; the version has a field of its own")
	case err != nil || path == "":
		c.doc.Problemf(at+".source", "%q is not oci://REGISTRY/PATH", ch.Source)
	case ch.Chart != "":
		c.doc.Problemf(at+".chart", "goes with an HTTP repository; an oci:// source ends with the chart's name")
	}
}

func (c *checker) checkModel(at string, m *Model) {
	c.checkFileName(at+".name", m.Name, maxLabel)
	if c.requireGiven(at+".source", m.Source) && !hubRule.MatchString(m.Source) {
		c.doc.Problemf(at+".source", "%q is not hf://OWNER/NAME", m.Source)
	}
	c.checkRevision(at+".revision", m.Revision)
	if uses := []string{"", lock.ServeChat, lock.ServeCompletion, lock.ServeEmbed, lock.ServeNone}; !slices.Contains(uses, m.Serve) {
		c.doc.Problemf(at+".serve", "%q is not %s", m.Serve, strings.Join(uses[1:], ", "))
	}
	for i, a := range m.Allow {
		c.checkModelAllow(fmt.Sprintf("%s.allow[%d]", at, i), a)
	}
	for i := range m.Extras {
		c.checkExtra(fmt.Sprintf("%s.extras[%d]", at, i), &m.Extras[i])
	}
}

func (c *checker) checkRevision(at, revision string) {
	if strings.ContainsAny(revision, "?#%\\ ") || strings.Contains(revision, "..") {
		c.doc.Problemf(at, "%q is not a branch, tag or commit", revision)
	}
}

func (c *checker) checkModelAllow(at string, a ModelAllow) {
	if c.requireGiven(at+".file", a.File) {
		switch {
		case strings.ContainsAny(a.File, "*?["):
			c.doc.Problemf(at+".file", "%q is a pattern; a file is allowed by its own name", a.File)
		case !lock.CleanPath(a.File):
			c.doc.Problemf(at+".file", "%q is not the path of a file of the model", a.File)
		}
	}
	c.checkOneLine(at+".reason", a.Reason)
}

// checkExtra wants a file by URL or another model, not both.
func (c *checker) checkExtra(at string, e *ModelExtra) {
	if c.requireGiven(at+".path", e.Path) && !lock.CleanPath(e.Path) {
		c.doc.Problemf(at+".path", "%q is not a path below the model's folder", e.Path)
	}
	if (e.URL == "") == (e.Source == "") {
		c.doc.Problemf(at, "needs either url, of a file, or source, of another model")
		return
	}
	if e.Source != "" {
		if !hubRule.MatchString(e.Source) {
			c.doc.Problemf(at+".source", "%q is not hf://OWNER/NAME", e.Source)
		}
		c.checkRevision(at+".revision", e.Revision)
		return
	}
	c.checkAddress(at+".url", e.URL, "https:// or http://")
	if c.requireGiven(at+".sha256", e.SHA256) && !sha256Rule.MatchString(e.SHA256) {
		c.doc.Problemf(at+".sha256", "%q is not 64 lower-case hex digits", e.SHA256)
	}
}

func (c *checker) checkFile(at string, f *File) {
	c.checkFileName(at+".name", f.Name, maxFileName)
	if c.requireGiven(at+".url", f.URL) {
		c.checkAddress(at+".url", f.URL, "https:// or http://")
	}
	if c.requireGiven(at+".sha256", f.SHA256) && !sha256Rule.MatchString(f.SHA256) {
		c.doc.Problemf(at+".sha256", "%q is not 64 lower-case hex digits", f.SHA256)
	}
}

// checkCircle reports one circle of needs, at the component where it starts.
func (c *checker) checkCircle(s *Stack) {
	graph := map[string][]string{}
	for _, comp := range s.Components {
		graph[comp.Name] = withoutName(comp.Before(), comp.Name)
	}
	if circle := lock.Cycle(graph); circle != nil {
		i := slices.Index(c.names, circle[0])
		c.doc.Problemf(fmt.Sprintf("components[%d].needs", i), "goes in a circle: %s", strings.Join(circle, " needs "))
	}
}

func withoutName(list []string, s string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(x string) bool { return x == s })
}

// requireGiven reports a field that is absent.
func (c *checker) requireGiven(at, s string) bool {
	if s == "" {
		c.doc.Missing(at)
	}
	return s != ""
}

func (c *checker) checkLabel(at, s string, longest int) {
	if c.requireGiven(at, s) && (len(s) > longest || !labelRule.MatchString(s)) {
		c.doc.Problemf(at, "%q is not a name of at most %d lower-case letters, digits and '-'", s, longest)
	}
}

func (c *checker) checkFileName(at, s string, longest int) {
	if c.requireGiven(at, s) && (len(s) > longest || !fileRule.MatchString(s)) {
		c.doc.Problemf(at, "%q is not a name of at most %d lower-case letters, digits, '-', '.' and '_'", s, longest)
	}
}

func (c *checker) checkLocalFile(at, s string) {
	if !lock.CleanPath(strings.TrimPrefix(s, "./")) {
		c.doc.Problemf(at, "%q is not a path relative to this file and below its folder", s)
	}
}

func (c *checker) checkAddress(at, s, schemes string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		c.doc.Problemf(at, "%q does not begin with %s and a host", s, schemes)
	case u.User != nil:
		c.doc.Problemf(at, "holds a user name or password; put them in ~/.netrc")
	}
}
