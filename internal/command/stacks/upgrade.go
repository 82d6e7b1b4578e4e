package stacks

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

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
	Profiles       []string // that were compared, where the stack does not carry just those
	Whole          []string // what changes of the stack itself, in sentences
	Added, Removed []string // components
	Changed        []ComponentUpgrade
	Known          bool // images and definitions of other charts are among the changes, as shipped stacks have them
	CRDsUnknown    bool // the lock does not say which definitions there were
}

// ComponentUpgrade is what changes in one component, in sentences.
type ComponentUpgrade struct {
	Name    string
	Changes []string
}

// Compare says what a stack has become since its lock was written: versions, images,
// values, order and licences. It compares the profiles, or else those that the stack
// carries, or else those that the lock was cut to.
func Compare(stackFile, lockFile string, profiles []string, sink event.Sink) (Upgrade, error) {
	l, err := lock.Read(lockFile)
	if err != nil {
		return Upgrade{}, err
	}
	s, err := stack.Read(stackFile)
	if err != nil {
		return Upgrade{}, err
	}
	carried := s.Carry
	if len(profiles) == 0 && len(carried) == 0 {
		profiles = l.Metadata.Profiles
	}
	if s, err = s.Carried(profiles); err != nil {
		return Upgrade{}, err
	}
	out := Upgrade{Stack: s, Before: l.Metadata, Whole: compareWhole(s, l), CRDsUnknown: saysNoCRDs(l)}
	if joinSorted(carried) != joinSorted(s.Carry) {
		out.Profiles = s.Carry
	}
	shipped, err := readKnown()
	if err != nil {
		return Upgrade{}, err
	}
	comparison := comparison{stack: s, lock: l, declared: declaredImages(s), shipped: shipped}
	for i := range s.Components {
		c := &s.Components[i]
		former := slices.IndexFunc(l.Components, func(o lock.Component) bool { return o.Name == c.Name })
		if former < 0 {
			out.Added = append(out.Added, c.Name)
			continue
		}
		changes, known, err := comparison.compareComponent(i, &l.Components[former])
		if err != nil {
			return Upgrade{}, err
		}
		out.Known = out.Known || known
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

// compareWhole compares what is said of the stack itself.
func compareWhole(s *stack.Stack, l *lock.Lock) []string {
	var out []string
	add := func(what, before, now string) {
		if before != now {
			out = append(out, fmt.Sprintf("%s: %s > %s", what, before, now))
		}
	}
	add("profiles", orAll(joinSorted(l.Metadata.Profiles)), orAll(joinSorted(s.Carry)))
	add("platforms", joinSorted(l.Platforms), joinSorted(s.Platforms))
	add("Kubernetes versions", orNone(joinSorted(l.Kubernetes.Versions)), orNone(joinSorted(s.Kubernetes.Versions)))
	add("API versions", orNone(joinSorted(l.Kubernetes.APIVersions)), orNone(joinSorted(s.Kubernetes.APIVersions)))
	return out
}

// saysNoCRDs says whether a lock was made before locks said which definitions there are.
func saysNoCRDs(l *lock.Lock) bool {
	return !slices.ContainsFunc(l.Components, func(c lock.Component) bool { return len(c.CRDs) > 0 })
}

func orAll(text string) string {
	if text == "" {
		return "(all)"
	}
	return text
}

func (u Upgrade) emit(sink event.Sink) {
	for _, change := range u.Whole {
		sink.Emit(event.Event{Verb: Verb, Kind: event.Result, Item: u.Stack.Metadata.Name, Message: change, Fields: map[string]any{"change": "changed"}})
	}
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

// comparison is of a stack with a lock.
type comparison struct {
	stack    *stack.Stack
	lock     *lock.Lock
	declared map[imageref.Ref]bool // images of the stack
	shipped  known
}

// compareComponent compares a component of the stack with the lock's. known: what other
// charts bring is among the changes.
func (k *comparison) compareComponent(i int, former *lock.Component) (changes []string, known bool, err error) {
	c := &k.stack.Components[i]
	changes, err = compareDeclared(c, k.lock, former)
	if err != nil {
		return nil, false, err
	}
	local, err := k.compareLocal(i, former)
	if err != nil {
		return nil, false, err
	}
	changes = append(changes, local...)
	more, known, err := k.shipped.compareKnown(c, k.lock, former)
	if err != nil {
		return nil, false, err
	}
	if !known {
		more = compareImages(c, k.lock, k.declared)
	}
	return append(changes, more...), known, nil
}

// compareDeclared compares all that a component says but its images.
func compareDeclared(c *stack.Component, l *lock.Lock, former *lock.Component) ([]string, error) {
	var out []string
	add := func(what, before, now string) {
		if before != now {
			out = append(out, fmt.Sprintf("%s: %s > %s", what, orNone(before), orNone(now)))
		}
	}
	add("licence", former.License, c.License)
	add("namespace", former.Namespace, c.Namespace)
	add("optional", fmt.Sprint(former.Optional), fmt.Sprint(c.Optional))
	out = append(out, compareLists("ready when", conditions(former.Ready), conditions(c.Ready))...)
	out = append(out, compareLists("allowed:", allowances(former.Allow), allowances(c.Allow))...)
	out = append(out, compareLists("needs", former.Needs, c.Needs)...)
	out = append(out, compareLists("comes after", former.After, c.Others())...)
	for j := range c.Charts {
		more, err := compareRelease(&c.Charts[j], l, former)
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
	out = append(out, compareModels(c, l)...)
	return append(out, compareFiles(c, l)...), nil
}

// compareRelease compares a chart of a component with the release of that name in a lock.
func compareRelease(ch *stack.Chart, l *lock.Lock, former *lock.Component) ([]string, error) {
	at := slices.IndexFunc(former.Releases, func(r lock.Release) bool { return r.Name == ch.Name })
	if at < 0 {
		return []string{strings.TrimSpace("chart " + ch.Name + " is new: " + ch.Version)}, nil
	}
	before := former.Releases[at]
	out, err := compareChart(ch, before, l)
	if err != nil {
		return nil, err
	}
	values, err := helm.ReadValues(ch)
	if err != nil {
		return nil, err
	}
	for _, d := range decide.Differences(before.Values, values) {
		out = append(out, "value of "+ch.Name+": "+d)
	}
	return out, nil
}

// compareChart compares where a chart comes from, and its version. Of one that comes with
// the program the content counts.
func compareChart(ch *stack.Chart, before lock.Release, l *lock.Lock) ([]string, error) {
	old, now := lock.ChartVersion(before.Chart.Tag()), ch.Version
	i := slices.IndexFunc(l.Items, func(it lock.Item) bool { return it.Ref == before.Chart })
	if name, ours := ch.Shipped(); ours {
		c, err := helm.OpenOurs(name)
		if err != nil {
			return nil, err
		}
		now = c.Version()
		if i >= 0 && old == now {
			if h, ok := lock.As[*lock.HelmChart](&l.Items[i]); ok && h.Digest != digest.FromBytes(c.Archive()) {
				return []string{fmt.Sprintf("chart %s: %s, with other templates or values", ch.Name, now)}, nil
			}
		}
	}
	var out []string
	if old != now {
		out = append(out, fmt.Sprintf("chart %s: %s > %s", ch.Name, old, now))
	}
	if name := ch.UpstreamName(); before.Chart.Name() != name {
		out = append(out, fmt.Sprintf("chart %s: is %s now, was %s", ch.Name, name, before.Chart.Name()))
	}
	return out, nil
}

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

// declaredImages are the images that a stack declares.
func declaredImages(s *stack.Stack) map[imageref.Ref]bool {
	out := map[imageref.Ref]bool{}
	for i := range s.Components {
		for j := range s.Components[i].Images {
			if ref, err := s.Components[i].Image(j); err == nil {
				out[ref] = true
			}
		}
	}
	return out
}

// compareImages compares the images that a component declares with what the lock has. An
// image may be declared by one component and used by another; which one declared it the
// lock does not say, and so one that nothing declares any more is told once.
func compareImages(c *stack.Component, l *lock.Lock, declared map[imageref.Ref]bool) []string {
	there := map[imageref.Ref]bool{}
	var out []string
	for i := range l.Items {
		it := &l.Items[i]
		if it.Kind != lock.Image {
			continue
		}
		there[it.Ref] = true
		if !declared[it.Ref] && slices.Contains(it.FoundBy, "stack") && len(it.Components) > 0 && it.Components[0] == c.Name {
			out = append(out, "image "+string(it.Ref)+" is not declared any more")
		}
	}
	for j := range c.Images {
		if ref, err := c.Image(j); err == nil && !there[ref] {
			out = append(out, "image "+string(ref)+" is declared now")
		}
	}
	return out
}

// compareModels compares the models that a component declares with those of the lock.
func compareModels(c *stack.Component, l *lock.Lock) []string {
	before := map[string]*lock.HubModel{} // by repository, in lower case
	for i := range l.Items {
		if m, ok := lock.As[*lock.HubModel](&l.Items[i]); ok && slices.Contains(l.Items[i].Components, c.Name) {
			before[strings.ToLower(m.Repository)] = m
		}
	}
	var out []string
	for _, m := range c.Models {
		repository := strings.ToLower(strings.TrimPrefix(m.Source, "hf://"))
		former := before[repository]
		delete(before, repository)
		switch {
		case former == nil:
			out = append(out, "model "+m.Name+" is new: "+m.Source)
		case orMain(m.Revision) != former.Revision && m.Revision != former.Commit:
			out = append(out, fmt.Sprintf("model %s: %s > %s", m.Name, former.Revision, orMain(m.Revision)))
		}
		if former != nil {
			out = append(out, compareModel(&m, former)...)
		}
	}
	for _, repository := range slices.Sorted(maps.Keys(before)) {
		out = append(out, "model hf://"+before[repository].Repository+" is gone")
	}
	return out
}

// compareFiles compares the files that a component declares with those of the lock.
func compareFiles(c *stack.Component, l *lock.Lock) []string {
	before := map[string]string{} // digests by name
	for i := range l.Items {
		f, ok := lock.As[*lock.RawFile](&l.Items[i])
		if ok && l.Items[i].Kind == lock.File && slices.Contains(l.Items[i].Components, c.Name) {
			before[f.Name] = f.Digest.Encoded()
		}
	}
	var out []string
	for _, f := range c.Files {
		sum := strings.TrimPrefix(f.SHA256, "sha256:")
		if former, known := before[f.Name]; !known {
			out = append(out, "file "+f.Name+" is new: "+f.URL)
		} else if former != sum {
			out = append(out, fmt.Sprintf("file %s: sha256 %s > %s", f.Name, former[:12], sum[:12]))
		}
		delete(before, f.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		out = append(out, "file "+name+" is gone")
	}
	return out
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
