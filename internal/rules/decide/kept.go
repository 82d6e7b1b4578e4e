package decide

import (
	"fmt"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
)

// checkKept finds a reference that stays as it is although the site rewrites: nodes
// need a mirror to find its image.
func (m *maker) checkKept(s document.Site, where, item string) {
	site := m.selection.site
	if !s.Kept || !site.Rewrites() || site.Mirrors() != "" {
		return
	}
	m.addFinding(event.Finding{
		Severity: event.Warn, Code: event.CodeReferenceKept, Item: item,
		What: fmt.Sprintf("%s names image %s over several keys of a text in %s, where it cannot be rewritten", where, s.Ref, locationOf(s)),
		Why:  "what reads the text pulls it under its upstream name, which no node of this site reaches",
		Hint: "set references: [mirror, rewrite] in the site file",
	})
}
