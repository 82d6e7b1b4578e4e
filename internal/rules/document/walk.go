package document

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
	sigyaml "sigs.k8s.io/yaml"
)

// Bounds of one walk.
const (
	maxNodes  = 4 << 20 // values, those behind an alias each time
	maxDepth  = 200
	maxTexts  = 3 // texts in one another
	maxImages = 100_000
)

// bound is why a walk ends early. It is ErrTooLarge.
type bound string

const (
	errTooDeep = bound("objects nested too deeply")
	errTooMany = bound("too many values")
)

func (e bound) Error() string { return string(e) }

// Unwrap gives ErrTooLarge.
func (e bound) Unwrap() error { return ErrTooLarge }

// Read walks the documents' objects and lists their sites in the order in which
// they stand. Custom resource definitions, OpenAPI schemas, `_example` keys,
// annotations, labels and comments hold none; YAML and JSON in strings is walked
// as well. A document that is not YAML is an error; so is, as ErrTooLarge, one
// that is too deep or holds too much to be walked whole.
func Read(docs []Document) ([]Site, error) {
	w := &walker{nodes: maxNodes}
	for _, d := range docs {
		if err := w.document(d); err != nil {
			return nil, fmt.Errorf("searching %s line %d for images: %w", d.Template, d.Line, err)
		}
		if w.images > maxImages {
			return nil, fmt.Errorf("searching for images: %w: more than %d references", ErrTooLarge, maxImages)
		}
	}
	return w.sites, nil
}

// walker walks one object after another.
type walker struct {
	sites    []Site
	images   int       // of sites
	nodes    int       // that may still be walked
	whole    Expansion // of the documents
	inner    Expansion // of the texts within them
	template string
	manifest bool                // what is walked is a plain manifest
	lines    lines               // of what is walked, in the template
	within   lines               // the same in text
	text     *text               // the outermost string that what is walked stands in, or nil
	list     []*yaml.Node        // that the walk is in
	maps     []mapping           // that the walk is in, the innermost last
	quiet    quiet               // what is not listed here
	object   *Object             // that is walked, where it can be written
	tags     map[*yaml.Node]tags // of mappings, see tagsIn
	listTags map[*yaml.Node]tags // of lists, by their first element, see tagVariables
	hubs     map[*yaml.Node]hub  // of mappings, see hubIn
}

// quiet are sites that are not listed where the walk is.
type quiet struct{ images, egress bool }

func (w *walker) document(d Document) error {
	w.template, w.manifest, w.lines = d.Template, d.Manifest, lines{base: d.Line}
	start := *w
	_, err := w.decode(d.Source, &position{index: -1, object: true})
	if err == nil || errors.Is(err, ErrTooLarge) {
		return err
	}
	if !errors.Is(err, errReadings) {
		if unread := checkUnread(d.Source, err); unread != nil {
			return unread
		}
	}
	// Kubernetes' own parser accepts a little more than ours, and what two parsers
	// could take differently counts as Kubernetes takes it.
	json, other := sigyaml.YAMLToJSON([]byte(d.Source))
	if other != nil {
		return err
	}
	*w = start // what the first reading found and counted is void
	w.lines = unknownLines
	_, err = w.decode(string(json), &position{index: -1, object: true})
	return err
}

// decode walks YAML. ok is false where it holds neither a mapping nor a list.
func (w *walker) decode(source string, at *position) (ok bool, err error) {
	counted, size := w.countedWith(), textExtent(source)
	if err := counted.add(size); err != nil {
		return false, err
	}
	dec := yaml.NewDecoder(strings.NewReader(source))
	for {
		var n yaml.Node
		if err := dec.Decode(&n); errors.Is(err, io.EOF) {
			return ok, nil
		} else if err != nil {
			return false, err
		}
		if err := counted.addAliases(&n, size); err != nil {
			return false, err
		}
		if at.above == nil && at.object && !readAsCluster(&n) {
			return false, errReadings
		}
		for _, c := range n.Content {
			ok = ok || c.Kind == yaml.MappingNode || c.Kind == yaml.SequenceNode
			if err := w.walk(c, at); err != nil {
				return false, err
			}
		}
	}
}

