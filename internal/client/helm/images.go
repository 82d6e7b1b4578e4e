package helm

import (
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
	sigyaml "sigs.k8s.io/yaml"

	"github.com/caisson/caisson/internal/rules/document"
)

// FoundImage is one place in rendered objects that names an image.
type FoundImage struct {
	Ref      string // as written
	Template string
	Line     int    // within the rendered template, 0 when unknown
	Path     string // spec.containers[0].image
	// Sure is true where a container or an `image` key holds a reference.
	Sure bool
	// Joined is true where Ref was put together from neighbouring keys
	// (repository, image, version), as operators' own resources spell it: the
	// operator may add to it before it pulls. Where neither is true, a string
	// only looks like a reference (an argument, an environment variable, a bare
	// name outside a pod), and somebody should decide.
	Joined bool
	// Kept is true for a reference over several keys of a text that stands where
	// its keys cannot be rewritten: in a text within a text, or behind an alias.
	Kept bool
}

// Bounds of the search.
const (
	maxNodes = 4 << 20
	maxDepth = 200
	maxRef   = 512
	maxFound = 100_000
)

// Images finds what the documents' objects name as images: in containers of any
// kind of object, in image volumes, under any key `image` that holds a plausible
// reference, in strings that are a reference with a host or stand under a name
// that says so (RELATED_IMAGE_X, --x-image), over the keys repository and tag,
// and in YAML and JSON inside strings. Custom resource definitions, OpenAPI
// schemas, `_example` keys, annotations and comments are not searched. The result is sorted by template, line and
// reference; a place appears once.
func Images(docs []document.Document) ([]FoundImage, error) {
	s := &scanner{nodes: maxNodes}
	for _, d := range docs {
		if err := s.document(d); err != nil {
			return nil, fmt.Errorf("searching %s line %d for images: %w", d.Template, d.Line, err)
		}
		if len(s.found) > maxFound {
			return nil, fmt.Errorf("searching for images: %w: more than %d references", ErrTooLarge, maxFound)
		}
	}
	sort.SliceStable(s.found, func(i, j int) bool {
		a, b := s.found[i], s.found[j]
		if a.Template != b.Template {
			return a.Template < b.Template
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Ref < b.Ref
	})
	return s.found, nil
}

type scanner struct {
	found  []FoundImage
	nodes  int
	doc    document.Document
	lines  bool // node lines are those of the document
	span   lines
	text   *editor      // of the document in a string that is walked, one deep
	spread func(spread) // called for each reference over keys of such a document
}

var (
	errTooDeep  = errors.New("objects nested too deeply")
	errTooMany  = errors.New("too many values")
	crdLine     = regexp.MustCompile(`(?m)^kind:[ \t]*["']?CustomResourceDefinition["']?[ \t\r]*$`)
	unsearched  = map[string]bool{"openAPIV3Schema": true, "_example": true}
	podLists    = map[string]bool{"containers": true, "initContainers": true, "ephemeralContainers": true}
	pictureFile = map[string]bool{".png": true, ".svg": true, ".jpg": true, ".jpeg": true, ".gif": true, ".webp": true, ".ico": true, ".iso": true, ".img": true, ".qcow2": true}
)

func (s *scanner) document(d document.Document) error {
	if crdLine.MatchString(d.Source) && strings.Count(d.Source, "\nkind:") <= 1 {
		return nil
	}
	s.doc, s.lines, s.span = d, true, lines{base: d.Line}
	before := len(s.found)
	err := s.decode(d.Source, &place{index: -1})
	if err == nil || isBound(err) {
		return err
	}
	// Kubernetes' own parser accepts a little more than ours.
	s.found, s.lines = s.found[:before], false
	json, other := sigyaml.YAMLToJSON([]byte(d.Source))
	if other != nil {
		return err
	}
	return s.decode(string(json), &place{index: -1})
}

func isBound(err error) bool { return errors.Is(err, errTooDeep) || errors.Is(err, errTooMany) }

func (s *scanner) decode(source string, at *place) error {
	dec := yaml.NewDecoder(strings.NewReader(source))
	for {
		var n yaml.Node
		if err := dec.Decode(&n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.walk(&n, at); err != nil {
			return err
		}
	}
}

// place is where in an object the walk is: a chain up to the document.
type place struct {
	above *place
	key   string // the mapping key, inherited by the elements of a list
	index int    // of a list element, else -1
	depth int
}

func (p *place) child(key string) *place {
	return &place{above: p, key: key, index: -1, depth: p.depth + 1}
}

func (p *place) element(i int) *place {
	return &place{above: p, key: p.key, index: i, depth: p.depth + 1}
}

// pod says whether the place is a container of a pod.
func (p *place) pod() bool { return p.index >= 0 && podLists[p.key] }

// String is the place as a path: spec.containers[0].image.
func (p *place) String() string {
	switch {
	case p.above == nil:
		return ""
	case p.index >= 0:
		return fmt.Sprintf("%s[%d]", p.above, p.index)
	}
	key := p.key
	if len(key) > 64 {
		key = key[:64] + "…"
	}
	if p.above.above == nil {
		return key
	}
	return p.above.String() + "." + key
}

func (s *scanner) walk(n *yaml.Node, at *place) error {
	if s.nodes--; s.nodes < 0 {
		return errTooMany
	}
	if at.depth > maxDepth {
		return errTooDeep
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return s.each(n.Content, func(int) *place { return at })
	case yaml.AliasNode:
		below := *at
		below.depth++
		return s.walk(n.Alias, &below)
	case yaml.SequenceNode:
		return s.sequence(n, at)
	case yaml.MappingNode:
		return s.mapping(n, at)
	case yaml.ScalarNode:
		s.suspect(n, at)
		return s.inside(n, at)
	}
	return nil
}

func (s *scanner) sequence(n *yaml.Node, at *place) error {
	var before *yaml.Node
	for i, c := range n.Content {
		if !s.argument(c, before, at.element(i)) {
			if err := s.walk(c, at.element(i)); err != nil {
				return err
			}
		}
		before = c
	}
	return nil
}

func (s *scanner) each(nodes []*yaml.Node, at func(int) *place) error {
	for i, n := range nodes {
		if err := s.walk(n, at(i)); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) mapping(n *yaml.Node, at *place) error {
	if text(n, "kind") == "CustomResourceDefinition" && strings.HasPrefix(text(n, "apiVersion"), "apiextensions.k8s.io/") {
		return nil
	}
	s.keys(n)
	s.parts(n, at)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		if unsearched[key] || otherKeys[key] {
			continue
		}
		if s.image(n, key, value, at) || s.variable(n, key, value, at) {
			continue
		}
		if err := s.walk(value, at.child(key)); err != nil {
			return err
		}
	}
	return nil
}

// image records the reference that key of the mapping holds, if it holds one.
func (s *scanner) image(parent *yaml.Node, key string, value *yaml.Node, at *place) bool {
	ref, isText := scalar(value)
	switch {
	case !isText || ref == "":
		return false
	case key == "reference" && at.key == "image":
		s.add(ref, value, at.child(key), s.span.depth == 0 && plausible(ref))
	case key != "image":
		return false
	case s.span.depth > 0:
		s.configured(parent, ref, value, at.child(key))
	case at.pod():
		s.add(ref, value, at.child(key), true)
	default:
		s.imageKey(parent, ref, value, at.child(key))
	}
	return true
}

// imageKey handles `image` outside a pod, where operators' resources often
// split the reference over neighbouring keys.
func (s *scanner) imageKey(parent *yaml.Node, ref string, value *yaml.Node, at *place) {
	if repository := text(parent, "repository"); repository != "" && !strings.ContainsAny(ref, ":@") {
		version := text(parent, "version")
		if version == "" {
			version = text(parent, "tag")
		}
		joined := join(repository+"/"+ref, version)
		s.record(FoundImage{Ref: joined, Joined: version != "" && plausible(joined), Kept: s.kept(parent)}, value, at)
		return
	}
	if plausible(ref) {
		s.add(ref, value, at, strings.ContainsAny(ref, "/:@"))
	}
}

// configured handles `image` in a document inside a string: nothing there is
// sure to be an image, and neighbouring keys may hold its tag.
func (s *scanner) configured(parent *yaml.Node, ref string, value *yaml.Node, at *place) {
	if !plausible(ref) {
		return
	}
	if text(parent, "repository") != "" {
		s.imageKey(parent, ref, value, at)
		return
	}
	if joined := versioned(parent, ref); joined != "" && plausible(joined) {
		s.record(FoundImage{Ref: joined, Joined: true, Kept: s.kept(parent)}, value, at)
		return
	}
	if strings.ContainsAny(ref, "/:@") {
		s.add(ref, value, at, false)
	}
}

func join(name, version string) string {
	switch {
	case version == "":
		return name
	case strings.HasPrefix(version, "sha256:"):
		return name + "@" + version
	}
	return name + ":" + version
}

// suspect records a string that looks like a complete reference.
func (s *scanner) suspect(n *yaml.Node, at *place) {
	ref, ok := scalar(n)
	if !ok || len(ref) > maxRef {
		return
	}
	if strings.HasPrefix(ref, "-") {
		_, ref, _ = strings.Cut(ref, "=")
	}
	if completeReference.MatchString(ref) && plausible(ref) {
		s.add(ref, n, at, false)
	}
}

func (s *scanner) add(ref string, n *yaml.Node, at *place, sure bool) {
	s.record(FoundImage{Ref: ref, Sure: sure}, n, at)
}

func (s *scanner) record(f FoundImage, n *yaml.Node, at *place) {
	if len(s.found) > maxFound {
		return
	}
	f.Template, f.Path = s.doc.Template, at.String()
	if s.lines {
		f.Line = s.span.at(n.Line)
	}
	if len(s.found) > 0 && s.found[len(s.found)-1] == f {
		return
	}
	s.found = append(s.found, f)
}

// scalar is the trimmed text of a string scalar.
func scalar(n *yaml.Node) (string, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		return "", false
	}
	return strings.TrimSpace(n.Value), true
}

// text is the scalar under key of a mapping, or "".
func text(n *yaml.Node, key string) string {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != key {
			continue
		}
		v := n.Content[i+1]
		if v.Kind == yaml.AliasNode {
			v = v.Alias
		}
		if v.Kind == yaml.ScalarNode && v.ShortTag() != "!!null" {
			return strings.TrimSpace(v.Value)
		}
	}
	return ""
}

// The reference grammar of the OCI distribution specification ("Pull", with
// Docker's host and short-name rules before it).
const (
	hostPattern = `(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]{1,5})?|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?)`
	partPattern = `[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*`
	endPattern  = `(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?`
)

var (
	anyReference = regexp.MustCompile(`^(?:` + hostPattern + `/)?` + partPattern + `(?:/` + partPattern + `)*` + endPattern + `$`)
	// a host with a dot or port, a path, and a tag or digest
	completeReference = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9-]*(?:(?:\.[a-zA-Z0-9-]+)+(?::[0-9]{1,5})?|:[0-9]{1,5})/[^:@]+(?::[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})+$`)
)

// plausible says whether ref has the form of an image reference and is not
// obviously the name of a file.
func plausible(ref string) bool {
	return len(ref) <= maxRef && anyReference.MatchString(ref) && !pictureFile[path.Ext(ref)]
}
