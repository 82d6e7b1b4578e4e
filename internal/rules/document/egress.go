package document

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Language is what a script is written in.
type Language int

// The languages that are told apart.
const (
	NoLanguage Language = iota
	Shell
	Python
)

var (
	shells     = []string{"sh", "bash", "ash", "dash", "ksh", "zsh"}
	pythonName = regexp.MustCompile(`^python[0-9.]*$`)
	shellLook  = regexp.MustCompile(`(?m)^[ \t]*(set [-+][a-z]|if \[|fi$|done$|esac$|exec |export [A-Za-z_]+=|function [a-z_]+)`)
	shellFiles = []string{".sh", ".bash", ".ash", ".ksh", ".zsh"}
	// files for people, and data that no shell reads
	proseFiles = []string{".md", ".txt", ".rst", ".adoc", ".html", ".htm", ".css", ".csv", ".js", ".go", ".tmpl", ".tpl", ".pem", ".crt"}
)

// LanguageOf is what the program of that name or path runs.
func LanguageOf(program string) Language {
	base := path.Base(program)
	switch {
	case slices.Contains(shells, base):
		return Shell
	case pythonName.MatchString(base):
		return Python
	}
	return NoLanguage
}

// LanguageOfScript is what a script is written in by its first line; otherwise is
// for a script without one, or with one that names another program.
func LanguageOfScript(script string, otherwise Language) Language {
	first, _, _ := strings.Cut(script, "\n")
	if !strings.HasPrefix(first, "#!") {
		return otherwise
	}
	for _, word := range strings.Fields(first[2:]) {
		if l := LanguageOf(word); l != NoLanguage {
			return l
		}
	}
	return otherwise
}

// languageOfFile is what a file is written in. known says that it is a script, or
// certainly none.
func languageOfFile(name, content string) (_ Language, known bool) {
	name = strings.ToLower(name)
	ext := path.Ext(name)
	l := NoLanguage
	switch {
	case slices.Contains(proseFiles, ext):
		return NoLanguage, true
	case strings.HasPrefix(content, "#!"):
		l = LanguageOfScript(content, NoLanguage)
	case slices.Contains(shellFiles, ext), strings.HasPrefix(name, "dockerfile"), strings.HasSuffix(name, "dockerfile"):
		l = Shell
	case ext == ".py":
		l = Python
	}
	return l, l != NoLanguage
}

// looksLikeShell says whether lines of a text are a shell's.
func looksLikeShell(s string) bool { return shellLook.MatchString(s) }

// isScript says whether key of a container-like object holds a script, as in the
// templates of workflow engines.
func (m mapping) isScript(key string) bool {
	return (key == "source" || key == "script") && m.get("image") != nil
}

// listScript lists a scalar that is a script.
func (w *walker) listScript(n *scalar, at *position, l Language) {
	if !w.quiet.egress {
		w.add(Site{What: Script, Text: n.Value, Language: l, lines: w.lines.of(n)}, n, at)
	}
}

// listEgress lists what a mapping says of addresses, commands and pull policies.
func (w *walker) listEgress(m mapping, at *position) {
	if w.quiet.egress {
		return
	}
	w.listPullPolicy(m, at)
	w.listAddresses(m, at)
	w.listCommand(m, at)
}

// listPods lists an object that has containers, where it can be written.
func (w *walker) listPods(m mapping, at *position) {
	if w.object == nil || w.lines.depth > 0 {
		return
	}
	if c := m.get("containers"); c != nil && c.Kind == yaml.SequenceNode {
		w.add(Site{What: Pods, Object: w.object.maps[m.node]}, m.node, at)
	}
}

// listPullPolicy lists Always beside an image that is not named by digest.
func (w *walker) listPullPolicy(m mapping, at *position) {
	policy, image := m.get("imagePullPolicy"), m.scalarUnder("image")
	if policy == nil {
		policy, image = m.get("pullPolicy"), m.scalarUnder("reference")
	}
	if policy == nil || policy.Value != "Always" || image == "" || strings.Contains(image, "@") {
		return
	}
	if !strings.HasPrefix(m.scalarUnder("version"), "sha256:") {
		w.add(Site{What: PullAlways, Ref: image}, policy, at)
	}
}

// scalarUnder is the scalar under key, trimmed, or "".
func (m mapping) scalarUnder(key string) string {
	if v := m.get(key); v != nil && v.Kind == yaml.ScalarNode {
		return strings.TrimSpace(v.Value)
	}
	return ""
}

// fluxSources are kinds whose spec.url a controller in the cluster reads.
var fluxSources = []string{"GitRepository", "HelmRepository"}

// listAddresses lists what a controller or kustomize would read from elsewhere.
func (w *walker) listAddresses(m mapping, at *position) {
	kind, api := m.scalarUnder("kind"), m.scalarUnder("apiVersion")
	if kind == "Kustomization" && (api == "" || strings.HasPrefix(api, "kustomize.config.k8s.io/")) {
		for _, key := range []string{"resources", "bases", "components", "crds"} {
			w.listAddressList(m.get(key), at.child(key))
		}
	}
	if slices.Contains(fluxSources, kind) && strings.Contains(api, ".toolkit.fluxcd.io/") {
		if spec := m.get("spec"); spec != nil && spec.Kind == yaml.MappingNode {
			w.listAddress(mapping{spec}.get("url"), kind, at.child("spec").child("url"))
		}
	}
	w.listAddress(m.get("repoURL"), "repoURL", at.child("repoURL"))
	if g := m.get("gitRepo"); g != nil && g.Kind == yaml.MappingNode {
		w.listAddress(mapping{g}.get("repository"), "gitRepo", at.child("gitRepo").child("repository"))
	}
}

func (w *walker) listAddressList(n *yaml.Node, at *position) {
	if n == nil || n.Kind != yaml.SequenceNode {
		return
	}
	for i, c := range n.Content {
		w.listAddress(follow(c), "kustomize", at.element(i))
	}
}

func (w *walker) listAddress(n *yaml.Node, reader string, at *position) {
	if n != nil && n.Kind == yaml.ScalarNode {
		w.add(Site{What: Address, Text: n.Value, Reader: reader}, n, at)
	}
}

// listCommand lists the command and arguments of a container, probe or hook.
func (w *walker) listCommand(m mapping, at *position) {
	var words []Word
	var first *yaml.Node
	var nodes []*yaml.Node
	for _, key := range []string{"command", "args"} {
		v := m.get(key)
		switch {
		case v == nil:
		case v.Kind == yaml.ScalarNode && v.ShortTag() == "!!str":
			w.listScript(v, at.child(key), LanguageOfScript(v.Value, Shell))
		case v.Kind == yaml.SequenceNode:
			for _, c := range v.Content {
				if c = follow(c); c.Kind != yaml.ScalarNode {
					continue
				}
				if first == nil {
					first = c
				}
				nodes = append(nodes, c)
				words = append(words, Word{Text: c.Value, Line: w.lines.at(c.Line), lines: w.lines.of(c)})
			}
		}
	}
	if len(words) > 0 {
		w.add(Site{What: Argv, Words: words}, first, at)
	}
	for i := range nodes {
		w.listFlag(nodes, i, at)
	}
}
