package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/yamlfile"
	"github.com/caisson/caisson/internal/atomicfile"
	"github.com/caisson/caisson/manifests"
)

// maxDepth bounds how many stacks extend one another.
const maxDepth = 8

// SourceFile is a file that a stack, or a part of it, is written in.
type SourceFile struct {
	Name string // as messages name it
	Dir  string // where it lies; paths in it are relative to here; "" for a shipped one
	Text []byte

	doc   *yamlfile.Document // of the stack in it
	above *SourceFile        // whose stack extends this one; nil for none
}

// Read reads at most most bytes of a file that this one names.
func (f *SourceFile) Read(name string, most int64) ([]byte, error) {
	if f.Shipped() {
		return fs.ReadFile(manifests.Files(), path.Clean(name))
	}
	data, err := readBelow(f.Dir, filepath.FromSlash(name), most)
	if tooLarge := new(atomicfile.TooLargeError); errors.Is(err, atomicfile.ErrNotRegular) || errors.As(err, &tooLarge) {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes", f.Path(name), most)
	}
	return data, err
}

// readBelow reads a plain file below a folder, to which no link leads out of it.
func readBelow(dir, name string, most int64) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return atomicfile.ReadRegularIn(root, name, most)
}

// Line is where a field of the stack stands in the file, or the nearest field around it.
func (f *SourceFile) Line(field string) int { return f.doc.Line(field) }

// Place names the file, and the line of a field in it: stack.yaml:12.
func (o Origin) Place() string {
	return fmt.Sprintf("%s:%d", filepath.Base(o.File.Name), o.File.Line(o.Field))
}

// Shipped says whether the file is part of the program.
func (f *SourceFile) Shipped() bool { return f.Dir == "" }

// Path leads to a file on disk that this one names.
func (f *SourceFile) Path(name string) string {
	return filepath.Join(f.Dir, filepath.FromSlash(name))
}

// Origin is where a part of a stack was written.
type Origin struct {
	File  *SourceFile
	Field string // components[2].charts[0]
}

// Origin says where a field of the stack was written: that of a component which extends
// another's is where its last part was.
func (s *Stack) Origin(field string) Origin {
	for prefix := field; prefix != ""; prefix = parentField(prefix) {
		if o, known := s.origins[prefix]; known {
			return Origin{o.File, o.Field + field[len(prefix):]}
		}
	}
	return Origin{s.file, field}
}

// parentField cuts the last step of a path: components[2].charts[0] to
// components[2].charts, and that to components[2].
func parentField(field string) string {
	return field[:max(strings.LastIndexAny(field, ".["), 0)]
}

// origins are those of fields that were merged.
type origins map[string]Origin

// merger merges a stack into the one that it extends.
type merger struct {
	base, own *Stack
	out       *Stack
}

// mergeStacks is own with all of base that own does not say otherwise: components of own
// are added, or merged into those of the same name.
func mergeStacks(base, own *Stack) *Stack {
	m := merger{base: base, own: own}
	out := *own
	m.out = &out
	out.origins = origins{}
	out.Components = nil
	if len(own.Platforms) == 0 {
		out.Platforms = base.Platforms
	}
	if len(own.Carry) == 0 {
		out.Carry = base.Carry
		for j := range base.Carry {
			out.origins[fmt.Sprintf("carry[%d]", j)] = base.Origin(fmt.Sprintf("carry[%d]", j))
		}
	}
	if len(own.Kubernetes.Versions) == 0 {
		out.Kubernetes.Versions = base.Kubernetes.Versions
	}
	out.Kubernetes.APIVersions = union(base.Kubernetes.APIVersions, own.Kubernetes.APIVersions)
	out.Agent = base.Agent || own.Agent
	for i := range base.Components {
		if c := &base.Components[i]; !slices.Contains(own.Remove, c.Name) {
			m.addComponent(i, slices.IndexFunc(own.Components, func(o Component) bool { return o.Name == c.Name }))
		}
	}
	for i := range own.Components {
		if !slices.ContainsFunc(out.Components, func(c Component) bool { return c.Name == own.Components[i].Name }) {
			m.addComponent(-1, i)
		}
	}
	there := out.componentNames()
	gone := slices.DeleteFunc(slices.Clone(own.Remove), func(n string) bool { return slices.Contains(there, n) })
	for i := range out.Components {
		out.Components[i].forget(gone)
	}
	out.Profiles = m.mergeProfiles(forgetValues(forgetInProfiles(base.Profiles, gone), own))
	return m.out
}

