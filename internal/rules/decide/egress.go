package decide

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
	"github.com/caisson/caisson/internal/rules/lint"
)

// checkEgress reports what a rendering would fetch from outside the site, less what
// the stack accepts.
func (m *maker) checkEgress(c *Chosen, made Rendered, where string) {
	found, images := lint.WithoutModels(made.Egress, CarriedModels(m.selection.lock)), uncertain(made.Images)
	for i := range found {
		found[i].Template = m.writtenName(found[i].Template)
	}
	for i := range images {
		images[i].Template = m.writtenName(images[i].Template)
	}
	out := lint.Decide(found, images, m.carriesImage, c.Component.Allow)
	open, lacking := lint.MergeImages(out.Open)
	m.noteLacking(c.Component.Name, lacking)
	for _, f := range open {
		if f.Code != event.CodeEgressPullAlways || !m.selection.site.Rewrites() { // rewritten, it is no tag
			m.addFinding(egressFinding(f, where, c.Component.Name))
		}
	}
	for _, x := range out.Settled {
		m.addFinding(event.Finding{
			Severity: event.Notice, Code: x.Finding.Code, Item: c.Component.Name,
			What: fmt.Sprintf("%s: %s: %s", where, x.Finding.Place(), x.Finding.What), Why: "the stack allows it: " + x.Rule.Reason,
		})
	}
}

func egressFinding(f lint.Finding, where, item string) event.Finding {
	out := event.Finding{
		Severity: event.Error, Code: f.Code, Item: item,
		What: fmt.Sprintf("%s: %s: %s", where, f.Places(), f.What), Why: f.Why, Hint: f.Advice("the stack, and pack again"),
	}
	if f.ByList() {
		out.Why, out.Hint = "", ""
	}
	if f.Warning {
		out.Severity = event.Warn
	}
	return out
}

// noteLacking keeps images that a component names and the bundle lacks.
func (m *maker) noteLacking(component string, refs []string) {
	if m.lacking == nil {
		m.lacking = map[string][]string{}
	}
	m.lacking[component] = append(m.lacking[component], refs...)
}

// listLacking says, once for each component, which lines of the stack bring the
// images that the bundle lacks.
func (m *maker) listLacking() {
	for _, name := range slices.Sorted(maps.Keys(m.lacking)) {
		refs := sortedSet(m.lacking[name])
		if len(refs) == 0 {
			continue
		}
		m.addFinding(event.Finding{
			Severity: event.Notice, Code: event.CodeEgressImage, Item: name,
			What:  fmt.Sprintf("component %s: these lines bring the images that it names and the bundle lacks: %d", name, len(refs)),
			Hint:  fmt.Sprintf("put them under component %s in the stack and pack again; what is no image, accept there with allow and a reason", name),
			Paste: lint.ImageList(refs),
		})
	}
}

// uncertain are those sites of which only the lint speaks; what is certainly an
// image has a finding of its own.
func uncertain(images []document.Site) []document.Site {
	return slices.DeleteFunc(slices.Clone(images), func(s document.Site) bool { return s.Certainty == document.Certain })
}

// carriesImage says whether the bundle has the image, several that could be meant, or
// one to whose tag an operator adds.
func (m *maker) carriesImage(s document.Site) bool {
	ref, _ := s.Image()
	if it, _ := m.set.findItem(ref); it != nil || len(m.set.candidateRefs(ref)) > 0 || m.pulledAs(s) != "" {
		return true
	}
	base := m.selection.site.Registry.Base() + "/"
	if below, ok := strings.CutPrefix(s.Ref, base); ok {
		ref, _ = imageref.Parse(below)
	}
	return m.set.hasExtended(ref)
}

// pulledAs is what nodes pull where a site names a model of the bundle, by its own name or
// the one that it has at the site; "" where it names none.
func (m *maker) pulledAs(s document.Site) string {
	ref, _ := s.Image()
	for _, model := range m.selection.modelImages() {
		if ref == model.Ref || s.Ref == model.Site {
			return model.Site
		}
	}
	return ""
}

// writtenName is what the stack calls a template: of a manifest, the file's path or name.
func (m *maker) writtenName(template string) string { return cmp.Or(m.paths[template], template) }

// manifestPaths are what the stack calls manifests, by item.
func manifestPaths(l *lock.Lock) map[string]string {
	out := map[string]string{}
	for i := range l.Items {
		it := &l.Items[i]
		if f, ok := lock.As[*lock.RawFile](it); ok && it.Kind == lock.Manifest {
			out[string(it.Ref)] = f.Written()
		}
	}
	return out
}
