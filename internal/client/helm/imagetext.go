package helm

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of documents inside strings.
const (
	maxEmbedded      = 3 // in one another
	maxEmbeddedBytes = 8 << 20
)

var (
	// names of variables, flags and keys that hold an image
	imageName = regexp.MustCompile(`(?i)image`)
	// what such names end in when they hold something else
	notImageName = regexp.MustCompile(`(?i)(policy|secrets?|registry|repository|repo|prefix|path|dir|size|type|tag|version|uri|url|format|digest|sha|gc[a-z-]*|timeout|enabled)$`)
	// keys below which a reference is a name of something else, or an example
	otherKeys = map[string]bool{"annotations": true, "labels": true, "description": true, "storageUri": true, "storageURI": true}
	// a line of text that is no YAML, with a key `image`
	imageLine = regexp.MustCompile(`^\s*(?:-\s*)?["']?image["']?\s*[:=]\s*["']?([^\s"',]+)["']?,?\s*$`)
	hostPort  = regexp.MustCompile(`^[^/@]+:[0-9]+$`)
	// keys beside `image` in configurations, whose value is its tag
	versionKeys = []string{"version", "tag", "defaultImageVersion", "imageTag", "imageVersion"}
	bareHost    = regexp.MustCompile(`^[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+(:[0-9]{1,5})?$`)
)

// namesImage says whether something of that name holds an image.
func namesImage(name string) bool {
	return imageName.MatchString(name) && !notImageName.MatchString(name)
}

// looksNamed says whether ref, under a name that holds an image, is one although
// it has no host: it has a tag or digest, and is no HOST:PORT.
func looksNamed(ref string) bool {
	return strings.ContainsAny(ref, ":@") && plausible(ref) && !hostPort.MatchString(ref) || hostPort.MatchString(ref) && plausible(ref) && !strings.Contains(ref, ".")
}

