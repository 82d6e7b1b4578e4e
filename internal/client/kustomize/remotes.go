package kustomize

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// errCharts: a kustomization renders charts, for which kustomize runs another program.
var errCharts = errors.New("has charts rendered by the helm program; " +
	"add them to the component's charts, and take the kustomization without them")

// named is a place in a kustomization where a file or folder is named.
type named struct {
	node     *yaml.Node
	key      string // KEY= before the name, of a generator's files; the key is kept
	field    string
	onlyFile bool
}

// Fields of a kustomization that name files or folders, in lower case: kustomize does not
// tell letters apart there.
var (
	folderFields = map[string]bool{
		"resources": true, "bases": true, "components": true, "generators": true, "transformers": true, "validators": true,
	}
	fileFields  = map[string]bool{"crds": true, "configurations": true, "patchesstrategicmerge": true}
	patchFields = map[string]bool{"patches": true, "patchesjson6902": true, "replacements": true}
	dataFields  = map[string]bool{"configmapgenerator": true, "secretgenerator": true}
	chartFields = map[string]bool{"helmcharts": true, "helmchartinflationgenerator": true}
)

// placeRemotes puts in a kustomization, for each name of something outside, the name of
// where that was put. A text without such names, or that is none, stays as it is.
func (f *fileSystem) placeRemotes(file string, text []byte) ([]byte, error) {
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 {
		return text, nil // kustomize says what is wrong
	}
	outside, err := findRemotes(doc.Content[0])
	if err != nil {
		return nil, fmt.Errorf("%s %w", file, err)
	}
	if len(outside) == 0 {
		return text, nil
	}
	q := make([]remoteName, len(outside))
	for i, n := range outside {
		q[i] = remoteName{n.name(), n.field, file, n.node.Line, n.onlyFile}
	}
	r, err := f.worker.ask(message{Remotes: q})
	if err != nil {
		return nil, err
	}
	if len(r.Remotes) != len(outside) {
		return nil, errors.New("not every remote was placed")
	}
	for i, n := range outside {
		if err := f.placeRemote(path.Dir(file), n, r.Remotes[i]); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	if err := e.Encode(&doc); err != nil {
		return nil, err
	}
	return out.Bytes(), e.Close()
}

// placeRemote writes where a remote was put to where it is named.
func (f *fileSystem) placeRemote(folder string, n named, at remote) error {
	where := ""
	if at.Folder == "" {
		where = f.addRemoteFile(folder, n.name(), at.Data)
	} else {
		var err error
		if where, err = filepath.Rel(folder, at.Folder); err != nil {
			return err
		}
		where = filepath.ToSlash(where)
	}
	n.node.Value, n.node.Style, n.node.Tag = n.key+where, yaml.DoubleQuotedStyle, "!!str"
	return nil
}

// name is what is named, without a generator's key.
func (n named) name() string {
	name := n.node.Value
	if n.field == "files" && strings.Count(name, "=") == 1 {
		_, name, _ = strings.Cut(name, "=")
	}
	return name
}

// findRemotes lists what a kustomization names outside.
func findRemotes(top *yaml.Node) ([]named, error) {
	var out []named
	err := eachField(top, func(field string, value *yaml.Node) error {
		switch {
		case chartFields[field] && len(value.Content) > 0:
			return errCharts
		case folderFields[field]:
			out = append(out, listed(value, field, false)...)
		case fileFields[field]:
			out = append(out, listed(value, field, true)...)
		case patchFields[field]:
			out = append(out, pathsOf(value, field)...)
		case dataFields[field]:
			out = append(out, dataOf(value)...)
		case field == "openapi":
			out = append(out, pathsOf(&yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{value}}, field)...)
		}
		return nil
	})
	return out, err
}

// eachField goes over the fields of a mapping, their names in lower case.
func eachField(n *yaml.Node, do func(field string, value *yaml.Node) error) error {
	n = followAlias(n)
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if err := do(strings.ToLower(n.Content[i].Value), followAlias(n.Content[i+1])); err != nil {
			return err
		}
	}
	return nil
}

// followAlias is what an alias stands for.
func followAlias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// listed are the remotes of a list of names.
func listed(list *yaml.Node, field string, onlyFile bool) []named {
	var out []named
	for _, n := range list.Content {
		if n = followAlias(n); n.Kind == yaml.ScalarNode && isRemote(n.Value) {
			out = append(out, named{node: n, field: field, onlyFile: onlyFile})
		}
	}
	return out
}

// pathsOf are the remotes that a list of things names as path.
func pathsOf(list *yaml.Node, field string) []named {
	var out []named
	for _, n := range list.Content {
		_ = eachField(n, func(name string, value *yaml.Node) error {
			if name == "path" && value.Kind == yaml.ScalarNode && isRemote(value.Value) {
				out = append(out, named{node: value, field: field, onlyFile: true})
			}
			return nil
		})
	}
	return out
}

// dataOf are the remotes of generators of ConfigMaps and Secrets.
func dataOf(list *yaml.Node) []named {
	var out []named
	for _, n := range list.Content {
		_ = eachField(n, func(name string, value *yaml.Node) error {
			switch name {
			case "files":
				out = append(out, dataFiles(value)...)
			case "envs":
				out = append(out, listed(value, name, true)...)
			case "env":
				out = append(out, listed(&yaml.Node{Content: []*yaml.Node{value}}, name, true)...)
			}
			return nil
		})
	}
	return out
}

// dataFiles are remotes of a generator's files, which keep their keys.
func dataFiles(list *yaml.Node) []named {
	var out []named
	for _, n := range list.Content {
		one := named{node: followAlias(n), field: "files", onlyFile: true}
		if one.node.Kind != yaml.ScalarNode || !isRemote(one.name()) {
			continue
		}
		key, _, given := strings.Cut(one.node.Value, "=")
		if !given {
			key = path.Base(one.node.Value)
		}
		one.key = key + "="
		out = append(out, one)
	}
	return out
}

var remoteRule = regexp.MustCompile(`(?i)^(git::|github\.com[/:]|[a-z][a-z0-9-]*@)`)

// isRemote says whether kustomize would look for a name elsewhere than in its files. Text
// that stands in the place of a file's name has spaces or lines.
func isRemote(name string) bool {
	if strings.ContainsAny(name, " \t\r\n") {
		return false
	}
	if strings.Contains(name, "://") || remoteRule.MatchString(name) {
		return true
	}
	u, err := url.Parse(name)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}
