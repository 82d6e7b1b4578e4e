package lint

import (
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/caisson/caisson/internal/event"
)

// walker searches one document after another.
type walker struct {
	found []Finding
	nodes int
	doc   Document
}

// text is YAML source and where it lies in the document.
type text struct {
	source string
	line   int  // of its first line
	fixed  bool // everything counts as that line: a quoted string
	depth  int  // strings it lies in
}

// at is the line of the document that holds a line of the text.
func (t text) at(line int) int {
	if t.fixed {
		return t.line
	}
	return t.line + line - 1
}

// within is the content of a scalar of the text.
func (t text) within(n *yaml.Node) text {
	in := text{source: n.Value, line: t.at(n.Line), fixed: true, depth: t.depth + 1}
	if n.Style&yaml.LiteralStyle != 0 && !t.fixed {
		in.line, in.fixed = in.line+1, false
	}
	return in
}

// skipped keys hold schemas, examples and words for people.
var skipped = []string{"openAPIV3Schema", "_example", "annotations", "labels", "description"}

func (w *walker) document(d Document) error {
	w.doc = d
	_, err := w.yaml(text{source: d.Source, line: d.Line})
	return err
}

// yaml walks a text. ok is false for one that is not YAML of objects or lists;
// what was found in it before that showed is kept out.
func (w *walker) yaml(t text) (ok bool, err error) {
	before := len(w.found)
	dec := yaml.NewDecoder(strings.NewReader(t.source))
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		switch {
		case errors.Is(err, io.EOF):
			return ok, nil
		case err != nil || len(n.Content) == 0:
			w.found = w.found[:before]
			return false, nil
		}
		if kind := n.Content[0].Kind; kind == yaml.MappingNode || kind == yaml.SequenceNode {
			ok = true
		}
		if err := w.walk(n.Content[0], t, 0); err != nil {
			return false, err
		}
	}
}

func (w *walker) walk(n *yaml.Node, t text, depth int) error {
	if w.nodes--; w.nodes < 0 || depth > maxDepth {
		return ErrTooLarge
	}
	switch n.Kind {
	case yaml.AliasNode:
		return w.walk(n.Alias, t, depth+1)
	case yaml.SequenceNode:
		for _, c := range n.Content {
			if err := w.walk(c, t, depth+1); err != nil {
				return err
			}
		}
	case yaml.MappingNode:
		return w.mapping(object{n}, t, depth)
	case yaml.ScalarNode:
		_, err := w.embedded(n, t)
		return err
	}
	return nil
}

// object is a mapping.
type object struct{ n *yaml.Node }

// get is the value under key, aliases followed, or nil.
func (o object) get(key string) *yaml.Node {
	for i := 0; i+1 < len(o.n.Content); i += 2 {
		if o.n.Content[i].Value == key {
			return target(o.n.Content[i+1])
		}
	}
	return nil
}

func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// str is the text under key, or "".
func (o object) str(key string) string {
	if v := o.get(key); v != nil && v.Kind == yaml.ScalarNode {
		return strings.TrimSpace(v.Value)
	}
	return ""
}

