// Package rendering compares what a release renders to: one rendering with
// another, to learn what chance decides, and a later one with what a plan says.
//
// It holds no content: of what it describes only names and digests stay.
package rendering

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/listing"
)

// identity tells the objects of one rendering apart: ordinal counts those of one
// name.
type identity struct {
	object.Ref
	ordinal int
}

// ordinals count the objects of one rendering by name.
type ordinals map[object.Ref]int

// next is the identity of the next object of that name.
func (o ordinals) next(ref object.Ref) identity {
	o[ref]++
	return identity{ref, o[ref]}
}

// rendered is one rendered object.
type rendered struct {
	identity
	content map[string]any
}

func identify(contents []map[string]any) []rendered {
	count := ordinals{}
	out := make([]rendered, len(contents))
	for n, content := range contents {
		metadata, _ := content["metadata"].(map[string]any)
		name := text(metadata, "name")
		if generated := text(metadata, "generateName"); name == "" && generated != "" {
			name = generated + "*"
		}
		out[n] = rendered{count.next(object.Ref{
			APIVersion: text(content, "apiVersion"), Kind: text(content, "kind"),
			Namespace: text(metadata, "namespace"), Name: name,
		}), content}
	}
	return out
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

func byIdentity(objects []rendered) map[identity]rendered {
	out := make(map[identity]rendered, len(objects))
	for _, o := range objects {
		out[o.identity] = o
	}
	return out
}

// Describe lists the objects of a rendering, and the fields in which another one
// of the same release has something else. unsteady are the objects and the fields
// that only one of the two has: what they are called, or whether they are there, is
// chance.
func Describe(first, second []map[string]any) (list []plan.RenderedObject, unsteady []string, _ error) {
	others := byIdentity(identify(second))
	fields := 0 // of chance
	for _, o := range identify(first) {
		other, ok := others[o.identity]
		delete(others, o.identity)
		if !ok {
			unsteady = append(unsteady, o.String())
			continue
		}
		var c comparison
		c.compare(pointer{}, o.content, other.content)
		for _, field := range c.loose {
			unsteady = append(unsteady, field+" of "+o.String())
		}
		described, err := o.describe(c.chance)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, described)
		if fields += len(c.chance); fields > maxAllFields {
			return nil, nil, fmt.Errorf("more than %d fields are another in each rendering", maxAllFields)
		}
	}
	for other := range others {
		unsteady = append(unsteady, other.String())
	}
	slices.Sort(unsteady)
	return list, slices.Compact(unsteady), nil
}

// describe is what a plan says of an object but for the fields of chance.
func (o rendered) describe(chance []string) (plan.RenderedObject, error) {
	var left map[string]any // nothing, where all is chance
	if fields := setOf(chance); !fields[""] {
		left, _ = without(o.content, pointer{}, fields).(map[string]any)
	}
	data, err := json.Marshal(left)
	if err != nil {
		return plan.RenderedObject{}, fmt.Errorf("encoding %s: %w", o, err)
	}
	return plan.RenderedObject{
		Ref: o.Ref, Hook: o.hook(), Digest: digest.FromBytes(data), Parts: partDigests(o.Kind, left), Chance: chance,
	}, nil
}

// hook is when Helm runs the object, "" for one that it keeps.
func (o rendered) hook() string {
	metadata, _ := o.content["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	return text(annotations, "helm.sh/hook")
}

func setOf(list []string) map[string]bool {
	out := make(map[string]bool, len(list))
	for _, s := range list {
		out[s] = true
	}
	return out
}

// partDigests are the beginnings of the digests of an object's fields, two levels
// deep; of a Secret one level, so that none stands for a single value.
func partDigests(kind string, content map[string]any) map[string]string {
	out := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(content)) {
		if len(key) > maxKey || len(out) > maxFields {
			continue
		}
		below, ok := content[key].(map[string]any)
		if !ok || kind == "Secret" || !canNameKeys(below) {
			out[key] = beginning(content[key])
			continue
		}
		for inner, v := range below {
			out[key+"."+inner] = beginning(v)
		}
	}
	return out
}

// canNameKeys says whether a plan names each key of m.
func canNameKeys(m map[string]any) bool {
	for key := range m {
		if len(key) > maxKey {
			return false
		}
	}
	return len(m) <= maxFields
}

// beginning is enough of a digest to tell people that something is another; the
// whole object's decides.
func beginning(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return digest.FromBytes(data).Encoded()[:12]
}

// Difference is one object that is not as planned.
type Difference struct {
	Kind string // of the object
	What string // in words: "Job web/x is not in the plan"
}

// Compare holds a rendering against what a plan says of it: each object that it
// does not have, that only it has, or whose content is another outside the fields
// of chance.
func Compare(planned []plan.RenderedObject, found []map[string]any) ([]Difference, error) {
	want, count := map[identity]plan.RenderedObject{}, ordinals{}
	for _, o := range planned {
		o.UID = "" // no rendering has one
		want[count.next(o.Ref)] = o
	}
	var out []Difference
	for _, o := range identify(found) {
		p, ok := want[o.identity]
		delete(want, o.identity)
		if !ok {
			out = append(out, Difference{o.Kind, fmt.Sprintf("%s is not in the plan", o)})
			continue
		}
		now, err := o.describe(p.Chance)
		if err != nil {
			return nil, err
		}
		if now.Digest != p.Digest {
			out = append(out, Difference{o.Kind, fmt.Sprintf("%s: %s", o, otherParts(p.Parts, now.Parts))})
		}
	}
	for i := range want {
		out = append(out, Difference{i.Kind, fmt.Sprintf("%s is in the plan and is not rendered any more", i)})
	}
	slices.SortStableFunc(out, func(a, b Difference) int { return cmp.Compare(a.What, b.What) })
	return out, nil
}

// maxParts bounds how many fields are named.
const maxParts = 3

// otherParts says in which fields.
func otherParts(planned, now map[string]string) string {
	keys := map[string]bool{}
	for _, parts := range []map[string]string{planned, now} {
		for key := range parts {
			keys[key] = true
		}
	}
	var names []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if planned[key] != now[key] {
			names = append(names, key)
		}
	}
	if len(names) == 0 {
		return "its content is not as planned"
	}
	return strings.Join(listing.Cut(names, maxParts, ""), ", ") + " is not as planned"
}
