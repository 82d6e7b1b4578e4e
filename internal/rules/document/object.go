package document

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Object is a decoded object whose sites can be read and written.
type Object struct {
	sites []Site
	slots map[*yaml.Node]slot
	maps  map[*yaml.Node]map[string]any
}

// slot is where a string of an object stands: in a mapping or in a list.
type slot struct {
	m   map[string]any
	key string
	l   []any
	i   int
}

func (s slot) set(value string) {
	if s.m != nil {
		s.m[s.key] = value
		return
	}
	s.l[s.i] = value
}

// ReadObject walks an object as Kubernetes' clients decode it. Lines are not known.
// An error is ErrTooLarge; the Object then has the sites before what was too deep.
func ReadObject(object map[string]any) (*Object, error) {
	o := &Object{slots: map[*yaml.Node]slot{}, maps: map[*yaml.Node]map[string]any{}}
	w := &walker{nodes: maxNodes, lines: unknownLines, object: o}
	err := w.walk(o.node(object, slot{}, 0), &position{index: -1, object: true})
	o.sites = w.sites
	return o, err
}

// Sites are those of the object, in a fixed order.
func (o *Object) Sites() []Site { return o.sites }

// node is a value as the walk sees it. Beyond the walk's depth there is nothing.
func (o *Object) node(v any, at slot, depth int) *yaml.Node {
	if depth > maxDepth {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
	switch v := v.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Content: make([]*yaml.Node, 0, 2*len(v))}
		o.maps[n] = v
		for _, key := range slices.Sorted(maps.Keys(v)) {
			n.Content = append(n.Content, textNode(key), o.node(v[key], slot{m: v, key: key}, depth+1))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Content: make([]*yaml.Node, 0, len(v))}
		for i, e := range v {
			n.Content = append(n.Content, o.node(e, slot{l: v, i: i}, depth+1))
		}
		return n
	case string:
		n := textNode(v)
		o.slots[n] = at
		return n
	}
	return otherNode(v)
}

func textNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}

// otherNode is a value that is no text.
func otherNode(v any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: fmt.Sprint(v)}
	switch v := v.(type) {
	case nil:
		n.Tag = "!!null"
	case bool:
		n.Tag = "!!bool"
	case float64:
		n.Tag, n.Value = "!!float", strconv.FormatFloat(v, 'f', -1, 64)
	}
	return n
}

// Rewrite gives references another form: choose says of a site that names an image
// what its reference becomes, and ok is false for one that stays. Nothing else of
// the object changes; texts keep their form byte by byte. What cannot be written
// stays: see Site.Kept.
func (o *Object) Rewrite(choose func(Site) (ref string, ok bool)) {
	var texts []*text
	for _, s := range o.sites {
		if !s.Names() {
			continue
		}
		ref, ok := choose(s)
		if !ok || ref == s.Ref {
			continue
		}
		if s.at.text == nil {
			o.write(s, ref)
			continue
		}
		s.at.text.write(s, ref)
		if len(texts) == 0 || texts[len(texts)-1] != s.at.text {
			texts = append(texts, s.at.text)
		}
	}
	for _, t := range texts {
		o.slots[t.node].set(t.changed())
	}
}

// write replaces a reference that stands in the object itself. Space around it
// goes.
func (o *Object) write(s Site, ref string) {
	if s.What == Spread {
		o.writeSpread(s.at.spread, ref)
		return
	}
	value := s.at.value.Value
	if i := strings.LastIndex(value, s.Ref); i >= 0 {
		o.slots[s.at.value].set(strings.TrimSpace(value[:i] + ref + value[i+len(s.Ref):]))
	}
}

// writeSpread replaces the keys of a spread reference where all are texts.
func (o *Object) writeSpread(s spread, ref string) {
	if s.ref == "" {
		return
	}
	values := s.valuesFor(ref)
	for n := range values {
		if _, ok := o.slots[n]; !ok {
			return
		}
	}
	for n, value := range values {
		o.slots[n].set(value)
	}
}
