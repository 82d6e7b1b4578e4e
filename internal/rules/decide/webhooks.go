package decide

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/event"
)

// orderByWebhooks lets a component come after another one whose webhooks must answer
// before its objects can be made: side by side, those are refused while the webhook
// starts. The order costs time and nothing else, so the plan takes it and says so. A
// component keeps its place where the other one comes after it anyway, or cannot do
// without it.
func (m *maker) orderByWebhooks() {
	changed, parts := false, m.allParts()
	for _, g := range m.facts.Cluster.Guards {
		for _, name := range slices.Sorted(maps.Keys(g.Guards)) {
			c := m.chosen(name)
			if c == nil || m.needsComponent(name, g.Component) || m.needsComponent(g.Component, name) || usesKindsOf(parts, g.Component, name) {
				continue
			}
			c.Component.Needs = sortedSet(append(slices.Clone(c.Component.Needs), g.Component))
			changed, m.needs = true, nil
			m.reportOrder(g, name)
		}
	}
	if changed {
		m.selection.orderComponents()
	}
}

func (m *maker) reportOrder(g GuardFact, component string) {
	m.addFinding(event.Finding{
		Severity: event.Notice, Code: event.CodeWebhookOrder, Item: component,
		What: fmt.Sprintf("component %s is installed after %s: webhook %s of %s must answer before %s can be made",
			component, g.Component, g.Webhook, g.Config, nameSeveral(g.Guards[component])),
		Why:  "the API server refuses what a webhook with failurePolicy Fail cannot judge, and it cannot while it starts",
		Hint: fmt.Sprintf("nothing; to say so in the stack as well, write needs: [%s] in component %s", g.Component, component),
	})
}

// chosen is the component of that name in the selection, or nil.
func (m *maker) chosen(name string) *Chosen {
	for i := range m.selection.Components {
		if c := &m.selection.Components[i]; c.Component.Name == name {
			return c
		}
	}
	return nil
}

// usesKindsOf says whether component a has objects of kinds that b defines.
func usesKindsOf(parts []ownedPart, a, b string) bool {
	kinds := map[string]bool{}
	for _, p := range parts {
		if p.component == b && p.Defines != nil {
			kinds[p.Defines.Group+"/"+p.Defines.Kind] = true
		}
	}
	return slices.ContainsFunc(parts, func(p ownedPart) bool {
		group, _, _ := strings.Cut(p.APIVersion, "/")
		return p.component == a && kinds[group+"/"+p.Kind]
	})
}

// checkWebhooks finds webhooks of the cluster that do not answer and must: one
// finding for each configuration.
func (m *maker) checkWebhooks() {
	var configs []string
	by := map[string][]WebhookFact{}
	for _, w := range m.facts.Cluster.Webhooks {
		if by[w.Config] == nil {
			configs = append(configs, w.Config)
		}
		by[w.Config] = append(by[w.Config], w)
	}
	for _, config := range configs {
		m.addFinding(unansweredFinding(by[config]))
	}
}

// unansweredFinding is about the webhooks of one configuration that do not answer.
func unansweredFinding(list []WebhookFact) event.Finding {
	first := list[0]
	var names, matches []string
	mild := true
	for _, w := range list {
		names, matches = append(names, w.Webhook), append(matches, w.Matches...)
		mild = mild && (w.Ours || w.Conditional || w.Component != "")
	}
	f := event.Finding{
		Severity: event.Error, Code: event.CodeWebhookUnanswered, Item: first.Component,
		What: fmt.Sprintf("webhook %s of %s must answer before %s can be made, and %s",
			nameSeveral(sortedSet(names)), first.Config, nameSeveral(sortedSet(matches)), first.trouble()),
		Why:  "the API server refuses what a webhook with failurePolicy Fail cannot judge",
		Hint: "bring its server back, or remove what is left of it: kubectl delete " + lowerKind(first.Config),
	}
	if mild {
		f.Severity = event.Warn
	}
	switch {
	case first.Component != "":
		f.Hint = fmt.Sprintf("component %[1]s of this stack brings it: look at its pods; if they do not come back, caisson install PLAN --component %[1]s",
			first.Component)
	case first.Ours:
		f.Hint = "the plan brings that service; if it does not come up, " + f.Hint
	}
	return f
}

// trouble says what is wrong with the way to a webhook.
func (w WebhookFact) trouble() string {
	if w.Service == "" {
		return "it " + w.Problem
	}
	return "its service " + w.Service + " " + w.Problem
}
