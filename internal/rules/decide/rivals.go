package decide

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/listing"
)

// maxRivals bounds how many objects a finding names.
const maxRivals = 5

// rivals are two renderings that make the same objects.
type rivals struct{ first, second Key }

// checkRivals finds objects that two renderings of the plan make. Namespaces may be
// several components', and definitions have a check of their own.
func (m *maker) checkRivals() {
	makers, shared := map[string]ownedPart{}, map[rivals][]string{}
	var order []rivals
	for _, p := range m.allParts() {
		if p.Hook || p.Name == "" || p.Defines != nil || p.Kind == "Namespace" && p.APIVersion == "v1" {
			continue
		}
		first, known := makers[p.identity()]
		if !known {
			makers[p.identity()] = p
		}
		if !known || first.made == p.made || p.saysTheSame(first) {
			continue
		}
		pair := rivals{first.made, p.made}
		if shared[pair] == nil {
			order = append(order, pair)
		}
		shared[pair] = append(shared[pair], p.String())
	}
	for _, pair := range order {
		m.reportRivals(pair, shared[pair])
	}
}

// identity tells objects of a cluster apart, whatever version they are written in.
func (p ownedPart) identity() string {
	group, _, grouped := strings.Cut(p.APIVersion, "/")
	if !grouped {
		group = ""
	}
	return strings.Join([]string{group, p.Kind, p.Namespace, p.Name}, "\x00")
}

// saysTheSame says whether two manifests of one component have the same object with the
// same content: applying both is applying one.
func (p ownedPart) saysTheSame(other ownedPart) bool {
	return rivals{other.made, p.made}.areManifests() && p.Content != "" && p.Content == other.Content
}

// areManifests says whether both are manifests of one component.
func (r rivals) areManifests() bool {
	return r.first.Component == r.second.Component && r.first.isManifest() && r.second.isManifest()
}

func (m *maker) reportRivals(pair rivals, objects []string) {
	slices.Sort(objects)
	if pair.areManifests() {
		m.addFinding(event.Finding{
			Severity: event.Warn, Code: event.CodeObjectTwice, Item: pair.second.Component,
			What: fmt.Sprintf("manifests %s and %s of component %s both have %s, and the two differ", pair.first.Name, pair.second.Name, pair.second.Component, listing.Some(objects, maxRivals)),
			Why:  "they are applied one after the other, so that only what the later one says stays",
			Hint: "leave the object out of one of the two",
		})
		return
	}
	m.addFinding(event.Finding{
		Severity: event.Error, Code: event.CodeObjectTwice, Item: pair.second.Component,
		What: fmt.Sprintf("%s and %s both make %s", pair.first.whose(), pair.second.whose(), listing.Some(objects, maxRivals)),
		Why:  "what one of them installed belongs to it, and the other one is refused",
		Hint: "turn it off in the values of one of them, or leave one of the two out",
	})
}

func (k Key) isManifest() bool { return strings.Contains(k.Name, "/") }

// whose says where a rendering comes from.
func (k Key) whose() string {
	if k.isManifest() {
		return fmt.Sprintf("component %s (manifest %s)", k.Component, k.Name)
	}
	return fmt.Sprintf("component %s (release %s)", k.Component, k.Name)
}

// checkDefiners finds custom resource definitions that several renderings bring and
// that do not say the same.
func (m *maker) checkDefiners() {
	first := map[string]ownedPart{}
	for _, p := range m.allParts() {
		if p.Defines == nil {
			continue
		}
		other, known := first[p.Name]
		if !known {
			first[p.Name] = p
		}
		if known && other.made != p.made && other.Defines.Content != p.Defines.Content {
			m.reportDefiners(other, p)
		}
	}
}

func (m *maker) reportDefiners(a, b ownedPart) {
	f := event.Finding{
		Severity: event.Warn, Code: event.CodeCRDTwice, Item: b.component,
		What: fmt.Sprintf("definition %s is brought by %s and by %s, and the two differ", b.Name, a.made.whose(), b.made.whose()),
		Why:  "the one that is applied last counts, for the objects of both",
		Hint: "turn the definition off in the values of one of them, or take versions of both that bring the same",
	}
	if !slices.Equal(sortedSet(a.Defines.Versions), sortedSet(b.Defines.Versions)) {
		f.Severity = event.Error
		f.What += fmt.Sprintf(": versions %s and %s", strings.Join(a.Defines.Versions, ", "), strings.Join(b.Defines.Versions, ", "))
		f.Why = "the one that is applied last counts, and objects in a version that it lacks are refused"
	}
	m.addFinding(f)
}
