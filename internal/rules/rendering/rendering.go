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

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/listing"
)

// identity tells the objects of one rendering apart: ordinal counts those of one
// name.
type identity struct {
	apiVersion, kind, namespace, name string
	ordinal                           int
}

// String reads "Deployment web/front".
func (i identity) String() string {
	if i.namespace == "" {
		return i.kind + " " + i.name
	}
	return i.kind + " " + i.namespace + "/" + i.name
}

// object is one rendered object.
type object struct {
	identity
	content map[string]any
}

func identify(contents []map[string]any) []object {
	times := map[identity]int{}
	out := make([]object, len(contents))
	for n, content := range contents {
		metadata, _ := content["metadata"].(map[string]any)
		name := text(metadata, "name")
		if generated := text(metadata, "generateName"); name == "" && generated != "" {
			name = generated + "*"
		}
		i := identity{text(content, "apiVersion"), text(content, "kind"), text(metadata, "namespace"), name, 0}
		times[i]++
		i.ordinal = times[i]
		out[n] = object{i, content}
	}
	return out
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

func byIdentity(objects []object) map[identity]object {
	out := make(map[identity]object, len(objects))
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
func (o object) describe(chance []string) (plan.RenderedObject, error) {
	var left map[string]any // nothing, where all is chance
	if fields := setOf(chance); !fields[""] {
		left, _ = without(o.content, pointer{}, fields).(map[string]any)
	}
	data, err := json.Marshal(left)
	if err != nil {
		return plan.RenderedObject{}, fmt.Errorf("encoding %s: %w", o, err)
	}
	return plan.RenderedObject{
		APIVersion: o.apiVersion, Kind: o.kind, Namespace: o.namespace, Name: o.name, Hook: o.hook(),
		Digest: digest.FromBytes(data), Parts: partDigests(o.kind, left), Chance: chance,
	}, nil
}

// hook is when Helm runs the object, "" for one that it keeps.
func (o object) hook() string {
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
	want, times := map[identity]plan.RenderedObject{}, map[identity]int{}
	for _, o := range planned {
		i := identity{o.APIVersion, o.Kind, o.Namespace, o.Name, 0}
		times[i]++
		i.ordinal = times[i]
		want[i] = o
	}
	var out []Difference
	for _, o := range identify(found) {
		p, ok := want[o.identity]
		delete(want, o.identity)
		if !ok {
			out = append(out, Difference{o.kind, fmt.Sprintf("%s is not in the plan", o)})
			continue
		}
		now, err := o.describe(p.Chance)
		if err != nil {
			return nil, err
		}
		if now.Digest != p.Digest {
			out = append(out, Difference{o.kind, fmt.Sprintf("%s: %s", o, otherParts(p.Parts, now.Parts))})
		}
	}
	for i := range want {
		out = append(out, Difference{i.kind, fmt.Sprintf("%s is in the plan and is not rendered any more", i)})
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
