package preflight

import (
	"cmp"
	"context"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
)

// findGuards finds the webhooks that the plan itself brings and that must answer
// before another of its components can be made.
func (sr *stateReader) findGuards(context.Context) error {
	var requests map[string][]request // by component
	for _, p := range sr.pieces {
		if !kube.IsWebhookConfiguration(object.RefOf(p.object)) {
			continue
		}
		if requests == nil {
			requests = byComponent(sr.listRequests())
		}
		for _, w := range webhooksOf(p.object.Object) {
			if g := sr.guardOf(p, w, requests); g.Guards != nil {
				sr.facts.Cluster.Guards = append(sr.facts.Cluster.Guards, g)
			}
		}
	}
	slices.SortStableFunc(sr.facts.Cluster.Guards, func(a, b decide.GuardFact) int {
		return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.Config, b.Config), cmp.Compare(a.Webhook, b.Webhook))
	})
	return nil
}

// byComponent sorts requests by the component that alone makes them.
func byComponent(requests []request) map[string][]request {
	out := map[string][]request{}
	for _, r := range requests {
		if r.component != "" {
			out[r.component] = append(out[r.component], r)
		}
	}
	return out
}

// guardOf is what of other components one webhook of a piece is asked about.
func (sr *stateReader) guardOf(p *piece, w kube.Webhook, requests map[string][]request) decide.GuardFact {
	g := decide.GuardFact{Component: p.component, Config: p.part.Kind + " " + p.part.Name, Webhook: w.Name}
	for component, list := range requests {
		if component == p.component {
			continue
		}
		if matches := sr.matchingRequests(w, list); len(matches) > 0 {
			if g.Guards == nil {
				g.Guards = map[string][]string{}
			}
			g.Guards[component] = matches
		}
	}
	return g
}

// webhooksOf are the webhooks of a configuration that must answer.
func webhooksOf(config map[string]any) (out []kube.Webhook) {
	var c admissionv1.ValidatingWebhookConfiguration // mutating ones have the same fields, and more
	if runtime.DefaultUnstructuredConverter.FromUnstructured(config, &c) != nil {
		return nil
	}
	for _, w := range c.Webhooks {
		if w.FailurePolicy == nil || *w.FailurePolicy == admissionv1.Fail {
			out = append(out, kube.Webhook{
				Name: w.Name, MustAnswer: true, Rules: w.Rules,
				NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector,
			})
		}
	}
	return out
}
