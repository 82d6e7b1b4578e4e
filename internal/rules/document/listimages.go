package document

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Images picks those sites that name an image, but for Possible ones, sorted by
// template, line and reference; a place appears once. They are: images in
// containers of any kind of object, in image volumes, under any key `image` that
// holds a plausible reference, in strings that are a reference with a host or
// stand under a name that says so (RELATED_IMAGE_X, --x-image), over the keys
// repository, image and version or repository and tag, in the address of a model
// (storageUri: oci://REF).
func Images(sites []Site) []Site {
	var out []Site
	for _, s := range sites {
		if s.Names() && s.Certainty > Possible && (len(out) == 0 || !sameImage(out[len(out)-1], s)) {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b Site) int {
		return cmp.Or(cmp.Compare(a.Template, b.Template), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Ref, b.Ref))
	})
	return out
}

func sameImage(a, b Site) bool {
	return a.Template == b.Template && a.Line == b.Line && a.Path == b.Path && a.Ref == b.Ref && a.Certainty == b.Certainty && a.Kept == b.Kept
}

// listReference lists a reference that stands in one string.
func (w *walker) listReference(ref string, c Certainty, n *scalar, at *position) {
	w.addImage(Site{Ref: ref, Certainty: c, Required: c == Certain && w.lines.depth == 0}, n, at)
}

func (w *walker) addImage(s Site, n *scalar, at *position) {
	s.What, s.at.value = Image, n
	w.add(s, n, at)
}

// listSpread lists a reference that the mapping spells over several keys, at one
// of them.
func (w *walker) listSpread(m mapping, ref string, c Certainty, n *yaml.Node, at *position) {
	s := Site{What: Spread, Ref: ref, Certainty: c}
	if s.at.spread = spreadOf(m); s.at.spread.ref != ref {
		s.at.spread = spread{}
	}
	switch {
	case w.lines.depth == 0:
		s.at.spread.replace = m.word("image") != ""
	case w.lines.depth > 1: // positions are no longer those of the text
		s.at.spread = spread{}
		s.Kept = true
	default:
		s.Kept = s.at.spread.ref == "" || !w.text.canWrite(s.at.spread)
	}
	w.add(s, n, at)
}

// listImage lists the reference that the key of the mapping holds, if it holds one.
func (w *walker) listImage(m mapping, value *yaml.Node, at *position) bool {
	ref, ok := stringOf(value)
	switch {
	case !ok || ref == "":
		return false
	case at.key == "reference" && at.above.key == "image":
		w.listVolume(ref, value, at)
	case at.key != "image":
		return false
	case w.lines.depth > 0:
		w.listConfigured(m, ref, value, at)
	case at.above.isContainer():
		w.listReference(ref, Certain, value, at)
	default:
		w.listImageKey(m, ref, value, at)
	}
	return true
}

// listVolume handles image: {reference: REF}.
func (w *walker) listVolume(ref string, value *yaml.Node, at *position) {
	c := Likely
	if w.lines.depth == 0 && isPlausible(ref) {
		c = Certain
	}
	w.addImage(Site{Ref: ref, Certainty: c, Required: w.lines.depth == 0}, value, at)
}

// listImageKey handles `image` outside a container, where operators' resources
// often split the reference over neighbouring keys.
func (w *walker) listImageKey(m mapping, ref string, value *yaml.Node, at *position) {
	if m.word("repository") != "" && !strings.ContainsAny(ref, ":@") {
		joined, versioned := m.joinRepository(ref)
		c := Likely
		if versioned && isPlausible(joined) {
			c = Joined
		}
		w.listSpread(m, joined, c, value, at)
		return
	}
	if isPlausible(ref) {
		c := Likely
		if strings.ContainsAny(ref, "/:@") {
			c = Certain
		}
		w.listReference(ref, c, value, at)
	}
}

// listConfigured handles `image` in a document inside a string: nothing there is
// sure to be an image, and neighbouring keys may hold its tag.
func (w *walker) listConfigured(m mapping, ref string, value *yaml.Node, at *position) {
	if !isPlausible(ref) {
		return
	}
	if m.word("repository") != "" {
		w.listImageKey(m, ref, value, at)
		return
	}
	if joined := m.joinBeside(ref); joined != "" && isPlausible(joined) {
		w.listSpread(m, joined, Joined, value, at)
		return
	}
	if strings.ContainsAny(ref, "/:@") {
		w.listReference(ref, Likely, value, at)
		return
	}
	if joined := w.joinHub(ref); joined != "" {
		w.add(Site{What: Spread, Ref: joined, Certainty: Joined, Kept: true}, value, at)
	}
}

// listParts handles {repository: HOST/NAME, tag: T} and {registry: HOST,
// repository: NAME, tag: T}, which have no key image.
func (w *walker) listParts(m mapping, at *position) {
	if w.quiet.images {
		return
	}
	ref := m.joinParts()
	if ref == "" {
		return
	}
	for i := 0; i+1 < len(m.node.Content); i += 2 {
		if m.node.Content[i].Value == "repository" {
			w.listSpread(m, ref, Likely, m.node.Content[i+1], at.child("repository"))
			return
		}
	}
}

