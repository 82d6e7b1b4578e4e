package resolve

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/rules/document"
	"github.com/caisson/caisson/internal/rules/lint"
)

// ErrEgress: what is rendered would call out of a closed site, and the stack does
// not say that this is accepted.
var ErrEgress = errors.New("would call out of a closed site")

// ErrLookup: templates look up what is not their own release's, and the stack does
// not say that this is accepted.
var ErrLookup = errors.New("looks up in the cluster what is not its own")

// ErrChance: a chart renders to something else each time where it must not, and
// the stack does not say that this is accepted.
var ErrChance = errors.New("leaves to chance what is installed")

// lintKey tells findings of one component apart, whatever Kubernetes version or
// release they were rendered for.
type lintKey struct{ component, code, template, text string }

// lint notes the findings of one rendering that no other one had.
func (c *collection) lint(component string, found []lint.Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.linted == nil {
		c.linted, c.seen = map[string][]lint.Finding{}, map[lintKey]int{}
	}
	times := map[lintKey]int{}
	for _, f := range found {
		k := lintKey{component, f.Code, f.Template, f.Text}
		if times[k]++; times[k] > c.seen[k] {
			c.seen[k] = times[k]
			c.linted[component] = append(c.linted[component], f)
		}
	}
}

// missing notes a reference, put together from fields, that no registry has.
func (c *collection) missing(ref imageref.Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guesses == nil {
		c.guesses = map[imageref.Ref]bool{}
	}
	c.guesses[ref] = true
}

// egress settles what would call out by the stack's rules, says what there is,
// and makes a problem of every component with something left.
func (s *session) egress() {
	l := &lock.Lock{}
	for _, it := range s.found.items {
		l.Items = append(l.Items, *it)
	}
	has, models := s.carries(l), decide.CarriedModels(l)
	for i := range s.stack.Components {
		comp := &s.stack.Components[i]
		found := lint.WithoutModels(s.linted(comp.Name), models)
		out := lint.Decide(found, s.named(comp.Name), has, rules(comp))
		for _, x := range out.Settled {
			s.events.Emit(event.Event{
				Verb: verb, Kind: event.Info, Item: comp.Name, Message: settledText(comp.Name, x.Finding, x.Rule),
				Fields: map[string]any{"code": x.Finding.Code, "reason": x.Rule.Reason},
			})
		}
		for _, r := range out.Stale {
			if !isOfTheSite(r.Code) && !s.isShippedRule(i, r) {
				s.warn(comp.Name, fmt.Sprintf("component %s: allow of %s for %q matches nothing; take it out of %s", comp.Name, r.Code, r.Match, s.stackName()))
			}
		}
		s.reportOpen(i, out.Open)
	}
}

// settledText says what the stack allows.
func settledText(component string, f lint.Finding, rule lock.Allow) string {
	where := "component " + component
	if place := f.Place(); place != component {
		where += ": " + place
	}
	return fmt.Sprintf("%s: %s; allowed: %s", where, f.What, rule.Reason)
}

// stackName is what messages call the stack file.
func (s *session) stackName() string { return filepath.Base(s.stack.File().Name) }

// isShippedRule says whether a rule stands in a stack that comes with the program, where
// nobody can take it out.
func (s *session) isShippedRule(component int, rule lock.Allow) bool {
	j := slices.IndexFunc(s.stack.Components[component].Allow, func(a stack.Allow) bool {
		return a.Code == rule.Code && a.Match == rule.Match
	})
	return s.stack.Origin(fmt.Sprintf("components[%d].allow[%d]", component, j)).File.Shipped()
}

// isOfTheSite says whether what a code finds depends on the site, so that a rule
// about it may be needed although nothing is found here.
func isOfTheSite(code string) bool { return code == event.CodeLookup || code == event.CodeChance }

// reportOpen says what the stack does not allow, and makes a problem of each sort
// of it.
func (s *session) reportOpen(component int, open []lint.Finding) {
	name := s.stack.Components[component].Name
	at := stackField{field: fmt.Sprintf("components[%d]", component), what: "component " + name}
	for _, sort := range []struct {
		err error
		has func(code string) bool
	}{
		{ErrEgress, func(code string) bool { return !isOfTheSite(code) }},
		{ErrLookup, func(code string) bool { return code == event.CodeLookup }},
		{ErrChance, func(code string) bool { return code == event.CodeChance }},
	} {
		found := slices.DeleteFunc(slices.Clone(open), func(f lint.Finding) bool { return !sort.has(f.Code) })
		if n := s.speak(name, found); n > 0 {
			s.addProblem(at, fmt.Errorf("%w: %d of the findings above are not settled", sort.err, n))
		}
	}
}