// countedWith is what a text at the walk's place is counted with.
func (w *walker) countedWith() *Expansion {
	if w.lines.depth > 0 {
		return &w.inner
	}
	return &w.whole
}

func (w *walker) walk(n *yaml.Node, at *position) error {
	if w.nodes--; w.nodes < 0 {
		return errTooMany
	}
	if at.depth > maxDepth {
		return errTooDeep
	}
	switch n.Kind {
	case yaml.AliasNode:
		below := *at
		below.depth++
		return w.walk(n.Alias, &below)
	case yaml.SequenceNode:
		return w.walkList(n, at)
	case yaml.MappingNode:
		return w.walkMapping(mapping{n}, at)
	case yaml.ScalarNode:
		_, err := w.walkString(n, at)
		return err
	}
	return nil
}

func (w *walker) walkList(n *yaml.Node, at *position) error {
	outer := w.list
	defer func() { w.list = outer }()
	w.list = n.Content
	var before *yaml.Node
	for i, c := range n.Content {
		here := at.element(i)
		if !w.listArgument(c, before, here) {
			if err := w.walk(c, here); err != nil {
				return err
			}
		}
		before = c
	}
	return nil
}

var (
	// keys below which nothing stands: schemas, examples and words for people
	unsearched = map[string]bool{"openAPIV3Schema": true, "_example": true, "annotations": true, "labels": true, "description": true}
	// keys below which a reference is no image, unless oci:// says that it is one
	otherNames = map[string]bool{"storageUri": true, "storageURI": true}
)

func (w *walker) walkMapping(m mapping, at *position) error {
	if at.object && m.isDefinition() {
		w.listDefinition(m, at)
		return nil
	}
	outer, files := w.quiet, at.files
	w.maps = append(w.maps, m)
	defer func() { w.quiet, w.maps = outer, w.maps[:len(w.maps)-1] }()
	w.quiet.images = w.quiet.images || !files && m.isOff()
	if !files {
		w.listPods(m, at)
		w.listEgress(m, at)
	}
	w.listParts(m, at)
	kind := m.word("kind")
	for i := 0; i+1 < len(m.node.Content); i += 2 {
		key, value := m.node.Content[i].Value, m.node.Content[i+1]
		if unsearched[key] {
			continue
		}
		here := at.child(key)
		here.files = kind == "ConfigMap" && key == "data" || kind == "Secret" && key == "stringData"
		if err := w.walkField(m, value, here, files); err != nil {
			return err
		}
	}
	return nil
}

// walkField walks the value of a mapping's key. file says that the mapping holds
// files.
func (w *walker) walkField(m mapping, value *yaml.Node, at *position, file bool) error {
	outer := w.quiet
	defer func() { w.quiet = outer }()
	w.quiet.images = w.quiet.images || otherNames[at.key] && modelImage(follow(value).Value) == ""
	isString := follow(value).Kind == yaml.ScalarNode
	switch {
	case file && isString:
		return w.walkFile(m, value, at)
	case !file && isString && m.isScript(at.key):
		w.listScript(follow(value), at, LanguageOfScript(follow(value).Value, Shell))
		w.quiet.egress = true
	}
	w.listField(m, value, at)
	w.listSetting(m, value, at)
	return w.walk(value, at)
}

// listField lists the image that the key of a mapping names. What stands in the
// value is then no image once more.
func (w *walker) listField(m mapping, value *yaml.Node, at *position) {
	if !w.quiet.images && (w.listImage(m, value, at) || w.listVariable(m, value, at)) {
		w.quiet.images = true
	}
}

