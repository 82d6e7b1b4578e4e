package decide

import (
	"fmt"
	"strings"

	"github.com/caisson/caisson/internal/event"
)

// checkStorage holds what the site and volumes ask for against the storage classes.
func (m *maker) checkStorage() {
	if m.facts.StorageClasses == nil {
		return
	}
	parts := m.allParts()
	known := map[string]bool{}
	for _, c := range m.facts.StorageClasses {
		known[c] = true
	}
	for _, p := range parts {
		if p.Kind == "StorageClass" {
			known[p.Name] = true
		}
	}
	m.checkSiteClass(known)
	for _, p := range parts {
		for _, c := range p.Claims {
			m.checkClaim(p, c, known)
		}
	}
}

// waitsForClass is why a volume needs its storage class.
const waitsForClass = "the volume is never made, and the pod waits for it without end"

// classChoices says which storage classes there are.
func (m *maker) classChoices() string {
	if len(m.facts.StorageClasses) == 0 {
		return "the cluster has none: install a storage provisioner"
	}
	return "the cluster has: " + strings.Join(m.facts.StorageClasses, ", ")
}

// checkSiteClass holds the class that the site file names against those known.
func (m *maker) checkSiteClass(known map[string]bool) {
	class := m.selection.site.StorageClass
	if class == "" || known[class] {
		return
	}
	m.addFinding(event.Finding{
		Severity: event.Error, Code: event.CodeNoStorageClass,
		What: fmt.Sprintf("the site file names storage class %s, which the cluster does not have", class), Why: waitsForClass,
		Hint: "correct storageClass in the site file; " + m.classChoices(),
	})
}

func (m *maker) checkClaim(p ownedPart, c Claim, known map[string]bool) {
	switch {
	case p.Exists:
	case c.Class == nil && m.facts.DefaultClass == "":
		m.addFinding(event.Finding{
			Severity: event.Error, Code: event.CodeNoDefaultStorageClass, Item: p.component,
			What: fmt.Sprintf("%s (%s) asks for a volume of the default storage class, and the cluster has no default",
				p, p.location()),
			Why: waitsForClass,
			Hint: "mark one: kubectl annotate storageclass NAME storageclass.kubernetes.io/is-default-class=true; " +
				m.classChoices(),
		})
	case c.Class != nil && *c.Class != "" && !known[*c.Class]:
		m.addFinding(event.Finding{
			Severity: event.Error, Code: event.CodeNoStorageClass, Item: p.component,
			What: fmt.Sprintf("%s (%s) asks for a volume of storage class %s, which the cluster does not have",
				p, p.location(), *c.Class),
			Why:  waitsForClass,
			Hint: "name another in the component's values in the site file; " + m.classChoices(),
		})
	}
}
