package decide

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// PlannedPart is one rendered object and whose it is.
type PlannedPart struct {
	Part
	Component string
	Release   string // "" for an object of a manifest
	Space     string // the namespace of the component
}

// TellPlan tells charts what the plan's own objects come to: the accelerators that their
// pods hold, and the namespaces that have queues. It comes when all was rendered once,
// and names the components that have to be rendered once more for it.
func (s *Selection) TellPlan(parts []PlannedPart) ([]string, error) {
	s.told.queued = namespacesOf(parts, "LocalQueue", "kueue.x-k8s.io/")
	held := s.heldKinds(parts)
	s.told.reserved = s.sumHeld(held)
	var out []string
	for i := range s.Components {
		c := &s.Components[i]
		if !c.asks(lock.FactReserved) && !c.asks(lock.FactQueued) {
			continue
		}
		if err := s.tell(c); err != nil {
			return nil, err
		}
		out = append(out, c.Component.Name)
	}
	s.noteHeld(held)
	return out, nil
}

// NoteKept says in which namespaces charts that hear of those with queues keep jobs inside
// the site: those of the NetworkPolicies that they made of it. It comes when these charts
// were rendered with what TellPlan told them.
func (s *Selection) NoteKept(parts []PlannedPart) {
	for _, c := range s.Components {
		for _, r := range c.Releases {
			if slices.Contains(r.Facts, lock.FactQueued) {
				s.noteKept(c.Component.Name, ofRelease(parts, c.Component.Name, r.Name))
			}
		}
	}
}

func ofRelease(parts []PlannedPart, component, release string) (out []PlannedPart) {
	for _, p := range parts {
		if p.Component == component && p.Release == release {
			out = append(out, p)
		}
	}
	return out
}

// noteKept does so of one release. One without objects did not render, which is told of
// already.
func (s *Selection) noteKept(component string, parts []PlannedPart) {
	if len(parts) == 0 {
		return
	}
	kept := namespacesOf(parts, "NetworkPolicy", "networking.k8s.io/")
	where := "the namespaces " + strings.Join(kept, ", ") + ", and in no other"
	switch len(kept) {
	case 0:
		where = "no namespace"
	case 1:
		where = "the namespace " + kept[0] + ", and in no other"
	}
	s.told.found = append(s.told.found, event.Finding{
		Severity: event.Notice, Code: event.CodeQueueNamespaces, Item: component,
		What: fmt.Sprintf("%s keeps jobs inside the site in %s", component, where),
		Why:  "jobs elsewhere may reach what the network lets them",
		Hint: "name more namespaces in its values in the site file: networkPolicy: {namespaces: [NAME]}",
	})
}

// asks says whether a release of the component asks for a fact.
func (c *Chosen) asks(fact string) bool {
	return slices.ContainsFunc(c.Releases, func(r lock.Release) bool { return slices.Contains(r.Facts, fact) })
}

// asking are the components that ask for a fact, in words; "" where none does.
func (s *Selection) asking(fact string) string {
	var names []string
	for i := range s.Components {
		if c := &s.Components[i]; c.asks(fact) {
			names = append(names, c.Component.Name)
		}
	}
	return strings.Join(names, " and ")
}

// namespacesOf are those in which the plan makes objects of a kind of a group.
func namespacesOf(parts []PlannedPart, kind, group string) []string {
	var out []string
	for _, p := range parts {
		if p.Kind == kind && strings.HasPrefix(p.APIVersion, group) {
			out = append(out, cmp.Or(p.Namespace, p.Space))
		}
	}
	return sortedSet(out)
}

// heldKind is what the pods of one object hold of one resource.
type heldKind struct {
	part     PlannedPart
	resource string
	kinds    []gpu.Kind // of which it may be; one where its pods choose their nodes
	count    int64
}

// heldKinds finds what pods that stay hold of each resource.
func (s *Selection) heldKinds(parts []PlannedPart) []heldKind {
	var out []heldKind
	for _, p := range parts {
		if p.Standing == 0 {
			continue
		}
		asked := p.podSum(Container.acceleratorCounts)
		for _, c := range p.Within {
			for name, n := range c.acceleratorCounts() {
				asked[name] += n
			}
		}
		for _, name := range slices.Sorted(maps.Keys(asked)) {
			if kinds := s.kindsFor(name, p.Nodes); len(kinds) > 0 {
				out = append(out, heldKind{p, name, kinds, asked[name]})
			}
		}
	}
	return out
}

// kindsFor are the kinds that a pod may get of a resource on nodes with labels: those
// whose nodes it names, or else all whose nodes it does not rule out.
func (s *Selection) kindsFor(resource string, nodes Labels) []gpu.Kind {
	var named, possible []gpu.Kind
	for _, k := range s.kinds {
		if k.Resource != resource {
			continue
		}
		all, none := len(k.NodeLabels) > 0, false
		for key, value := range k.NodeLabels {
			wanted, has := nodes[key]
			all, none = all && wanted == value, none || has && wanted != value
		}
		if all {
			named = append(named, k)
		}
		if !none {
			possible = append(possible, k)
		}
	}
	if len(named) > 0 {
		return named
	}
	return possible
}

// sumHeld is what is held of each kind, of all that there are at most.
func (s *Selection) sumHeld(held []heldKind) map[string]int64 {
	out := map[string]int64{}
	for _, h := range held {
		for _, k := range h.kinds {
			pods := h.part.Standing
			if pods == EveryNode {
				pods = int64(k.Nodes)
			}
			out[k.Name] = min(k.Count, out[k.Name]+pods*h.count)
		}
	}
	return out
}

// noteHeld says what the queues do not share out.
func (s *Selection) noteHeld(held []heldKind) {
	queues := s.asking(lock.FactReserved)
	if queues == "" || len(held) == 0 {
		return
	}
	var counts, holders []string
	for _, name := range slices.Sorted(maps.Keys(s.told.reserved)) {
		counts = append(counts, fmt.Sprintf("%d %s", s.told.reserved[name], name))
	}
	for _, h := range held {
		holders = append(holders, h.part.Component)
		s.noteUnsettled(h, queues)
	}
	s.told.found = append(s.told.found, event.Finding{
		Severity: event.Notice, Code: event.CodeGPUsHeld, Item: queues,
		What: fmt.Sprintf("pods of %s hold %s, which %s does not share out",
			strings.Join(sortedSet(holders), " and "), strings.Join(counts, ", "), queues),
		Why:  "a job that was promised one of these would wait without end",
		Hint: "to leave more to jobs, serve fewer models: models: [{name: NAME, serve: false}] in the values of model-serving in the site file",
	})
}

// noteUnsettled says of pods that nothing tells which kind they will hold. Those on every
// node hold some of each.
func (s *Selection) noteUnsettled(h heldKind, queues string) {
	if len(h.kinds) < 2 || h.part.Standing == EveryNode {
		return
	}
	var names []string
	for _, k := range h.kinds {
		names = append(names, k.Name)
	}
	s.told.found = append(s.told.found, event.Finding{
		Severity: event.Notice, Code: event.CodeGPUsHeld, Item: h.part.Component,
		What: fmt.Sprintf("%s asks for %d %s and for no kind of node; it may get any of %s, "+
			"so %s shares out that many less of each", h.part, h.count, h.resource, strings.Join(names, ", "), queues),
		Hint: "give its pods a nodeSelector in the values of the site file",
	})
}