func (s *session) linted(component string) []lint.Finding {
	found := slices.Clone(s.found.linted[component])
	slices.SortFunc(found, func(a, b lint.Finding) int {
		return cmp.Or(cmp.Compare(a.Template, b.Template), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Text, b.Text))
	})
	return found
}

// rules are what a component allows, as the lock has it.
func rules(comp *stack.Component) []lock.Allow {
	var out []lock.Allow
	for _, a := range comp.Allow {
		out = append(out, lock.Allow(a))
	}
	return out
}

// named are the places of a component where a string may name an image.
func (s *session) named(component string) []document.Site {
	var out []document.Site
	seen := map[lintKey]bool{}
	for _, x := range s.found.suspects {
		k := lintKey{template: x.site.Template, text: x.site.Ref, code: x.site.Path}
		if x.component != component || seen[k] {
			continue
		}
		seen[k] = true
		out = append(out, x.site)
	}
	slices.SortFunc(out, func(a, b document.Site) int {
		return cmp.Or(cmp.Compare(a.Template, b.Template), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Ref, b.Ref))
	})
	return out
}

// carries says of a reference whether its image is carried, or has a problem of
// its own already. A tag that an operator adds to counts where such an image is
// carried.
func (s *session) carries(l *lock.Lock) func(document.Site) bool {
	holds, extends := decide.Holds(l)
	return func(site document.Site) bool {
		ref, err := site.Image()
		if err != nil {
			return false
		}
		if holds(ref) || holdsModel(l, ref) || s.found.images[ref] != nil && !s.found.guesses[ref] {
			return true
		}
		return s.found.guesses[ref] && extends(ref)
	}
}

// holdsModel says whether the image of that name is a model of the lock.
func holdsModel(l *lock.Lock, ref imageref.Ref) bool {
	return slices.ContainsFunc(l.Items, func(it lock.Item) bool { return it.Kind == lock.Model && it.Ref == ref })
}

// speak says what is left and returns how many of it are errors.
func (s *session) speak(component string, open []lint.Finding) (failures int) {
	open, lacking := lint.MergeImages(open)
	for _, f := range open {
		finding := s.findingOf(component, f)
		if f.Warning {
			s.events.Emit(event.Event{Verb: verb, Kind: event.Warning, Item: finding.Item, Message: finding.What, Finding: finding})
			continue
		}
		failures++
		s.events.Emit(event.Event{Verb: verb, Kind: event.FindingKind, Item: finding.Item, Finding: finding})
	}
	if len(lacking) > 0 {
		s.events.Emit(event.Event{Verb: verb, Kind: event.FindingKind, Item: component, Finding: &event.Finding{
			Severity: event.Notice, Code: event.CodeEgressImage, Item: component,
			What:  fmt.Sprintf("component %s: these lines bring %s", component, countImages(len(lacking))),
			Hint:  fmt.Sprintf("put them under component %s in %s; what is no image, accept there with allow and a reason", component, s.stackName()),
			Paste: lint.ImageList(lacking),
		}})
	}
	return failures
}

func countImages(n int) string {
	if n == 1 {
		return "the image that is named and not carried"
	}
	return fmt.Sprintf("the %d images that are named and not carried", n)
}

// findingOf is an open finding of a component as an event. What brings an image is
// said once for all of them.
func (s *session) findingOf(component string, f lint.Finding) *event.Finding {
	out := &event.Finding{
		Severity: event.Error, Code: f.Code, Item: component, Why: f.Why, Hint: f.Advice(s.stackName()),
		What: fmt.Sprintf("component %s: %s: %s", component, f.Places(), f.What),
	}
	if f.Warning {
		out.Severity = event.Warn
	}
	if f.Code == event.CodeEgressImage {
		out.Item = f.Text
	}
	if f.ByList() {
		out.Why, out.Hint = "", ""
	}
	return out
}
