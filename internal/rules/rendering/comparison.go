package rendering

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Bounds of the fields that a plan names. Beyond them the field above stands for
// all that is below it.
const (
	maxKey       = 320  // bytes of a key; a label's or an annotation's has 317 at most
	maxPointer   = 1024 // bytes of a pointer
	maxFields    = 1000 // of one object
	maxAllFields = 10_000
)

// comparison is how two renderings of an object differ, as JSON pointers.
type comparison struct {
	chance []string // fields that both have, with another value
	loose  []string // fields that only one of them has
}

func (c *comparison) compare(at pointer, a, b any) {
	before := len(c.chance)
	if !c.compareBelow(at, a, b) {
		c.chance = append(c.chance[:before], string(at))
	}
}

// compareBelow is false where the field itself is to be named.
func (c *comparison) compareBelow(at pointer, a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		if b, ok := b.(map[string]any); ok {
			return c.compareMaps(at, a, b)
		}
	case []any:
		if b, ok := b.([]any); ok && len(a) == len(b) {
			return c.compareLists(at, a, b)
		}
	}
	return reflect.DeepEqual(a, b)
}

func (c *comparison) compareLists(at pointer, a, b []any) bool {
	before := len(c.chance)
	for i := range a {
		below, ok := at.child(strconv.Itoa(i))
		if !c.compareChild(below, ok, a[i], b[i]) || len(c.chance)-before > maxFields {
			return false
		}
	}
	return true
}

func (c *comparison) compareMaps(at pointer, a, b map[string]any) bool {
	if reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer() {
		return true // one and the same
	}
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	before := len(c.chance)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		below, ok := at.child(key)
		x, here := a[key]
		y, there := b[key]
		if here != there {
			c.lose(at, below, ok)
			continue
		}
		if !c.compareChild(below, ok, x, y) || len(c.chance)-before > maxFields {
			return false
		}
	}
	return true
}

// compareChild compares what can be named with its own pointer. It is false for
// what differs and cannot.
func (c *comparison) compareChild(below pointer, ok bool, a, b any) bool {
	if !ok {
		return reflect.DeepEqual(a, b)
	}
	c.compare(below, a, b)
	return true
}

// lose notes a field that only one of the two has.
func (c *comparison) lose(at, below pointer, ok bool) {
	if !ok {
		below = at
	}
	if len(c.loose) < maxFields {
		c.loose = append(c.loose, string(below))
	}
}

// pointer is a JSON pointer (RFC 6901). Those of neighbours share their room: one
// is to be copied before the next is made.
type pointer []byte

// child points to a field below; ok is false where that is longer than fields are
// named.
func (p pointer) child(key string) (_ pointer, ok bool) {
	if len(key) > maxKey || len(p)+1+2*len(key) > maxPointer {
		return nil, false
	}
	return append(append(p, '/'), escapeKey(key)...), true
}

var keyEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// escapeKey writes a key as RFC 6901 wants it.
func escapeKey(key string) string { return keyEscapes.Replace(key) }

// without copies a value and leaves out the fields of chance. Elements of lists
// become null, so that the others keep their places.
func without(v any, at pointer, chance map[string]bool) any {
	if len(chance) == 0 || chance[string(at)] {
		return v
	}
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, e := range v {
			if below, ok := at.child(key); !ok {
				out[key] = e
			} else if !chance[string(below)] {
				out[key] = without(e, below, chance)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			if below, ok := at.child(strconv.Itoa(i)); !ok {
				out[i] = e
			} else if !chance[string(below)] {
				out[i] = without(e, below, chance)
			}
		}
		return out
	}
	return v
}