// forgetInProfiles takes components that are not there out of profiles, and profiles that
// have none left.
func forgetInProfiles(profiles []Profile, gone []string) []Profile {
	var out []Profile
	for _, p := range profiles {
		p.Components = slices.DeleteFunc(slices.Clone(p.Components), func(n string) bool { return slices.Contains(gone, n) })
		p.Values = maps.Clone(p.Values)
		for _, n := range gone {
			delete(p.Values, n)
		}
		if len(p.Components) > 0 {
			out = append(out, p)
		}
	}
	return out
}

// forgetValues takes what profiles say of values out for components that own removes, though
// it has one of that name itself, or whose charts it replaces: they were for others.
func forgetValues(profiles []Profile, own *Stack) []Profile {
	others := slices.Clone(own.Remove)
	for _, c := range own.Components {
		if slices.Contains(c.Replace, "charts") {
			others = append(others, c.Name)
		}
	}
	for i := range profiles {
		profiles[i].Values = maps.Clone(profiles[i].Values)
		for _, name := range others {
			delete(profiles[i].Values, name)
		}
	}
	return profiles
}

// mergeProfiles adds the profiles of own to those of base: to one of the same name its
// components and values.
func (m *merger) mergeProfiles(base []Profile) []Profile {
	out := slices.Clone(base)
	for j, p := range m.own.Profiles {
		i := slices.IndexFunc(out, func(b Profile) bool { return b.Name == p.Name })
		if i < 0 {
			m.noteOwn(fmt.Sprintf("profiles[%d]", len(out)), fmt.Sprintf("profiles[%d]", j))
			out = append(out, p)
			continue
		}
		out[i].Components = union(out[i].Components, p.Components)
		for k, name := range p.Components {
			at := slices.Index(out[i].Components, name)
			m.noteOwn(fmt.Sprintf("profiles[%d].components[%d]", i, at), fmt.Sprintf("profiles[%d].components[%d]", j, k))
		}
		if p.About != "" {
			out[i].About = p.About
		}
		if len(p.Values) > 0 {
			m.noteOwn(fmt.Sprintf("profiles[%d].values", i), fmt.Sprintf("profiles[%d].values", j))
			out[i].Values = mergeProfileValues(out[i].Values, p.Values)
		}
	}
	return out
}

// noteOwn notes that a field was written in own.
func (m *merger) noteOwn(is, was string) { m.out.origins[is] = m.own.Origin(was) }

func mergeProfileValues(base, own map[string]map[string]any) map[string]map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]map[string]any{}
	}
	for component, values := range own {
		out[component] = lock.MergeValues(out[component], values)
	}
	return out
}

// forget takes components that are not there out of what c needs and comes after.
func (c *Component) forget(names []string) {
	gone := func(name string) bool { return slices.Contains(names, name) }
	c.Needs = slices.DeleteFunc(slices.Clone(c.Needs), gone)
	c.After = slices.DeleteFunc(slices.Clone(c.After), gone)
}

// addComponent adds a component of base, of own (the other index is -1) or of both.
func (m *merger) addComponent(base, own int) {
	at := fmt.Sprintf("components[%d]", len(m.out.Components))
	switch {
	case own < 0:
		m.base.copyOrigins(m.out.origins, fmt.Sprintf("components[%d]", base), at)
		m.out.Components = append(m.out.Components, m.base.Components[base])
	case base < 0:
		m.own.copyOrigins(m.out.origins, fmt.Sprintf("components[%d]", own), at)
		m.out.Components = append(m.out.Components, m.own.Components[own])
	default:
		m.noteOwn(at, fmt.Sprintf("components[%d]", own))
		m.out.Components = append(m.out.Components, m.mergeComponents(at, base, own))
	}
}

