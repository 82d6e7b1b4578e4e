package decide

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/plan"
)

// bindFacts keeps in the plan those facts that decided something.
func (m *maker) bindFacts() {
	b := &plan.Bound{Platforms: sortedSet(m.facts.Platforms), Runtimes: m.runtimeNames()}
	for _, c := range m.plan.Components {
		if slices.Contains(m.facts.Namespaces, c.Namespace) {
			b.Namespaces = append(b.Namespaces, c.Namespace)
		}
	}
	classes, brought := []string{m.selection.site.StorageClass}, m.broughtDefinitions()
	for _, p := range m.allParts() {
		if slices.Contains(m.facts.CRDs, p.Resource) && !brought[p.Resource] {
			b.Definitions = append(b.Definitions, p.Resource)
		}
		for _, c := range p.Claims {
			if c.Class == nil {
				b.DefaultClass = m.facts.DefaultClass
			} else {
				classes = append(classes, *c.Class)
			}
		}
	}
	for _, c := range classes {
		if slices.Contains(m.facts.StorageClasses, c) {
			b.StorageClasses = append(b.StorageClasses, c)
		}
	}
	b.Namespaces, b.StorageClasses, b.Definitions = sortedSet(b.Namespaces), sortedSet(b.StorageClasses), sortedSet(b.Definitions)
	m.plan.Cluster.Bound = b
}

func (m *maker) runtimeNames() []string {
	var out []string
	for _, n := range m.facts.Cluster.Nodes {
		if name, _, _ := strings.Cut(n.Runtime, "://"); name != "" {
			out = append(out, name)
		}
	}
	return sortedSet(out)
}

// broughtDefinitions are the definitions that the plan brings itself.
func (m *maker) broughtDefinitions() map[string]bool {
	out := map[string]bool{}
	for _, c := range m.plan.Components {
		for _, d := range c.CRDs {
			out[d.Name] = true
		}
	}
	return out
}

// Sight is what a cluster is like now, as far as plans are bound to it. A nil
// list could not be looked at.
type Sight struct {
	Version        string // v1.33.4
	Platforms      []string
	Runtimes       []string
	Namespaces     []string
	StorageClasses []string
	DefaultClass   string // says nothing where StorageClasses is nil
	Definitions    []string
}

// sortedSet is list sorted, each once; nil stays nil.
func sortedSet(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}

// Moved says in words which facts that the plan is bound to are others now, all
// of them: "Kubernetes was v1.33.4, is v1.34.1".
func Moved(p *plan.Plan, now Sight) []string {
	var out []string
	if now.Version != p.Cluster.Version {
		out = append(out, fmt.Sprintf("Kubernetes was %s, is %s", p.Cluster.Version, now.Version))
	}
	out = append(out, definitionsMoved(p, now)...)
	b := p.Cluster.Bound
	if b == nil { // a plan of an earlier version of the tool
		return out
	}
	out = append(out, setMoved("platforms of the nodes", b.Platforms, now.Platforms)...)
	out = append(out, setMoved("container runtimes of the nodes", b.Runtimes, now.Runtimes)...)
	out = append(out, namespacesMoved(p, b, now)...)
	if now.StorageClasses != nil && b.DefaultClass != "" && now.DefaultClass != b.DefaultClass {
		out = append(out, fmt.Sprintf("the default storage class was %s, is %s", b.DefaultClass, orNone(now.DefaultClass)))
	}
	return append(out, missingFrom("storage class", b.StorageClasses, now.StorageClasses)...)
}

// definitionsMoved compares those that the plan brings with those that are there,
// and those that it meets.
func definitionsMoved(p *plan.Plan, now Sight) []string {
	if now.Definitions == nil {
		return nil
	}
	moved := map[string]string{}
	for _, c := range p.Components {
		for _, d := range c.CRDs {
			there := slices.Contains(now.Definitions, d.Name)
			switch {
			case there && !d.Exists:
				moved[d.Name] = fmt.Sprintf("definition %s was not there, is now", d.Name)
			case !there && d.Exists:
				moved[d.Name] = fmt.Sprintf("definition %s was there, is gone", d.Name)
			}
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(moved)) {
		out = append(out, moved[name])
	}
	if p.Cluster.Bound != nil {
		out = append(out, missingFrom("definition", p.Cluster.Bound.Definitions, now.Definitions)...)
	}
	return out
}

func namespacesMoved(p *plan.Plan, b *plan.Bound, now Sight) []string {
	if now.Namespaces == nil {
		return nil
	}
	var names, out []string
	for _, c := range p.Components {
		names = append(names, c.Namespace)
	}
	for _, name := range sortedSet(names) {
		if !slices.Contains(b.Namespaces, name) && slices.Contains(now.Namespaces, name) {
			out = append(out, fmt.Sprintf("namespace %s was not there, is now", name))
		}
	}
	return append(out, missingFrom("namespace", b.Namespaces, now.Namespaces)...)
}

// setMoved compares sets. One that was or is empty says nothing.
func setMoved(what string, was, is []string) []string {
	is = sortedSet(is)
	if len(was) == 0 || len(is) == 0 || slices.Equal(was, is) {
		return nil
	}
	return []string{fmt.Sprintf("the %s were %s, are %s", what, strings.Join(was, ", "), strings.Join(is, ", "))}
}

// missingFrom says which names of was are not in is.
func missingFrom(what string, was, is []string) []string {
	var out []string
	for _, name := range was {
		if is != nil && !slices.Contains(is, name) {
			out = append(out, fmt.Sprintf("%s %s was there, is gone", what, name))
		}
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