// walkFile walks a file of a ConfigMap or a Secret.
func (w *walker) walkFile(m mapping, value *yaml.Node, at *position) error {
	w.listField(m, value, at)
	w.listSetting(m, value, at)
	n := follow(value)
	language, known := languageOfFile(at.key, n.Value)
	if language != NoLanguage {
		w.listScript(n, at, language)
	}
	w.quiet.egress = w.quiet.egress || known
	if w.nodes--; w.nodes < 0 {
		return errTooMany
	}
	ok, err := w.walkString(n, at)
	if ok || err != nil || known {
		return err
	}
	if looksLikeShell(n.Value) {
		w.listScript(n, at, Shell)
	}
	w.listSettingLines(at.key, n, at)
	return nil
}

// walkString lists what a string holds and walks the document within it. ok says
// that there is one.
func (w *walker) walkString(n *scalar, at *position) (ok bool, err error) {
	w.listString(n, at)
	w.listHubAddress(n, at)
	w.listModelImage(n, at)
	images := !w.quiet.images && mayNameImage(n.Value)
	if w.lines.depth >= maxTexts || !images && w.quiet.egress {
		return false, nil
	}
	if !looksLikeDocument(n.Value) {
		if images {
			w.listWithin(n, at)
		}
		return false, nil
	}
	leave := w.enter(n)
	defer leave()
	before, count := len(w.sites), w.images
	root := *at
	root.object, root.files = true, false
	ok, err = w.decode(n.Value, &root)
	if ok && err == nil || errors.Is(err, ErrTooLarge) {
		return ok, err
	}
	w.sites, w.images = w.sites[:before], count
	if images {
		w.listLines(n.Value, at)
	}
	return false, nil
}

// listWithin lists the references within a string of one line.
func (w *walker) listWithin(n *scalar, at *position) {
	if !w.holdsReferences(at) || !strings.ContainsAny(n.Value, " ,;=|") || isComplete(afterFlagName(n.Value)) {
		return
	}
	leave := w.enter(n)
	defer leave()
	w.listLines(n.Value, at)
}

// holdsReferences says whether words of the text that the walk is at may be
// references: those of a container's command, and those under a
// name that says image.
func (w *walker) holdsReferences(at *position) bool {
	name := at.key
	if len(w.maps) > 0 && name == "value" {
		name = w.maps[len(w.maps)-1].word("name")
	}
	return at.key != "value" && at.isContainerString() || namesImage(name)
}

// enter goes into the text that a string holds, and leave out of it again.
func (w *walker) enter(n *scalar) (leave func()) {
	before, outer, within := w.text, w.lines, w.within
	w.lines, w.within = w.lines.of(n), w.within.of(n)
	if before == nil {
		w.text, w.within = &text{node: n}, lines{base: 1}
	}
	return func() { w.text, w.lines, w.within = before, outer, within }
}

// listLines searches a text that cannot be read for lines that set an image, and
// for words that are one where such may stand.
func (w *walker) listLines(source string, at *position) {
	n, words := 0, w.holdsReferences(at)
	for line := range strings.Lines(source) {
		n++
		switch m := imageLine.FindStringSubmatch(line); {
		case m != nil && namesImage(m[1]) && (isComplete(m[2]) || isNamedImage(m[2])):
			w.listReference(m[2], Likely, &yaml.Node{Line: n}, at)
		case words && !strings.HasPrefix(strings.TrimSpace(line), "#"):
			for _, word := range strings.FieldsFunc(line, partsWords) {
				if isComplete(word) {
					w.listReference(word, Likely, &yaml.Node{Line: n}, at)
				}
			}
		}
	}
}

// partsWords says whether a character stands between the words of a text.
func partsWords(r rune) bool {
	return unicode.IsSpace(r) || strings.ContainsRune("=,;|'\"`()[]{}<>$", r)
}

// add completes a site that stands at a node and lists it.
func (w *walker) add(s Site, n *yaml.Node, at *position) {
	if s.Names() {
		if w.images > maxImages {
			return
		}
		w.images++
	}
	s.Template, s.Manifest, s.Path, s.Line = w.template, w.manifest, at.String(), w.lines.at(n.Line)
	if w.text != nil {
		s.at.text, s.at.line = w.text, w.within.at(n.Line)
	}
	w.sites = append(w.sites, s)
}