// listVariable handles {name: X_IMAGE, value: REF} and REF under keys that name an
// image.
func (w *walker) listVariable(m mapping, value *yaml.Node, at *position) bool {
	ref, ok := stringOf(value)
	if !ok {
		return false
	}
	name, beside := at.key, func(image string) string { return w.tagsIn(m).of(image) }
	if name == "value" {
		name, beside = m.word("name"), func(image string) string { return w.tagVariables().of(image) }
	}
	return w.listNamed(name, value, ref, at, beside)
}

// listNamed lists a reference under a name that holds images, where it is not
// complete: without a host, or without a tag. Its tag may stand beside it, under a
// name of its own.
func (w *walker) listNamed(name string, n *yaml.Node, ref string, at *position, beside func(image string) string) bool {
	switch {
	case !namesImage(name) || completeReference.MatchString(ref):
		return false
	case isNamedImage(ref):
		w.listReference(ref, Likely, n, at)
	case !isUntaggedImage(name, ref):
		return false
	default:
		w.listUntagged(name, n, ref, at, beside)
	}
	return true
}

// listUntagged lists a reference with a host and without a tag. One whose tag stands
// beside it cannot be rewritten: no digest goes where its reader puts the tag.
func (w *walker) listUntagged(name string, n *yaml.Node, ref string, at *position, beside func(image string) string) {
	joined := ""
	if beside != nil {
		joined = joinVersion(ref, beside(name))
	}
	if joined == "" || joined == ref || !isPlausible(joined) {
		w.listReference(ref, Likely, n, at)
		return
	}
	w.add(Site{What: Spread, Ref: joined, Certainty: Joined, Kept: true}, n, at)
}

// tagsIn are the tags of a mapping, which is read once.
func (w *walker) tagsIn(m mapping) tags {
	if w.tags == nil {
		w.tags = map[*yaml.Node]tags{}
	}
	if w.tags[m.node] == nil {
		w.tags[m.node] = m.tags()
	}
	return w.tags[m.node]
}

// tagVariables are the tags among the variables of the list that the walk is in, which is
// read once.
func (w *walker) tagVariables() tags {
	if len(w.list) == 0 {
		return nil
	}
	if w.listTags == nil {
		w.listTags = map[*yaml.Node]tags{}
	}
	out := w.listTags[w.list[0]]
	if out != nil {
		return out
	}
	out = tags{}
	for i, n := range w.list {
		if n = follow(n); n.Kind == yaml.MappingNode {
			out.add(i, mapping{n}.word("name"), mapping{n}.word("value"))
		}
	}
	w.listTags[w.list[0]] = out
	return out
}

// listArgument handles --x-image=REF and --x-image REF where REF is not complete.
func (w *walker) listArgument(n, before *yaml.Node, at *position) bool {
	word, ok := stringOf(n)
	if !ok || w.quiet.images {
		return false
	}
	if flag, ref, ok := strings.Cut(word, "="); ok && strings.HasPrefix(flag, "-") {
		return w.listNamed(flag, n, ref, at, nil)
	}
	if before == nil {
		return false
	}
	flag, ok := stringOf(before)
	return ok && strings.HasPrefix(flag, "-") && !strings.Contains(flag, "=") && w.listNamed(flag, n, word, at, nil)
}

// modelAddress is the address of a model that a registry has as an image: KServe mounts
// it, or runs it beside the server.
var modelAddress = regexp.MustCompile(`^oci(?:\+native)?://(\S+)$`)

// modelImage is the image that the address of a model names, "" where it names none.
func modelImage(address string) string {
	m := modelAddress.FindStringSubmatch(strings.TrimSpace(address))
	if m == nil || !isComplete(m[1]) {
		return ""
	}
	return m[1]
}

// listModelImage lists the image in the address of a model. It is not certain that one
// has to be pulled: the bundle may have the model under that name.
func (w *walker) listModelImage(n *scalar, at *position) {
	if w.quiet.images || !at.isModelAddress() {
		return
	}
	if ref := modelImage(n.Value); ref != "" {
		w.listReference(ref, Joined, n, at)
	}
}

// isModelAddress says whether a field holds the address of a model: storageUri, and uri
// of a list storageUris or of a model.
func (p *position) isModelAddress() bool {
	return otherNames[p.key] || p.key == "uri" && p.above != nil && (p.above.key == "storageUris" || p.above.key == "model")
}

// listString lists a string that is a complete reference, and one that may be a
// reference since it is a word of a container or stands under a name for images.
func (w *walker) listString(n *scalar, at *position) {
	ref, ok := stringOf(n)
	if !ok || w.quiet.images || len(ref) > maxReference {
		return
	}
	ref = afterFlagName(ref)
	switch {
	case isComplete(ref), at.index >= 0 && isUntaggedImage(at.key, ref):
		w.listReference(ref, Likely, n, at)
	case w.lines.depth == 0 && strings.ContainsAny(ref, ":@") && isPlausible(ref) && (namesImage(at.key) || at.isContainerString()):
		w.listReference(ref, Possible, n, at)
	}
}
