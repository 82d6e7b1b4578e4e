package yamlfile

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Decode fills out, a pointer to a struct with yaml tags, and records a problem
// for each unknown field and each value of the wrong type. Null and
// empty lists and mappings leave a field at its zero value. Fields of type any and map[string]any take free-form
// values in the types that Helm gives them: nil, bool, int64, float64, string,
// []any and map[string]any.
func (d *Document) Decode(out any) {
	d.value(d.root, nil, reflect.ValueOf(out).Elem())
}

func (d *Document) value(n *yaml.Node, at *path, v reflect.Value) {
	if isNull(n) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, at, v.Elem())
	case reflect.Struct:
		d.mapping(n, at, v)
	case reflect.Map:
		d.freeMap(n, at, v)
	case reflect.Slice:
		d.sequence(n, at, v)
	case reflect.Interface:
		if x := d.free(n, at); x != nil {
			v.Set(reflect.ValueOf(x))
		}
	default:
		d.scalar(n, at, v)
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func (d *Document) mapping(n *yaml.Node, at *path, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.problemAt(n, at, "is %s, want a mapping", describe(n))
		return
	}
	fields, names := structFields(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, c := n.Content[i], n.Content[i+1]
		f, ok := fields[k.Value]
		if !ok {
			d.unknown(k, at, names)
			continue
		}
		d.value(c, at.key(k.Value), v.Field(f))
	}
}

// unknown reports a field that does not exist, at its key.
func (d *Document) unknown(k *yaml.Node, at *path, names []string) {
	if near := nearest(k.Value, names); near != "" {
		d.wanted[at.key(near).String()] = true
	}
	d.problemAt(k, at, "unknown field %q%s", clip(k.Value), suggest(k.Value, names))
}

// structFields maps yaml names to field numbers and lists the names in order.
func structFields(t reflect.Type) (map[string]int, []string) {
	fields := make(map[string]int, t.NumField())
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields[name] = i
		names = append(names, name)
	}
	return fields, names
}

func (d *Document) sequence(n *yaml.Node, at *path, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.problemAt(n, at, "is %s, want a list", describe(n))
		return
	}
	if len(n.Content) == 0 {
		return // as if absent
	}
	s := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, c := range n.Content {
		p := at.index(i)
		if isNull(c) {
			d.problemAt(c, p, "is empty")
			continue
		}
		d.value(c, p, s.Index(i))
	}
	v.Set(s)
}

func (d *Document) freeMap(n *yaml.Node, at *path, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.problemAt(n, at, "is %s, want a mapping", describe(n))
		return
	}
	if len(n.Content) == 0 {
		return // as if absent
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(n.Content[i+1], at.key(n.Content[i].Value), e)
		m.SetMapIndex(reflect.ValueOf(n.Content[i].Value), e)
	}
	v.Set(m)
}

func (d *Document) scalar(n *yaml.Node, at *path, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.problemAt(n, at, "is %s, want %s", describe(n), wants(v.Kind()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		d.text(n, at, v)
	case reflect.Bool:
		b, ok := truth(n)
		if !ok {
			d.problemAt(n, at, "is %s, want true or false", describe(n))
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if n.Tag != "!!int" || err != nil {
			d.problemAt(n, at, "is %s, want a whole number", describe(n))
			return
		}
		v.SetInt(i)
	default:
		d.problemAt(n, at, "has no reader for %s", v.Kind())
	}
}

// text takes strings, and numbers and dates as they are written: version: 1.10
// stays 1.10.
func (d *Document) text(n *yaml.Node, at *path, v reflect.Value) {
	switch n.Tag {
	case "!!str", "!!int", "!!float", "!!timestamp":
		v.SetString(n.Value)
	case "!!bool":
		d.problemAt(n, at, "is %s, want text; put it in quotes", describe(n))
	default:
		d.problemAt(n, at, "is %s, want text", describe(n))
	}
}

func wants(k reflect.Kind) string {
	switch k {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	}
	return "text"
}

// free reads a value of no fixed shape.
func (d *Document) free(n *yaml.Node, at *path) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = d.free(n.Content[i+1], at.key(n.Content[i].Value))
		}
		return m
	case yaml.SequenceNode:
		s := make([]any, len(n.Content))
		for i, c := range n.Content {
			s[i] = d.free(c, at.index(i))
		}
		return s
	}
	return d.freeScalar(n, at)
}

// freeScalar types a scalar as Helm would: the YAML 1.1 words for true and
// false count, dates stay text, whole floats are integers.
func (d *Document) freeScalar(n *yaml.Node, at *path) any {
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool", "!!str":
		if b, ok := truth(n); ok {
			return b
		}
		if b, ok := oldTruth(n); ok {
			return b
		}
		return n.Value
	case "!!timestamp":
		return n.Value
	case "!!int", "!!float":
		return d.number(n, at)
	}
	d.problemAt(n, at, "has the tag %s, which is not supported", clip(n.Tag))
	return nil
}

func truth(n *yaml.Node) (value, ok bool) {
	if n.Tag != "!!bool" {
		return false, false
	}
	switch n.Value {
	case "true", "True", "TRUE":
		return true, true
	case "false", "False", "FALSE":
		return false, true
	}
	return false, false
}

// oldTruth knows the further words of YAML 1.1.
func oldTruth(n *yaml.Node) (value, ok bool) {
	if n.Style != 0 {
		return false, false
	}
	switch n.Value {
	case "yes", "Yes", "YES", "on", "On", "ON":
		return true, true
	case "no", "No", "NO", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}

func (d *Document) number(n *yaml.Node, at *path) any {
	var i int64
	if n.Tag == "!!int" && n.Decode(&i) == nil {
		return i
	}
	var f float64
	if err := n.Decode(&f); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		d.problemAt(n, at, "is %s, which is not a number that JSON can hold", clip(n.Value))
		return nil
	}
	if i, err := strconv.ParseInt(strconv.FormatFloat(f, 'g', -1, 64), 10, 64); err == nil {
		return i
	}
	return f
}

// describe says what a node is, for messages.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!bool":
		return fmt.Sprintf("%s, a truth value", n.Value)
	case "!!int", "!!float":
		return fmt.Sprintf("%s, a number", clip(n.Value))
	case "!!null":
		return "empty"
	}
	return fmt.Sprintf("%q, text", clip(n.Value))
}

// clip makes foreign text fit for one line of a message.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 64 {
		return string(r[:61]) + "..."
	}
	return s
}

func clipPath(s string) string {
	if len(s) > 200 {
		s = "..." + s[len(s)-197:]
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
