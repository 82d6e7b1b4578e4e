package decide

import (
	"slices"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
)

// checkLogins finds what keeps nodes from the site's registry.
func (m *maker) checkLogins() {
	for _, t := range m.facts.Logins {
		f := event.Finding{
			Severity: event.Error, Code: event.CodePullSecret,
			What: t.What(m.selection.site.Registry),
			Why:  "nodes could not pull any image",
			Hint: t.Hint(m.selection.site.Registry),
		}
		if t.Spare {
			f.Severity, f.Why = event.Warn, "the registry gives to anybody today; once it does not, nodes could not pull any image"
		}
		m.addFinding(f)
	}
}

// PullingNamespaces are those of the selected components that bring images, sorted.
func (s *Selection) PullingNamespaces() (out []string) {
	for _, c := range s.Components {
		brings := func(it *lock.Item) bool { return slices.Contains(it.Components, c.Component.Name) }
		if slices.ContainsFunc(s.imageItems(), brings) {
			out = append(out, c.Namespace)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
