package decide

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/caisson/caisson/internal/event"
)

// checkDefinitions looks at custom resource definitions that are there already.
func (m *maker) checkDefinitions() {
	type definer struct{ component, name string }
	bring := map[definer]ownedPart{}
	for _, p := range m.allParts() {
		if p.Defines != nil {
			bring[definer{p.component, p.Name}] = p
			bring[definer{"", p.Name}] = p
		}
	}
	for _, d := range m.facts.Cluster.Definitions {
		if p, ok := bring[definer{d.Owner, d.Name}]; ok {
			m.checkDefinition(d, p)
		}
	}
}

func (m *maker) checkDefinition(d DefinitionFact, p ownedPart) {
	for _, v := range d.Stored {
		if !slices.Contains(p.Defines.Versions, v) {
			m.addFinding(event.Finding{
				Severity: event.Error, Code: event.CodeCRDVersionLost, Item: p.component,
				What: fmt.Sprintf("objects of %s lie in the cluster as version %s, which the definition in %s no longer has", d.Name, v, p.location()),
				Why:  "the API server refuses a definition that leaves stored objects unreadable",
				Hint: fmt.Sprintf("write those objects anew in a version that stays (kube-storage-version-migrator), then take %s out of status.storedVersions of crd %s", v, d.Name),
			})
		}
	}
	if d.Keeper == "" && d.Refused == "" {
		return
	}
	f := event.Finding{
		Severity: event.Warn, Code: event.CodeCRDForeign, Item: p.component,
		What: fmt.Sprintf("definition %s is there and kept by %s", d.Name, cmp.Or(d.Keeper, "somebody else")),
		Why:  "two that keep one definition overwrite each other, and it goes, with all its objects, when the other is removed",
		Hint: "leave the component out in the site file, or its definitions in its values; or remove the other first",
	}
	if d.Refused != "" {
		f.Severity = event.Error
		f.Why = "it cannot be changed without taking it from them: " + d.Refused
	}
	m.addFinding(f)
}

// checkTaken finds objects of the plan that exist and belong to somebody else.
func (m *maker) checkTaken() {
	for _, t := range m.facts.Cluster.Taken {
		f := event.Finding{
			Severity: event.Error, Code: event.CodeObjectExists, Item: t.Component,
			What: fmt.Sprintf("%s (%s) is there already and kept by %s", t.Object, t.Place, cmp.Or(t.Keeper, "somebody else")),
			Why:  "a release takes over nothing that is not its own",
			Hint: "look with: kubectl get " + t.Resource + inFlag(t.Namespace) + " " + t.Name + " -o yaml; remove or rename it, or leave the component out in the site file",
		}
		if !t.Release {
			f.Why = "it cannot be changed without taking it from them: " + t.Refused
			if t.Refused == "" {
				f.Severity, f.Why = event.Warn, "what is missing is added to it, and removing the component leaves it to neither"
			}
		}
		m.addFinding(f)
	}
}
