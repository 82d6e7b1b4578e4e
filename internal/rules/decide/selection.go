package decide

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// Selection is the part of a lock that a site wants, with the site's values
// merged in: what has to be rendered before a plan can be made.
type Selection struct {
	lock       *lock.Lock
	site       plan.Site
	Components []Chosen      // in order: by level, then the lock's order
	gpu        *plan.GPU     // nil until Configure
	operator   *gpu.Operator // of gpu
	gpuFound   []event.Finding
	offers     map[string]gpu.Offer // of the nodes, by name
	kinds      []gpu.Kind           // of accelerators that the nodes offer
	uncounted  []string             // nodes with accelerators that are in no kind
	told       toldSite
}

// Chosen is one component that will be installed.
type Chosen struct {
	Component lock.Component
	Level     int
	Namespace string
	Releases  []lock.Release // values merged
}

// Select applies a site's choices to a lock. The selection is usable only when
// no finding is an error.
func Select(l *lock.Lock, site plan.Site) (*Selection, []event.Finding) {
	s := &Selection{lock: l, site: site}
	found := s.unknownChoices()
	on := s.enabledComponents(&found)
	for _, c := range l.Components {
		if !on[c.Name] {
			continue
		}
		found = append(found, s.missingNeeds(c, on)...)
		c.Needs = sortedSet(slices.Concat(c.Needs, slices.DeleteFunc(slices.Clone(c.After), func(n string) bool { return !on[n] })))
		chosen, more := s.chooseComponent(c)
		found = append(found, more...)
		s.Components = append(s.Components, chosen)
	}
	found = append(found, s.orderComponents()...)
	return s, found
}

// unknownChoices finds choices about components that the stack does not have.
func (s *Selection) unknownChoices() []event.Finding {
	have := map[string]bool{}
	for _, c := range s.lock.Components {
		have[c.Name] = true
	}
	var found []event.Finding
	for _, name := range slices.Sorted(maps.Keys(s.site.Components)) {
		if !have[name] {
			found = append(found, event.Finding{
				Severity: event.Error, Code: event.CodeUnknownComponent, Item: name,
				What: fmt.Sprintf("the site file speaks of component %s, which stack %s does not have%s", name, s.lock.Metadata.Name, ofProfiles(s.lock)),
				Hint: "correct or remove components." + name + " in the site file",
			})
		}
	}
	return found
}

// ofProfiles says which profiles of its stack a lock holds alone.
func ofProfiles(l *lock.Lock) string {
	if len(l.Metadata.Profiles) == 0 {
		return ""
	}
	return " in its profiles " + strings.Join(l.Metadata.Profiles, ", ") + ", which alone are in the bundle"
}

func (s *Selection) enabledComponents(found *[]event.Finding) map[string]bool {
	on := map[string]bool{}
	for _, c := range s.lock.Components {
		choice := s.site.Components[c.Name]
		on[c.Name] = choice.Enabled == nil || *choice.Enabled
		if !on[c.Name] && !c.Optional {
			*found = append(*found, event.Finding{
				Severity: event.Error, Code: event.CodeComponentNotOptional, Item: c.Name,
				What: fmt.Sprintf("the site leaves out component %s, which stack %s does not call optional", c.Name, s.lock.Metadata.Name),
				Hint: "remove components." + c.Name + ".enabled from the site file, or make the component optional in the stack and pack again",
			})
		}
	}
	return on
}

func (s *Selection) missingNeeds(c lock.Component, on map[string]bool) []event.Finding {
	var found []event.Finding
	for _, n := range c.Needs {
		if !on[n] {
			found = append(found, event.Finding{
				Severity: event.Error, Code: event.CodeNeededComponentDisabled, Item: c.Name,
				What: fmt.Sprintf("component %s needs %s, which the site leaves out", c.Name, n),
				Hint: fmt.Sprintf("enable %s or leave out %s as well", n, c.Name),
			})
		}
	}
	return found
}

func (s *Selection) chooseComponent(c lock.Component) (Chosen, []event.Finding) {
	chosen := Chosen{Component: c, Namespace: c.Namespace}
	if chosen.Namespace == "" {
		chosen.Namespace = c.Name
	}
	values := s.site.Components[c.Name].Values
	known := map[string]bool{}
	for _, r := range c.Releases {
		known[r.Name] = true
		r.Values = lock.MergeValues(r.Values, values[r.Name])
		chosen.Releases = append(chosen.Releases, r)
	}
	var found []event.Finding
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !known[name] {
			found = append(found, event.Finding{
				Severity: event.Error, Code: event.CodeValuesWithoutRelease, Item: c.Name,
				What: fmt.Sprintf("the site file gives values for release %s, which component %s does not have", name, c.Name),
				Hint: "its releases are: " + strings.Join(slices.Sorted(maps.Keys(known)), ", "),
			})
		}
	}
	return chosen, found
}

// orderComponents gives each component its level and sorts by it.
func (s *Selection) orderComponents() []event.Finding {
	at := map[string]int{}
	for i := range s.Components {
		at[s.Components[i].Component.Name] = i
	}
	var found []event.Finding
	const visiting = -1
	level := map[string]int{}
	var visit func(i int) int
	visit = func(i int) int {
		c := s.Components[i].Component
		if l, done := level[c.Name]; done {
			if l == visiting {
				found = append(found, event.Finding{Severity: event.Error, Code: event.CodeCircularNeeds, Item: c.Name, What: "component " + c.Name + " needs itself through others", Hint: "break the circle in the stack"})
				return 0
			}
			return l
		}
		level[c.Name] = visiting
		l := 0
		for _, n := range c.Needs {
			if j, ok := at[n]; ok {
				l = max(l, visit(j)+1)
			}
		}
		level[c.Name] = l
		return l
	}
	for i := range s.Components {
		s.Components[i].Level = visit(i)
	}
	slices.SortStableFunc(s.Components, func(a, b Chosen) int { return a.Level - b.Level })
	return found
}
