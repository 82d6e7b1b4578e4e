package document

import (
	"errors"
	"slices"

	"go.yaml.in/yaml/v3"
)

// errReadings: parsers of YAML may come to different objects.
var errReadings = errors.New("a merge, a tag or a key that is no word leaves its reading open")

// plainTags are those that say what every parser takes a value for anyway.
var plainTags = []string{"!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq", "!!timestamp"}

// readAsCluster makes a parsed document what Kubernetes' parser makes of it: of
// a key that is repeated the last one counts. It is false for what cannot be made
// so: nothing may be merged, each key is a word, and no tag says that a value is
// something else than it is written as.
func readAsCluster(n *yaml.Node) bool {
	if n.Style&yaml.TaggedStyle != 0 && !slices.Contains(plainTags, n.ShortTag()) {
		return false
	}
	if n.Kind == yaml.MappingNode && !keepLastOfKeys(n) {
		return false
	}
	return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return !readAsCluster(c) })
}

func keepLastOfKeys(m *yaml.Node) bool {
	last := make(map[string]int, len(m.Content)/2)
	for i := 0; i+1 < len(m.Content); i += 2 {
		k := m.Content[i]
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" {
			return false
		}
		last[k.Value] = i
	}
	if 2*len(last) == len(m.Content) {
		return true
	}
	var kept []*yaml.Node
	for i := 0; i+1 < len(m.Content); i += 2 {
		if last[m.Content[i].Value] == i {
			kept = append(kept, m.Content[i], m.Content[i+1])
		}
	}
	m.Content = kept
	return true
}
