package decide

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
)

// checkReady finds conditions about objects that the plan makes in another namespace than
// the condition's.
func (m *maker) checkReady() {
	parts := m.allParts()
	for _, c := range m.selection.Components {
		for _, r := range withNamespaces(c.Component.Ready, c.Namespace) {
			places := placesOf(parts, r)
			if len(places) == 0 || slices.Contains(places, r.Namespace) || slices.Contains(places, "") {
				continue
			}
			m.addFinding(event.Finding{
				Severity: event.Warn, Code: event.CodeReadyElsewhere, Item: c.Component.Name,
				What: fmt.Sprintf("component %s is ready when %s %s is, in namespace %s; the plan makes it in %s",
					c.Component.Name, r.Kind, r.Name, r.Namespace, strings.Join(places, ", ")),
				Why:  "an installation waits for it until its time is over",
				Hint: fmt.Sprintf("write in the stack: ready: - {kind: %s, name: %s, namespace: %s}, and pack again", r.Kind, r.Name, places[0]),
			})
		}
	}
}

// placesOf are the namespaces in which parts are what a condition names; "" for a part that has
// none.
func placesOf(parts []ownedPart, r lock.Condition) []string {
	var out []string
	for _, p := range parts {
		named := p.Kind == r.Kind && p.Name == r.Name && !p.Hook
		if named && (r.APIVersion == "" || p.APIVersion == r.APIVersion) && !slices.Contains(out, p.Namespace) {
			out = append(out, p.Namespace)
		}
	}
	return out
}
