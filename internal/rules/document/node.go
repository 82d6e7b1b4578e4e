package document

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// scalar is a value of a parsed document that is no list and no mapping.
type scalar = yaml.Node

// mapping is a mapping of a parsed document.
type mapping struct{ node *yaml.Node }

// get is the value under key, aliases followed, or nil.
func (m mapping) get(key string) *yaml.Node {
	for i := 0; i+1 < len(m.node.Content); i += 2 {
		if m.node.Content[i].Value == key {
			return follow(m.node.Content[i+1])
		}
	}
	return nil
}

// own is the scalar that stands under key itself, and is not one that an alias
// leads to.
func (m mapping) own(key string) *scalar {
	for i := 0; i+1 < len(m.node.Content); i += 2 {
		v := m.node.Content[i+1]
		if m.node.Content[i].Value == key && v.Kind == yaml.ScalarNode && v.ShortTag() != "!!null" {
			return v
		}
	}
	return nil
}

// ownOf is the first of keys that has a value of its own.
func (m mapping) ownOf(keys []string) *scalar {
	for _, k := range keys {
		if v := m.own(k); v != nil && strings.TrimSpace(v.Value) != "" {
			return v
		}
	}
	return nil
}

// word is the scalar under key, trimmed, or "".
func (m mapping) word(key string) string {
	for i := 0; i+1 < len(m.node.Content); i += 2 {
		if m.node.Content[i].Value != key {
			continue
		}
		v := follow(m.node.Content[i+1])
		if v.Kind == yaml.ScalarNode && v.ShortTag() != "!!null" {
			return strings.TrimSpace(v.Value)
		}
	}
	return ""
}

// tags are the scalars under the names of tags, trimmed.
func (m mapping) tags() tags {
	out := tags{}
	for i := 0; i+1 < len(m.node.Content); i += 2 {
		if v := follow(m.node.Content[i+1]); v.Kind == yaml.ScalarNode && v.ShortTag() != "!!null" {
			out.add(i, m.node.Content[i].Value, strings.TrimSpace(v.Value))
		}
	}
	return out
}

// isOff says whether the mapping describes something that is turned off:
// enabled: false.
func (m mapping) isOff() bool {
	for i := 0; i+1 < len(m.node.Content); i += 2 {
		value := follow(m.node.Content[i+1])
		if value.Kind != yaml.ScalarNode {
			continue
		}
		switch m.node.Content[i].Value {
		case "enabled", "enable":
			return value.Value == "false"
		case "disabled", "disable":
			return value.Value == "true"
		}
	}
	return false
}

// isDefinition says whether the mapping defines custom resources.
func (m mapping) isDefinition() bool {
	return m.word("kind") == "CustomResourceDefinition" && strings.HasPrefix(m.word("apiVersion"), "apiextensions.k8s.io/")
}

// follow is the node that an alias leads to, or n.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// stringOf is the trimmed text of a string scalar.
func stringOf(n *yaml.Node) (string, bool) {
	n = follow(n)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		return "", false
	}
	return strings.TrimSpace(n.Value), true
}

// position is where in an object the walk is: a chain up to the document.
type position struct {
	above  *position
	key    string // the mapping key, inherited by the elements of a list
	index  int    // of a list element, else -1
	depth  int
	object bool // an object of its own stands here: at the root, or in the items of a list
	files  bool // a mapping of names to files stands here
}

func (p *position) child(key string) *position {
	return &position{above: p, key: key, index: -1, depth: p.depth + 1}
}

func (p *position) element(i int) *position {
	return &position{above: p, key: p.key, index: i, depth: p.depth + 1, object: p.key == "items" && p.index < 0 && p.above.object}
}

var containerLists = map[string]bool{"containers": true, "initContainers": true, "ephemeralContainers": true}

// isContainer says whether a container of a pod stands here.
func (p *position) isContainer() bool { return p.index >= 0 && containerLists[p.key] }

// isContainerString says whether a word of a container's command, or the value of
// one of its variables, stands here.
func (p *position) isContainerString() bool {
	switch {
	case p.index >= 0 && (p.key == "args" || p.key == "command"):
		return p.above.above.isContainer()
	case p.key == "value" && p.above != nil && p.above.key == "env" && p.above.index >= 0:
		return p.above.above.above.isContainer()
	}
	return false
}

// String is the position as a path: spec.containers[0].image.
func (p *position) String() string {
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
