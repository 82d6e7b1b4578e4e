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
	d.decodeValue(d.root, nil, reflect.ValueOf(out).Elem())
}

func (d *Document) decodeValue(n *yaml.Node, at *path, v reflect.Value) {
	if isNull(n) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decodeValue(n, at, v.Elem())
	case reflect.Struct:
		d.decodeMapping(n, at, v)
	case reflect.Map:
		d.freeMap(n, at, v)
	case reflect.Slice:
		d.decodeSequence(n, at, v)
	case reflect.Interface:
		if x := d.decodeFree(n, at); x != nil {
			v.Set(reflect.ValueOf(x))
		}
	default:
		d.decodeScalar(n, at, v)
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func (d *Document) decodeMapping(n *yaml.Node, at *path, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.problemAt(n, at, "is %s, want a mapping", describeNode(n))
		return
	}
	fields, names := structFields(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, c := n.Content[i], n.Content[i+1]
		if f, ok := fields[k.Value]; ok {
			d.decodeValue(c, at.withKey(k.Value), v.FieldByIndex(f))
		} else if !d.decodeExtra(k, c, at, v) {
			d.reportUnknown(k, at, append(names, extraNames(v)...))
		}
	}
}

// Extended is a struct (its pointer) with fields that its type does not list.
type Extended interface {
	ExtraNames() []string
	NewExtra(name string) any // a pointer to decode the field into; nil for no such field
	KeepExtra(filled any)     // takes what NewExtra gave
}

// decodeExtra fills a field of an Extended, and says whether there is such a one.
func (d *Document) decodeExtra(k, value *yaml.Node, at *path, v reflect.Value) bool {
	e, ok := v.Addr().Interface().(Extended)
	if !ok {
		return false
	}
	fill := e.NewExtra(k.Value)
	if fill == nil {
		return false
	}
	d.decodeValue(value, at.withKey(k.Value), reflect.ValueOf(fill).Elem())
	e.KeepExtra(fill)
	return true
}

func extraNames(v reflect.Value) []string {
	if e, ok := v.Addr().Interface().(Extended); ok {
		return e.ExtraNames()
	}
	return nil
}

// reportUnknown reports a field that does not exist, at its key.
func (d *Document) reportUnknown(k *yaml.Node, at *path, names []string) {
	if near := nearestKnown(k.Value, names); near != "" {
		d.wanted[at.withKey(near).String()] = true
	}
	d.problemAt(k, at, "unknown field %q%s", clipText(k.Value), suggestKnown(k.Value, names))
}

// structFields maps yaml names to fields and lists the names in order. Those of an
// embedded struct are the struct's own.
func structFields(t reflect.Type) (map[string][]int, []string) {
	fields := make(map[string][]int, t.NumField())
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields[name] = f.Index
		names = append(names, name)
	}
	return fields, names
}

func (d *Document) decodeSequence(n *yaml.Node, at *path, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.problemAt(n, at, "is %s, want a list", describeNode(n))
		return
	}
	if len(n.Content) == 0 {
		return // as if absent
	}
	s := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, c := range n.Content {
		p := at.withIndex(i)
		if isNull(c) {
			d.problemAt(c, p, "is empty")
			continue
		}
		d.decodeValue(c, p, s.Index(i))
	}
	v.Set(s)
}

func (d *Document) freeMap(n *yaml.Node, at *path, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.problemAt(n, at, "is %s, want a mapping", describeNode(n))
		return
	}
	if len(n.Content) == 0 {
		return // as if absent
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		e := reflect.New(v.Type().Elem()).Elem()
		d.decodeValue(n.Content[i+1], at.withKey(n.Content[i].Value), e)
		m.SetMapIndex(reflect.ValueOf(n.Content[i].Value), e)
	}
	v.Set(m)
}

func (d *Document) decodeScalar(n *yaml.Node, at *path, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.problemAt(n, at, "is %s, want %s", describeNode(n), describeKind(v.Kind()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		d.decodeText(n, at, v)
	case reflect.Bool:
		b, ok := parseBool(n)
		if !ok {
			d.problemAt(n, at, "is %s, want true or false", describeNode(n))
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if n.Tag != "!!int" || err != nil {
			d.problemAt(n, at, "is %s, want a whole number", describeNode(n))
			return
		}
		v.SetInt(i)
	default:
		d.problemAt(n, at, "has no reader for %s", v.Kind())
	}
}

// decodeText takes strings, and numbers and dates as they are written: version: 1.10
// stays 1.10.
func (d *Document) decodeText(n *yaml.Node, at *path, v reflect.Value) {
	switch n.Tag {
	case "!!str", "!!int", "!!float", "!!timestamp":
		v.SetString(n.Value)
	case "!!bool":
		d.problemAt(n, at, "is %s, want text; put it in quotes", describeNode(n))
	default:
		d.problemAt(n, at, "is %s, want text", describeNode(n))
	}
}

func describeKind(k reflect.Kind) string {
	switch k {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	}
	return "text"
}

// decodeFree reads a value of no fixed shape.
func (d *Document) decodeFree(n *yaml.Node, at *path) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = d.decodeFree(n.Content[i+1], at.withKey(n.Content[i].Value))
		}
		return m
	case yaml.SequenceNode:
		s := make([]any, len(n.Content))
		for i, c := range n.Content {
			s[i] = d.decodeFree(c, at.withIndex(i))
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
		if b, ok := parseBool(n); ok {
			return b
		}
		if b, ok := oldTruth(n); ok {
			return b
		}
		return n.Value
	case "!!timestamp":
		return n.Value
	case "!!int", "!!float":
		return d.decodeNumber(n, at)
	}
	d.problemAt(n, at, "has the tag %s, which is not supported", clipText(n.Tag))
	return nil
}

func parseBool(n *yaml.Node) (value, ok bool) {
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

func (d *Document) decodeNumber(n *yaml.Node, at *path) any {
	var i int64
	if n.Tag == "!!int" && n.Decode(&i) == nil {
		return i
	}
	var f float64
	if err := n.Decode(&f); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		d.problemAt(n, at, "is %s, which is not a number that JSON can hold", clipText(n.Value))
		return nil
	}
	if i, err := strconv.ParseInt(strconv.FormatFloat(f, 'g', -1, 64), 10, 64); err == nil {
		return i
	}
	return f
}

// describeNode says what a node is, for messages.
func describeNode(n *yaml.Node) string {
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
		return fmt.Sprintf("%s, a number", clipText(n.Value))
	case "!!null":
		return "empty"
	}
	return fmt.Sprintf("%q, text", clipText(n.Value))
}

// clipText makes foreign text fit for one line of a message.
func clipText(s string) string {
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

func containsString(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
