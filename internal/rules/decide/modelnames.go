package decide

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/event"
)

// nameModels gives each model of a lock a name, as a DNS label: the stack's, or the
// repository's where the lock is too old to say. Where several would have one name, which
// the stack allows in different components, each of them has a longer one: a site that
// names one of them must not come to another as soon as a model is added or left out.
func nameModels(l *lock.Lock) map[imageref.Ref]string {
	out, taken := map[imageref.Ref]string{}, map[string]bool{}
	var left []*lock.Item
	for i := range l.Items {
		if _, ok := lock.As[*lock.HubModel](&l.Items[i]); ok {
			left = append(left, &l.Items[i])
		}
	}
	for form := range nameForms {
		wanted := map[string]int{}
		for _, it := range left {
			wanted[modelName(it, form)]++
		}
		var again []*lock.Item
		for _, it := range left {
			name := modelName(it, form)
			if wanted[name] > 1 || taken[name] {
				again = append(again, it)
				continue
			}
			out[it.Ref], taken[name] = name, true
		}
		left = again
	}
	return out
}

// nameForms is how many forms a name can have; the last is of one reference alone.
const nameForms = 4

// modelName is the name that a model would have in one of the forms, each longer than the
// one before.
func modelName(it *lock.Item, form int) string {
	m, _ := lock.As[*lock.HubModel](it)
	name := cmp.Or(m.Name, it.Ref.Name())
	owner, _, _ := strings.Cut(m.Repository, "/")
	switch form {
	case 0:
		return site.DNSLabel(name)
	case 1:
		return site.DNSLabel(owner + "-" + it.Ref.Name())
	case 2:
		return site.DNSLabel(name + "-" + m.Commit[:min(7, len(m.Commit))])
	}
	return "model-" + digest.FromString(string(it.Ref)).Encoded()[:12]
}

// noteModelNames says of models what they are called where the stack's name is that of
// several.
func (s *Selection) noteModelNames() {
	asking := s.asking(lock.FactModels)
	if asking == "" {
		return
	}
	names := nameModels(s.lock)
	for _, it := range s.modelItems() {
		m, _ := lock.As[*lock.HubModel](it)
		short := modelName(it, 0)
		if names[it.Ref] == short {
			continue
		}
		s.told.found = append(s.told.found, event.Finding{
			Severity: event.Warn, Code: event.CodeModelName, Item: asking,
			What: fmt.Sprintf("model %s is called %s, as several models of the stack would be called %s",
				m.Repository, names[it.Ref], short),
			Why:  "values of the site and clients that say " + short + " reach none of them",
			Hint: "give each a name of its own under models in the stack and pack again, or say " + names[it.Ref],
		})
	}
}
