package decide

import (
	"fmt"
	"strings"

	"github.com/caisson/caisson/internal/event"
)

// checkStorage holds what volumes ask for against the storage classes.
func (m *maker) checkStorage() {
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
	for _, p := range parts {
		for _, c := range p.Claims {
			m.checkClaim(p, c, known)
		}
	}
}

func (m *maker) checkClaim(p ownedPart, c Claim, known map[string]bool) {
	if p.Exists || (m.facts.StorageClasses == nil && m.facts.Cluster.Nodes == nil) {
		return
	}
	choices := "the cluster has none: install a storage provisioner"
	if len(m.facts.StorageClasses) > 0 {
		choices = "the cluster has: " + strings.Join(m.facts.StorageClasses, ", ")
	}
	why := "the volume is never made, and the pod waits for it without end"
	switch {
	case c.Class == nil && m.facts.DefaultClass == "":
		m.addFinding(event.Finding{
			Severity: event.Error, Code: event.CodeNoDefaultStorageClass, Item: p.component,
			What: fmt.Sprintf("%s (%s) asks for a volume of the default storage class, and the cluster has no default", p, p.location()), Why: why,
			Hint: "mark one: kubectl annotate storageclass NAME storageclass.kubernetes.io/is-default-class=true; " + choices,
		})
	case c.Class != nil && *c.Class != "" && !known[*c.Class]:
		m.addFinding(event.Finding{
			Severity: event.Error, Code: event.CodeNoStorageClass, Item: p.component,
			What: fmt.Sprintf("%s (%s) asks for a volume of storage class %s, which the cluster does not have", p, p.location(), *c.Class), Why: why,
			Hint: "name another in the component's values in the site file; " + choices,
		})
	}
}