func (w *walker) mapping(o object, t text, depth int) error {
	kind, api := o.str("kind"), o.str("apiVersion")
	if kind == "CustomResourceDefinition" && strings.HasPrefix(api, "apiextensions.k8s.io/") {
		return nil
	}
	w.pullPolicy(o, t)
	w.remotes(o, kind, api, t)
	w.argv(o, t)
	for i := 0; i+1 < len(o.n.Content); i += 2 {
		key, v := o.n.Content[i].Value, o.n.Content[i+1]
		if slices.Contains(skipped, key) {
			continue
		}
		var err error
		if (kind == "ConfigMap" && key == "data" || kind == "Secret" && key == "stringData") && target(v).Kind == yaml.MappingNode {
			err = w.files(object{target(v)}, t, depth+1)
		} else if o.script(key) && target(v).Kind == yaml.ScalarNode {
			w.scan(t.within(target(v)), shebang(target(v).Value, shellHits))
		} else {
			err = w.walk(v, t, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// script says whether key of a container-like object holds a script, as in the
// templates of workflow engines.
func (o object) script(key string) bool {
	return (key == "source" || key == "script") && o.get("image") != nil
}

// embedded walks the YAML or JSON in a string, where there is any.
func (w *walker) embedded(n *yaml.Node, t text) (ok bool, err error) {
	v := strings.TrimSpace(n.Value)
	if t.depth >= maxEmbedded || !(strings.Contains(v, "\n") || strings.HasPrefix(v, "{") || strings.HasPrefix(v, "[")) {
		return false, nil
	}
	return w.yaml(t.within(n))
}

var (
	shellLook  = regexp.MustCompile(`(?m)^[ \t]*(set [-+][a-z]|if \[|fi$|done$|esac$|exec |export [A-Za-z_]+=|function [a-z_]+)`)
	shellFiles = []string{".sh", ".bash", ".ash", ".ksh", ".zsh"}
	// files for people, and data that no shell reads
	proseFiles = []string{".md", ".txt", ".rst", ".adoc", ".html", ".htm", ".css", ".csv", ".js", ".go", ".tmpl", ".tpl", ".pem", ".crt"}
)

// files searches the files of a ConfigMap.
func (w *walker) files(o object, t text, depth int) error {
	for i := 0; i+1 < len(o.n.Content); i += 2 {
		name, v := o.n.Content[i].Value, target(o.n.Content[i+1])
		if slices.Contains(skipped, name) {
			continue
		}
		if v.Kind != yaml.ScalarNode {
			if err := w.walk(v, t, depth); err != nil {
				return err
			}
			continue
		}
		if err := w.file(name, v, t); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) file(name string, n *yaml.Node, t text) error {
	ext := strings.ToLower(path.Ext(name))
	if slices.Contains(proseFiles, ext) {
		return nil
	}
	if search := searchOf(strings.ToLower(name), ext, n.Value); search != nil {
		w.scan(t.within(n), search)
		return nil
	}
	ok, err := w.embedded(n, t)
	if !ok && err == nil && shellLook.MatchString(n.Value) {
		w.scan(t.within(n), shellHits)
	}
	return err
}

// searchOf is how to search a file that is certainly a script.
func searchOf(name, ext, content string) func(string, int) []hit {
	switch {
	case strings.HasPrefix(content, "#!"):
		return shebang(content, nil)
	case slices.Contains(shellFiles, ext), strings.HasPrefix(name, "dockerfile"), strings.HasSuffix(name, "dockerfile"):
		return shellHits
	case ext == ".py":
		return pythonHits
	}
	return nil
}

// shebang is how to search a script by its first line.
func shebang(content string, other func(string, int) []hit) func(string, int) []hit {
	first, _, _ := strings.Cut(content, "\n")
	if !strings.HasPrefix(first, "#!") {
		return other
	}
	for _, word := range strings.Fields(first[2:]) {
		if search := interpreter(word); search != nil {
			return search
		}
	}
	return other
}

func (w *walker) scan(t text, search func(string, int) []hit) {
	if search == nil {
		return
	}
	for _, h := range search(t.source, 0) {
		w.hit(h, t.at(h.line))
	}
}

func (w *walker) hit(h hit, line int) {
	w.add(Finding{Code: h.code, Line: line, Text: h.text, What: fmt.Sprintf("%q: %s", excerpt(h.text), h.what)})
}

func (w *walker) add(f Finding) {
	f.Template = w.doc.Template
	w.found = append(w.found, f)
}

// argv searches the command and arguments of a container, probe or hook.
func (w *walker) argv(o object, t text) {
	var words []string
	var nodes []*yaml.Node
	for _, key := range []string{"command", "args"} {
		v := o.get(key)
		switch {
		case v == nil:
		case v.Kind == yaml.ScalarNode && v.ShortTag() == "!!str":
			w.scan(t.within(v), shebang(v.Value, shellHits))
		case v.Kind == yaml.SequenceNode:
			for _, c := range v.Content {
				if c = target(c); c.Kind == yaml.ScalarNode {
					words, nodes = append(words, c.Value), append(nodes, c)
				}
			}
		}
	}
	if len(words) == 0 {
		return
	}
	if v := judge(words); v.code != "" {
		w.hit(hit{v, 1, strings.Join(words, " ")}, t.at(nodes[0].Line))
	}
	w.scripts(words, nodes, t)
}

// scripts searches those words of a command line that are scripts themselves:
// the one after -c, and every one of several lines.
func (w *walker) scripts(words []string, nodes []*yaml.Node, t text) {
	search := shellHits
	if in := unwrapped(words); len(in) > 0 && pythonName.MatchString(path.Base(in[0])) {
		search = pythonHits
	}
	for i, word := range words {
		flagged := i > 0 && shellFlag.MatchString(words[i-1])
		if flagged || strings.Contains(strings.TrimSpace(word), "\n") {
			w.scan(t.within(nodes[i]), shebang(word, search))
		}
	}
}

// pullPolicy finds Always beside an image that is not named by digest.
func (w *walker) pullPolicy(o object, t text) {
	policy, image := o.get("imagePullPolicy"), o.str("image")
	if policy == nil {
		policy, image = o.get("pullPolicy"), o.str("reference")
	}
	if policy == nil || policy.Value != "Always" || image == "" || strings.Contains(image, "@") || strings.HasPrefix(o.str("version"), "sha256:") {
		return
	}
	w.add(Finding{Code: event.CodeEgressPullAlways, Line: t.at(policy.Line), Text: image, What: fmt.Sprintf("image %s is pulled at every start", image)})
}

// fluxSources are kinds whose spec.url a controller in the cluster reads.
var fluxSources = []string{"GitRepository", "HelmRepository"}

// remotes finds addresses that a controller or kustomize would read.
func (w *walker) remotes(o object, kind, api string, t text) {
	if kind == "Kustomization" && (api == "" || strings.HasPrefix(api, "kustomize.config.k8s.io/")) {
		for _, key := range []string{"resources", "bases", "components", "crds"} {
			w.remoteList(o.get(key), t)
		}
	}
	if slices.Contains(fluxSources, kind) && strings.Contains(api, ".toolkit.fluxcd.io/") {
		if spec := o.get("spec"); spec != nil && spec.Kind == yaml.MappingNode {
			w.remoteValue(object{spec}.get("url"), kind, t)
		}
	}
	w.remoteValue(o.get("repoURL"), "repoURL", t)
	if g := o.get("gitRepo"); g != nil && g.Kind == yaml.MappingNode {
		w.remoteValue(object{g}.get("repository"), "gitRepo", t)
	}
}

func (w *walker) remoteList(n *yaml.Node, t text) {
	if n == nil || n.Kind != yaml.SequenceNode {
		return
	}
	for _, c := range n.Content {
		w.remoteValue(target(c), "kustomize", t)
	}
}

func (w *walker) remoteValue(n *yaml.Node, who string, t text) {
	if n == nil || n.Kind != yaml.ScalarNode || !remote(n.Value) {
		return
	}
	w.add(Finding{Code: event.CodeEgressRemote, Line: t.at(n.Line), Text: n.Value, What: fmt.Sprintf("%s reads %s", who, n.Value)})
}
