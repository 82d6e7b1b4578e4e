package preflight

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
)

// request is one thing that the API server will be asked to make, as webhooks
// see it.
type request struct {
	resource  schema.GroupVersionResource
	namespace string
	labels    map[string]string
	object    string // for people
	component string // that makes it; "" where several may
}

// findDeadWebhooks finds the ones that must answer for something of the plan and that
// do not: nobody is there to, or a creation on trial gets no answer.
func (sr *stateReader) findDeadWebhooks(ctx context.Context) error {
	list, err := sr.cluster.Webhooks(ctx)
	if err != nil {
		return sr.noteUnread(err, "list admission webhooks")
	}
	requests := sr.listRequests()
	var asked []decide.WebhookFact
	for _, w := range list {
		if !w.MustAnswer {
			continue
		}
		matches := sr.matchingRequests(w, requests)
		if len(matches) == 0 {
			continue
		}
		f, err := sr.webhookFact(ctx, w, matches)
		if err == nil {
			asked = append(asked, f)
		} else if err := sr.noteUnread(err, "read the services of admission webhooks"); err != nil {
			return err
		}
	}
	return sr.askWebhooks(ctx, asked)
}

// webhookFact is what is known of a webhook before it is asked.
func (sr *stateReader) webhookFact(ctx context.Context, w kube.Webhook, matches []string) (f decide.WebhookFact, err error) {
	f = decide.WebhookFact{
		Config: w.Config, Webhook: w.Name, Matches: matches, Conditional: w.Conditional,
		Ours: w.Service != "" && sr.bringsService(w), Component: sr.bringerOf(w.Config),
	}
	if w.Service != "" {
		f.Service = w.Namespace + "/" + w.Service
		f.Problem, err = sr.cluster.ServiceProblem(ctx, w.Namespace, w.Service)
	}
	return f, err
}

// askWebhooks asks those webhooks by a creation on trial that somebody may answer
// for, and notes all that do not.
func (sr *stateReader) askWebhooks(ctx context.Context, list []decide.WebhookFact) error {
	var configs []object.Ref
	for _, f := range list {
		kind, name, _ := strings.Cut(f.Config, " ")
		o := object.Ref{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: kind, Name: name}
		if f.Problem == "" && !slices.Contains(configs, o) {
			configs = append(configs, o)
		}
	}
	silent, err := sr.cluster.UnansweredWebhooks(ctx, configs, metav1.NamespaceDefault)
	if err != nil {
		return sr.noteUnread(err, "read admission webhooks")
	}
	for _, f := range list {
		for _, u := range silent {
			if f.Problem == "" && u.Webhook == f.Webhook && u.Config.Kind+" "+u.Config.Name == f.Config {
				f.Problem = "does not answer: " + u.Why
			}
		}
		if f.Problem != "" {
			sr.facts.Cluster.Webhooks = append(sr.facts.Cluster.Webhooks, f)
		}
	}
	return nil
}

// bringerOf is the component of the plan that brings a webhook configuration, or "".
func (sr *stateReader) bringerOf(config string) string {
	for _, p := range sr.pieces {
		if p.part.Kind+" "+p.part.Name == config && kube.IsWebhookConfiguration(object.RefOf(p.object)) {
			return p.component
		}
	}
	return ""
}

// bringsService says whether the plan has a webhook's service.
func (sr *stateReader) bringsService(w kube.Webhook) bool {
	return slices.ContainsFunc(sr.pieces, func(p *piece) bool {
		return p.part.Kind == "Service" && p.part.Namespace == w.Namespace && p.part.Name == w.Service
	})
}