func (m *merger) mergeComponents(at string, base, own int) Component {
	b, o := m.base.Components[base], m.own.Components[own]
	l := lists{m, at, fmt.Sprintf("components[%d]", base), fmt.Sprintf("components[%d]", own)}
	for _, name := range o.Replace {
		b.lists()[name]()
	}
	out := b
	out.Replace = nil
	if o.Namespace != "" {
		out.Namespace = o.Namespace
	}
	if o.License != "" {
		out.License = o.License
	}
	if m.own.file.doc.Has(l.own + ".optional") {
		out.Optional = o.Optional
	}
	out.Needs, out.After = union(b.Needs, o.Needs), union(b.After, o.After)
	out.Images = joinLists(l, "images", b.Images, o.Images)
	out.Manifests = joinLists(l, "manifests", b.Manifests, o.Manifests)
	out.Ready = joinLists(l, "ready", b.Ready, o.Ready)
	out.Allow = joinLists(l, "allow", b.Allow, o.Allow)
	out.Models = mergeNamed(l, "models", b.Models, o.Models, func(m Model) string { return m.Name }, mergeModels)
	out.Files = mergeNamed(l, "files", b.Files, o.Files, func(f File) string { return f.Name }, func(_, own File) File { return own })
	out.Charts = mergeNamed(l, "charts", b.Charts, o.Charts, func(c Chart) string { return c.Name }, mergeCharts)
	l.noteValuesFiles(out.Charts, b.Charts, o.Charts)
	out.UpstreamManifests = mergeNamed(l, "upstreamManifests", b.UpstreamManifests, o.UpstreamManifests,
		func(m UpstreamManifest) string { return m.Name }, mergeUpstreamManifests)
	l.notePatches(out.UpstreamManifests, b.UpstreamManifests, o.UpstreamManifests)
	return out
}

// lists empties lists of a component, by name.
func (c *Component) lists() map[string]func() {
	return map[string]func(){
		"needs": func() { c.Needs = nil }, "after": func() { c.After = nil },
		"images": func() { c.Images = nil }, "charts": func() { c.Charts = nil },
		"models": func() { c.Models = nil }, "files": func() { c.Files = nil },
		"manifests": func() { c.Manifests = nil }, "upstreamManifests": func() { c.UpstreamManifests = nil },
		"ready": func() { c.Ready = nil }, "allow": func() { c.Allow = nil },
	}
}

// noteValuesFiles says where values files of merged charts were written.
func (l lists) noteValuesFiles(merged, base, own []Chart) {
	name := func(c Chart) string { return c.Name }
	noteJoined(l, "charts", "valuesFiles", merged, base, own, name, func(c Chart) int { return len(c.ValuesFiles) })
}

// notePatches says where patches of merged manifests were written.
func (l lists) notePatches(merged, base, own []UpstreamManifest) {
	name := func(m UpstreamManifest) string { return m.Name }
	noteJoined(l, "upstreamManifests", "patches", merged, base, own, name, func(m UpstreamManifest) int { return len(m.Patches) })
}

// noteJoined says where the entries of a list below merged entries were written: those of
// base come first.
func noteJoined[T any](l lists, list, below string, merged, base, own []T, name func(T) string, count func(T) int) {
	index := func(in []T, of T) int {
		return slices.IndexFunc(in, func(x T) bool { return name(x) == name(of) })
	}
	for i, m := range merged {
		b, o := index(base, m), index(own, m)
		if b < 0 || o < 0 {
			continue
		}
		before := count(base[b])
		for j := range count(m) {
			at := fmt.Sprintf("%s.%s[%d].%s[%d]", l.at, list, i, below, j)
			if j < before {
				l.out.origins[at] = l.merger.base.Origin(fmt.Sprintf("%s.%s[%d].%s[%d]", l.base, list, b, below, j))
			} else {
				l.noteOwn(at, fmt.Sprintf("%s.%s[%d].%s[%d]", l.own, list, o, below, j-before))
			}
		}
	}
}

// lists is where lists of one merged component come from.
type lists struct {
	*merger
	at, base, own string
}

// note says where an entry of a list was written: j of own, or of base where j is less
// than 0.
func (l lists) note(list string, to, base, own int) {
	at := fmt.Sprintf("%s.%s[%d]", l.at, list, to)
	if own >= 0 {
		l.noteOwn(at, fmt.Sprintf("%s.%s[%d]", l.own, list, own))
		return
	}
	l.merger.base.copyOrigins(l.out.origins, fmt.Sprintf("%s.%s[%d]", l.base, list, base), at)
}

// joinLists adds the entries of own to those of base.
func joinLists[T any](l lists, list string, base, own []T) []T {
	for i := range base {
		l.note(list, i, i, -1)
	}
	for i := range own {
		l.note(list, len(base)+i, -1, i)
	}
	return slices.Concat(base, own)
}

