package stacks

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/decide"
)

// Upgrade is what lies between a lock and the stack that it was resolved from, as the
// stack is now.
type Upgrade struct {
	Stack          *stack.Stack
	Before         lock.Metadata
	Added, Removed []string // components
	Changed        []ComponentUpgrade
}

// ComponentUpgrade is what changes in one component, in sentences.
type ComponentUpgrade struct {
	Name    string
	Changes []string
}

// Compare says what a stack has become since its lock was written: versions, images,
// values, order and licences. Profiles are those that the lock was cut to.
func Compare(stackFile, lockFile string, profiles []string, sink event.Sink) (Upgrade, error) {
	l, err := lock.Read(lockFile)
	if err != nil {
		return Upgrade{}, err
	}
	s, err := stack.Read(stackFile)
	if err == nil && len(profiles) > 0 {
		s, err = s.Cut(profiles)
	}
	if err != nil {
		return Upgrade{}, err
	}
	out := Upgrade{Stack: s, Before: l.Metadata}
	for i := range s.Components {
		c := &s.Components[i]
		former := slices.IndexFunc(l.Components, func(o lock.Component) bool { return o.Name == c.Name })
		if former < 0 {
			out.Added = append(out.Added, c.Name)
			continue
		}
		changes, err := compareComponent(s, i, l, &l.Components[former])
		if err != nil {
			return Upgrade{}, err
		}
		if len(changes) > 0 {
			out.Changed = append(out.Changed, ComponentUpgrade{c.Name, changes})
		}
	}
	for _, c := range l.Components {
		if !slices.ContainsFunc(s.Components, func(o stack.Component) bool { return o.Name == c.Name }) {
			out.Removed = append(out.Removed, c.Name)
		}
	}
	out.emit(sink)
	return out, nil
}

func (u Upgrade) emit(sink event.Sink) {
	for _, name := range u.Added {
		sink.Emit(event.Event{Verb: Verb, Kind: event.Result, Item: name, Message: "added", Fields: map[string]any{"change": "added"}})
	}
	for _, name := range u.Removed {
		sink.Emit(event.Event{Verb: Verb, Kind: event.Result, Item: name, Message: "removed", Fields: map[string]any{"change": "removed"}})
	}
	for _, c := range u.Changed {
		sink.Emit(event.Event{Verb: Verb, Kind: event.Result, Item: c.Name, Message: strings.Join(c.Changes, "; "),
			Fields: map[string]any{"change": "changed", "changes": c.Changes}})
	}
}

// compareComponent compares the i-th component of a stack with a lock's.
func compareComponent(s *stack.Stack, i int, l *lock.Lock, former *lock.Component) ([]string, error) {
	c := &s.Components[i]
	var out []string
	add := func(what, before, now string) {
		if before != now {
			out = append(out, fmt.Sprintf("%s: %s > %s", what, orNone(before), orNone(now)))
		}
	}
	add("licence", former.License, c.License)
	add("needs", joinSorted(former.Needs), joinSorted(c.Needs))
	add("after", joinSorted(former.After), joinSorted(c.Others()))
	for j := range c.Charts {
		more, err := compareRelease(s, i, j, l, former)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	for _, r := range former.Releases {
		if !slices.ContainsFunc(c.Charts, func(ch stack.Chart) bool { return ch.Name == r.Name }) {
			out = append(out, "chart "+r.Name+" is gone")
		}
	}
	out = append(out, compareManifests(c, l, former)...)
	return append(out, compareImages(c, l)...), nil
}

// compareRelease compares a chart of a component with the release of that name in a lock.
func compareRelease(s *stack.Stack, i, j int, l *lock.Lock, former *lock.Component) ([]string, error) {
	ch := &s.Components[i].Charts[j]
	at := slices.IndexFunc(former.Releases, func(r lock.Release) bool { return r.Name == ch.Name })
	if at < 0 {
		return []string{strings.TrimSpace("chart " + ch.Name + " is new: " + ch.Version)}, nil
	}
	before := former.Releases[at]
	var out []string
	if old := chartVersion(before.Chart); ch.Version != "" && old != ch.Version {
		out = append(out, fmt.Sprintf("chart %s: %s > %s", ch.Name, old, ch.Version))
	}
	values, err := helm.ReadValues(s, i, j)
	if err != nil {
		return nil, err
	}
	for _, d := range decide.Differences(before.Values, values) {
		out = append(out, "value of "+ch.Name+": "+d)
	}
	return out, nil
}

// chartVersion undoes what a reference does to a chart's version.
func chartVersion(ref imageref.Ref) string { return strings.ReplaceAll(ref.Tag(), "_", "+") }

// compareManifests compares what a component takes from upstreams with what a lock has of
// them.
func compareManifests(c *stack.Component, l *lock.Lock, former *lock.Component) []string {
	before := map[string]string{} // origins by file name
	for i := range l.Items {
		it := &l.Items[i]
		if f, ok := lock.As[*lock.RawFile](it); ok && slices.Contains(former.Manifests, it.Ref) && (f.URL != "" || f.Build != nil) {
			before[f.Name] = it.Source
		}
	}
	var out []string
	for j := range c.UpstreamManifests {
		m := &c.UpstreamManifests[j]
		switch source, known := before[m.FileName()]; {
		case !known:
			out = append(out, "manifest "+m.Name+" is new: "+m.Origin())
		case source != m.Origin():
			out = append(out, fmt.Sprintf("manifest %s: %s > %s", m.Name, source, m.Origin()))
		}
		delete(before, m.FileName())
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		out = append(out, "manifest "+name+" is gone")
	}
	return out
}

// compareImages compares the images that a component declares with those that it declared.
func compareImages(c *stack.Component, l *lock.Lock) []string {
	now := map[imageref.Ref]bool{}
	for j := range c.Images {
		if ref, err := c.Image(j); err == nil {
			now[ref] = true
		}
	}
	var out []string
	for i := range l.Items {
		it := &l.Items[i]
		if it.Kind != lock.Image || !slices.Contains(it.Components, c.Name) {
			continue
		}
		if !now[it.Ref] && slices.Contains(it.FoundBy, "stack") {
			out = append(out, "image "+string(it.Ref)+" is not declared any more")
		}
		delete(now, it.Ref)
	}
	var added []string
	for ref := range now {
		added = append(added, "image "+string(ref)+" is declared now")
	}
	slices.Sort(added)
	return append(out, added...)
}

func joinSorted(names []string) string {
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}

func orNone(text string) string {
	if text == "" {
		return "(none)"
	}
	return text
}