// listRequests are what an installation makes: the pieces, their pods, namespaces
// and the records of releases.
func (sr *stateReader) listRequests() []request {
	var out []request
	pods, secrets := schema.GroupVersionResource{Version: "v1", Resource: "pods"}, schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	for _, p := range sr.pieces {
		o := object.RefOf(p.object)
		o.Namespace = p.part.Namespace
		if p.resource.Resource != "" {
			out = append(out, request{p.resource, p.part.Namespace, p.object.GetLabels(), o.String(), p.component})
		}
		if p.template != nil && p.part.Kind != "Pod" {
			out = append(out, request{pods, p.part.Namespace, p.template.Labels, "pods of " + o.String(), p.component})
		}
	}
	for _, name := range sr.usedNamespaces() {
		if _, there := sr.facts.Cluster.Spaces[name]; !there {
			out = append(out, request{schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}, name, map[string]string{corename: name}, "Namespace " + name, ""})
		}
		out = append(out, request{secrets, name, nil, "the records in namespace " + name, ""})
	}
	return out
}

const corename = "kubernetes.io/metadata.name"

// matchingRequests lists what of the requests a webhook is asked about.
func (sr *stateReader) matchingRequests(w kube.Webhook, requests []request) []string {
	spaces, objects := selectorOf(w.NamespaceSelector), selectorOf(w.ObjectSelector)
	var out []string
	for _, r := range requests {
		if !objects.Matches(labels.Set(r.labels)) || !sr.inSelected(spaces, r) || !coveredByRules(w.Rules, r) {
			continue
		}
		if !slices.Contains(out, r.object) {
			out = append(out, r.object)
		}
	}
	return out
}

// selectorOf takes one that cannot be read as matching everything.
func selectorOf(s *metav1.LabelSelector) labels.Selector {
	if s == nil {
		return labels.Everything()
	}
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Everything()
	}
	return out
}

// inSelected says whether a request's namespace is selected; what has none
// always is.
func (sr *stateReader) inSelected(s labels.Selector, r request) bool {
	if r.namespace == "" {
		return true
	}
	set := map[string]string{corename: r.namespace}
	maps.Copy(set, sr.planned[r.namespace])
	maps.Copy(set, sr.facts.Cluster.Spaces[r.namespace].Labels)
	return s.Matches(labels.Set(set))
}

// plannedLabels are those that the pieces give to namespaces, by name.
func plannedLabels(pieces []*piece) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, p := range pieces {
		if kube.IsNamespace(object.RefOf(p.object)) {
			out[p.part.Name] = p.object.GetLabels()
		}
	}
	return out
}

func coveredByRules(rules []admissionv1.RuleWithOperations, r request) bool {
	return slices.ContainsFunc(rules, func(rule admissionv1.RuleWithOperations) bool {
		return coversCreate(rule.Operations) && hasOrStar(rule.APIGroups, r.resource.Group) && hasOrStar(rule.APIVersions, r.resource.Version) &&
			coversResource(rule.Resources, r.resource.Resource) && coversScope(rule.Scope, r)
	})
}

func coversCreate(list []admissionv1.OperationType) bool {
	return slices.Contains(list, admissionv1.Create) || slices.Contains(list, admissionv1.OperationAll)
}

func hasOrStar(list []string, s string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, s)
}

func coversResource(list []string, resource string) bool {
	return slices.ContainsFunc(list, func(l string) bool { return l == "*" || l == "*/*" || l == resource })
}

func coversScope(s *admissionv1.ScopeType, r request) bool {
	free := r.namespace == "" || r.resource.Resource == "namespaces" && r.resource.Group == ""
	switch {
	case s == nil || *s == admissionv1.AllScopes:
		return true
	case *s == admissionv1.ClusterScope:
		return free
	}
	return !free
}

// lackingWords writes rights as people say them: "create, delete deployments.apps in
// namespace web".
func lackingWords(verbs []string, rest kube.Right) string {
	rest.Verb = strings.Join(verbs, ", ")
	return rest.String()
}

// grantCommand is the command that shows whether a right is there.
func grantCommand(verb string, r kube.Right) string {
	resource := r.Resource
	if r.Group != "" {
		resource += "." + r.Group
	}
	if r.Namespace != "" {
		resource += " -n " + r.Namespace
	}
	return fmt.Sprintf("kubectl auth can-i %s %s", verb, resource)
}