// mergeNamed merges entries of the same name and adds the others.
func mergeNamed[T any](l lists, list string, base, own []T, name func(T) string, merge func(base, own T) T) []T {
	out := slices.Clone(base)
	for i := range base {
		l.note(list, i, i, -1)
	}
	for i, o := range own {
		at := slices.IndexFunc(base, func(b T) bool { return name(b) == name(o) })
		if at < 0 {
			at, out = len(out), append(out, o)
		} else {
			out[at] = merge(base[at], o)
		}
		l.note(list, at, -1, i)
	}
	return out
}

func mergeCharts(base, own Chart) Chart {
	out := base
	if own.Source != "" {
		out.Source = own.Source
	}
	if own.Chart != "" || own.InRegistry() {
		out.Chart = own.Chart
	}
	if own.Version != "" {
		out.Version = own.Version
	}
	out.ValuesFiles = slices.Concat(base.ValuesFiles, own.ValuesFiles)
	out.Values = lock.MergeValues(base.Values, own.Values)
	out.layers = slices.Concat(base.layers, own.layers)
	return out
}

// ValuesLayer is what one stack says of a chart's values. Later layers go over earlier
// ones.
type ValuesLayer struct {
	From   *SourceFile
	Files  []string       // beside From, later over earlier
	Values map[string]any // over the files
}

// ValuesLayers are what the stack, and those that it extends, say of a chart's values,
// the lowest first.
func (ch *Chart) ValuesLayers() []ValuesLayer { return ch.layers }

// noteLayers notes what a file says of its charts' values.
func (s *Stack) noteLayers() {
	for i := range s.Components {
		for j := range s.Components[i].Charts {
			ch := &s.Components[i].Charts[j]
			ch.layers = []ValuesLayer{{s.file, ch.ValuesFiles, ch.Values}}
		}
	}
}

func mergeModels(base, own Model) Model {
	if own.Source != "" && own.Source != base.Source {
		return own // what is said of another model's files says nothing of this one's
	}
	out := base
	if own.Revision != "" {
		out.Revision = own.Revision
	}
	if len(own.Include) > 0 {
		out.Include = own.Include
	}
	if own.Serve != "" {
		out.Serve = own.Serve
	}
	out.Exclude = union(base.Exclude, own.Exclude)
	out.Allow, out.Extras = slices.Concat(base.Allow, own.Allow), slices.Concat(base.Extras, own.Extras)
	return out
}

// union is a with what b has besides.
func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// ErrNoStack: a stack extends one that is neither shipped nor a file beside it.
var ErrNoStack = errors.New("there is no such stack")

// readBase reads the stack that a file extends: a shipped one by its name, or a file by
// its path, which begins with "./" or "../".
func readBase(from *SourceFile, name string) (*Stack, error) {
	base, err := openBase(from, name)
	if err != nil {
		return nil, err
	}
	base.above = from
	chain := base.Name
	for f, n := from, 1; f != nil; f, n = f.above, n+1 {
		chain = f.Name + " > " + chain
		if f.Name == base.Name && f.Dir == base.Dir {
			return nil, fmt.Errorf("reading stack %s: stacks extend one another in a circle: %s", name, chain)
		}
		if n >= maxDepth {
			return nil, fmt.Errorf("reading stack %s: more than %d stacks extend one another", name, maxDepth)
		}
	}
	return parseStack(base)
}

func openBase(from *SourceFile, name string) (*SourceFile, error) {
	if !strings.HasPrefix(name, "./") && !strings.HasPrefix(name, "../") {
		return openShipped(name)
	}
	if from.Shipped() {
		return nil, fmt.Errorf("reading stack %s: %w: a shipped stack extends shipped ones", name, ErrNoStack)
	}
	path := filepath.Join(from.Dir, filepath.FromSlash(name))
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading stack %s: %w", name, atomicfile.ErrNotRegular)
	}
	return openFile(path)
}

func openShipped(name string) (*SourceFile, error) {
	text, found := manifests.Stack(name)
	if !found {
		return nil, fmt.Errorf("reading stack %s: %w%s", name, ErrNoStack, yamlfile.Suggest(name, manifests.Stacks()))
	}
	return &SourceFile{Name: name + ".yaml", Text: text}, nil
}

func openFile(path string) (*SourceFile, error) {
	text, err := yamlfile.ReadText(path, yamlfile.MaxBytes)
	if err != nil {
		return nil, err
	}
	return &SourceFile{Name: path, Dir: filepath.Dir(path), Text: text}, nil
}