// embedded says whether a string may hold a document with images.
func embedded(s string) bool {
	trimmed := strings.TrimSpace(s)
	return len(s) <= maxEmbeddedBytes && (strings.Contains(trimmed, "\n") || strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[")) &&
		(imageName.MatchString(s) || strings.ContainsAny(s, "/") && strings.ContainsAny(s, ":@"))
}

// lines maps the lines of what is being walked to those of the document.
type lines struct {
	base  int  // of the first line
	fixed bool // all are that line
	depth int  // strings within strings
}

func (l lines) at(n int) int {
	if l.fixed {
		return l.base
	}
	return l.base + n - 1
}

// within maps the lines of a scalar's content.
func (l lines) within(n *yaml.Node) lines {
	in := lines{base: l.at(n.Line), fixed: true, depth: l.depth + 1}
	if n.Style&yaml.LiteralStyle != 0 && !l.fixed {
		in.base, in.fixed = in.base+1, false
	}
	return in
}

// inside searches the document in a string. What cannot be read as one is
// searched for lines that set an image.
func (s *scanner) inside(n *yaml.Node, at *place) error {
	if s.span.depth >= maxEmbedded || !embedded(n.Value) {
		return nil
	}
	outer, before := s.span, len(s.found)
	text := s.text
	s.span, s.text = outer.within(n), nil
	if s.span.depth == 1 {
		s.text = newEditor(n.Value)
	}
	defer func() { s.span, s.text = outer, text }()
	err := s.decode(n.Value, at)
	if err == nil || isBound(err) {
		return err
	}
	s.found = s.found[:before]
	s.textLines(n.Value, at)
	return nil
}

func (s *scanner) textLines(source string, at *place) {
	n := 0
	for line := range strings.Lines(source) {
		n++
		m := imageLine.FindStringSubmatch(line)
		if m != nil && len(m[1]) <= maxRef && completeReference.MatchString(m[1]) && plausible(m[1]) {
			s.add(m[1], &yaml.Node{Line: n}, at, false)
		}
	}
}

// hinted records a reference without a host under a name that holds images.
func (s *scanner) hinted(n *yaml.Node, ref string, at *place) bool {
	if len(ref) > maxRef || completeReference.MatchString(ref) || !looksNamed(ref) {
		return false
	}
	s.add(ref, n, at, false)
	return true
}

// variable handles {name: X_IMAGE, value: REF} and image: REF under other keys.
func (s *scanner) variable(parent *yaml.Node, key string, value *yaml.Node, at *place) bool {
	ref, ok := scalar(value)
	if !ok {
		return false
	}
	name := key
	if key == "value" {
		name = text(parent, "name")
	}
	return namesImage(name) && s.hinted(value, ref, at.child(key))
}

// argument handles --x-image=REF and --x-image REF where REF has no host.
func (s *scanner) argument(n, before *yaml.Node, at *place) bool {
	word, ok := scalar(n)
	if !ok {
		return false
	}
	if flag, ref, ok := strings.Cut(word, "="); ok && strings.HasPrefix(flag, "-") {
		return namesImage(flag) && s.hinted(n, ref, at)
	}
	if before == nil {
		return false
	}
	flag, ok := scalar(before)
	return ok && strings.HasPrefix(flag, "-") && !strings.Contains(flag, "=") && namesImage(flag) && s.hinted(n, word, at)
}

// parts handles {repository: HOST/NAME, tag: T} and {registry: HOST, repository:
// NAME, tag: T}, which have no key image.
func (s *scanner) parts(n *yaml.Node, at *place) {
	p := partsOf(func(key string) string { return text(n, key) })
	if p.ref == "" {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "repository" {
			s.record(FoundImage{Ref: p.ref, Kept: s.kept(n)}, n.Content[i+1], at.child("repository"))
			return
		}
	}
}

// parted is a reference over the keys registry, repository and tag.
type parted struct{ ref, registry, tag string }

// partsOf joins the keys; ref is "" where they make no complete reference.
func partsOf(get func(string) string) parted {
	repository, registry, tag := get("repository"), get("registry"), get("tag")
	if repository == "" || tag == "" || get("image") != "" || strings.ContainsAny(repository, ":@") && !strings.Contains(repository, "/") || strings.Contains(tag, "@") {
		return parted{}
	}
	name := repository
	if registry != "" {
		if !bareHost.MatchString(strings.SplitN(registry, "/", 2)[0]) {
			return parted{}
		}
		name = registry + "/" + repository
	}
	ref := join(name, tag)
	if len(ref) > maxRef || !completeReference.MatchString(ref) || !plausible(ref) {
		return parted{}
	}
	return parted{ref, registry, tag}
}

// versioned joins image and a version beside it, as configurations spell it; ""
// where image has its own tag or there is no version.
func versioned(n *yaml.Node, ref string) string {
	if strings.ContainsAny(afterHost(ref), ":@") {
		return ""
	}
	i := slices.IndexFunc(versionKeys, func(k string) bool { return text(n, k) != "" })
	if i < 0 {
		return ""
	}
	return join(ref, text(n, versionKeys[i]))
}

func afterHost(ref string) string {
	_, rest, ok := strings.Cut(ref, "/")
	if !ok {
		return ref
	}
	return rest
}

// keys tells of the reference that a mapping of a document in a string spells
// over several keys. Deeper down, positions are no longer those of the text.
func (s *scanner) keys(n *yaml.Node) {
	if s.spread == nil || s.span.depth != 1 {
		return
	}
	if x := spreadOf(n); x.ref != "" {
		s.spread(x)
	}
}

// kept says whether what the mapping spells over several keys of a text stands
// where it cannot be rewritten.
func (s *scanner) kept(n *yaml.Node) bool {
	if s.span.depth == 0 {
		return false
	}
	x := spreadOf(n)
	return x.ref == "" || s.text == nil || !s.text.can(x)
}