// Profile is a part of a stack that can be carried alone.
type Profile struct {
	// Name is a DNS label, unique in the stack.
	Name string `yaml:"name" jsonschema:"required,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$,maxLength=63"`
	// About says in a few words what it is for.
	About string `yaml:"about,omitempty"`
	// Components are those that it names; what they need comes along.
	Components []string `yaml:"components" jsonschema:"required,minItems=1"`
	// Values lie beneath those of charts, by component and release, where no other profile
	// that is carried holds the component.
	Values map[string]map[string]any `yaml:"values,omitempty"`
}

// ErrNoProfile: a profile was asked for that the stack does not have.
var ErrNoProfile = errors.New("there is no such profile")

// Carried is what is carried of the stack: the named profiles; where none is named those that
// the stack says, or all of it.
func (s *Stack) Carried(profiles []string) (*Stack, error) {
	if len(profiles) == 0 {
		profiles = s.Carry
	}
	if len(profiles) == 0 {
		return s, nil
	}
	return s.Cut(profiles)
}

// Cut leaves the components of the named profiles, which are those that it carries, and
// what they need. Places in the stack stay where they were.
func (s *Stack) Cut(profiles []string) (*Stack, error) {
	for _, name := range profiles {
		if !slices.Contains(s.profileNames(), name) {
			return nil, fmt.Errorf("cutting stack %s: %w: %q%s", s.Metadata.Name, ErrNoProfile, name, yamlfile.Suggest(name, s.profileNames()))
		}
	}
	out := *s
	out.Components, out.origins = nil, origins{}
	out.Carry = slices.Compact(slices.Sorted(slices.Values(profiles)))
	out.Profiles = slices.DeleteFunc(slices.Clone(s.Profiles), func(p Profile) bool { return !slices.Contains(profiles, p.Name) })
	holders := out.holders(s.Components)
	var gone []string
	for i, c := range s.Components {
		if len(holders[c.Name]) == 0 {
			gone = append(gone, c.Name)
			continue
		}
		s.copyOrigins(out.origins, fmt.Sprintf("components[%d]", i), fmt.Sprintf("components[%d]", len(out.Components)))
		out.Components = append(out.Components, c)
	}
	for i := range out.Components {
		c := &out.Components[i]
		c.forget(gone)
		if only := holders[c.Name]; len(only) == 1 {
			c.layBeneath(only[0].Values[c.Name])
		}
	}
	return &out, nil
}

// Held are the components that a profile holds, itself or by what another one needs.
func (s *Stack) Held() map[string]bool {
	out := map[string]bool{}
	for name := range s.holders(s.Components) {
		out[name] = true
	}
	return out
}

// holders says of each of the components which of the stack's profiles hold it.
func (s *Stack) holders(components []Component) map[string][]*Profile {
	needs := map[string][]string{}
	for _, c := range components {
		needs[c.Name] = c.Needs
	}
	out := map[string][]*Profile{}
	for i := range s.Profiles {
		held := map[string]bool{}
		keepNeeded(s.Profiles[i].Components, needs, held)
		for name := range held {
			out[name] = append(out[name], &s.Profiles[i])
		}
	}
	return out
}

// keepNeeded keeps components and all that they need.
func keepNeeded(names []string, needs map[string][]string, kept map[string]bool) {
	for _, name := range names {
		if !kept[name] {
			kept[name] = true
			keepNeeded(needs[name], needs, kept)
		}
	}
}

// layBeneath lays values by release beneath those of the component's charts.
func (c *Component) layBeneath(values map[string]any) {
	c.Charts = slices.Clone(c.Charts)
	for i := range c.Charts {
		if more, ok := values[c.Charts[i].Name].(map[string]any); ok {
			c.Charts[i].Values = lock.MergeValues(more, c.Charts[i].Values)
			c.Charts[i].layers = slices.Concat([]ValuesLayer{{Values: more}}, c.Charts[i].layers)
		}
	}
}

// copyOrigins notes where a field and all below it were written, for a field of another
// stack that it becomes.
func (s *Stack) copyOrigins(into origins, was, is string) {
	into[is] = s.Origin(was)
	for field, o := range s.origins {
		if rest, below := strings.CutPrefix(field, was); below && (strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "[")) {
			into[is+rest] = o
		}
	}
}

// ProfilesOf names the profiles that list a component.
func (s *Stack) ProfilesOf(component string) []string {
	var out []string
	for _, p := range s.Profiles {
		if slices.Contains(p.Components, component) {
			out = append(out, p.Name)
		}
	}
	return out
}

func (s *Stack) profileNames() []string {
	return namesOf(s.Profiles, func(p Profile) string { return p.Name })
}
