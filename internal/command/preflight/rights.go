package preflight

import (
	"context"
	"strings"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
)

// verbsOf are what an installation does to each object, now or when it goes
// back.
var verbsOf = []string{"get", "create", "patch", "delete"}

// maxRules bounds the rights of one role that are asked for.
const maxRules = 500

// checkRights asks whether the operator may do what the plan does: exactly that.
func (sr *stateReader) checkRights(ctx context.Context) error {
	var list []kube.Right
	listed := map[kube.Right]bool{}
	add := func(r kube.Right, verbs ...string) {
		for _, v := range verbs {
			r.Verb = v
			if !listed[r] {
				listed[r] = true
				list = append(list, r)
			}
		}
	}
	add(kube.Right{Resource: "namespaces"}, "get", "create")
	add(kube.Right{Group: "coordination.k8s.io", Resource: "leases", Namespace: kube.SystemNamespace}, "get", "create", "update", "delete")
	add(kube.Right{Resource: "secrets", Namespace: kube.SystemNamespace}, "get", "list", "create", "update", "delete")
	for _, c := range sr.selection.Components {
		if len(c.Releases) > 0 {
			add(kube.Right{Resource: "secrets", Namespace: c.Namespace}, "get", "list", "create", "update", "delete")
		}
	}
	for _, p := range sr.pieces {
		if p.resource.Resource != "" {
			add(kube.Right{Group: p.resource.Group, Resource: p.resource.Resource, Namespace: p.part.Namespace}, verbsOf...)
		}
	}
	if err := sr.askRights(ctx, list); err != nil {
		return err
	}
	sr.noteLacking(list)
	return nil
}

// noteLacking writes down the refused rights, those of one resource together.
func (sr *stateReader) noteLacking(list []kube.Right) {
	verbs := map[kube.Right][]string{}
	var order []kube.Right
	for _, r := range list {
		if sr.answers[r] {
			continue
		}
		rest := r
		rest.Verb = ""
		if verbs[rest] == nil {
			order = append(order, rest)
		}
		verbs[rest] = append(verbs[rest], r.Verb)
	}
	for _, r := range order {
		words := lackingWords(verbs[r], r)
		sr.facts.Denied = append(sr.facts.Denied, words)
		if sr.facts.Cluster.Grants == nil {
			sr.facts.Cluster.Grants = map[string]string{}
		}
		sr.facts.Cluster.Grants[words] = grantCommand(verbs[r][0], r)
	}
}

// listedOver is for how many rights in a namespace the server is asked to list all that
// there are.
const listedOver = 5

// askGranted answers those rights in namespaces that the server lists.
func (sr *stateReader) askGranted(ctx context.Context, list []kube.Right) error {
	in := map[string][]kube.Right{}
	for _, r := range list {
		if _, known := sr.answerOf(r); !known && r.Namespace != "" {
			in[r.Namespace] = append(in[r.Namespace], r)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for namespace, rights := range in {
		if len(rights) <= listedOver {
			continue
		}
		g.Go(func() error {
			granted, err := sr.cluster.Granted(ctx, namespace)
			if err != nil {
				return ctx.Err() // each right is asked for then
			}
			sr.mu.Lock()
			defer sr.mu.Unlock()
			for _, r := range rights {
				if granted.Allows(r) {
					sr.answers[r] = true
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// askRights asks for the rights that were not asked for yet.
func (sr *stateReader) askRights(ctx context.Context, list []kube.Right) error {
	if err := sr.askGranted(ctx, list); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, r := range list {
		if _, known := sr.answerOf(r); known {
			continue
		}
		g.Go(func() error {
			ok, err := sr.cluster.Allowed(ctx, r)
			sr.mu.Lock()
			defer sr.mu.Unlock()
			sr.answers[r] = ok
			return err
		})
	}
	return g.Wait()
}

func (sr *stateReader) answerOf(r kube.Right) (allowed, known bool) {
	sr.mu.Lock()
	defer sr.mu.Unlock()
	allowed, known = sr.answers[r]
	return allowed, known
}

const rbacGroup = "rbac.authorization.k8s.io"

// findEscalations finds roles of the plan that give what the operator lacks, and
// bindings that lead to such.
func (sr *stateReader) findEscalations(ctx context.Context) error {
	if err := sr.askRights(ctx, sr.freeRights()); err != nil {
		return err
	}
	for _, p := range sr.pieces {
		if p.resource.Group != rbacGroup {
			continue
		}
		var err error
		switch p.part.Kind {
		case "Role", "ClusterRole":
			err = sr.checkEscalation(ctx, p, "escalate", p.part.Kind, p.part.Name, rulesOf(p.object))
		case "RoleBinding", "ClusterRoleBinding":
			err = sr.checkBinding(ctx, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func rulesOf(u *unstructured.Unstructured) []rbacv1.PolicyRule {
	var r rbacv1.ClusterRole // a Role has the same rules
	if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &r) != nil {
		return nil
	}
	return r.Rules
}

// freeRights are those that make it needless to look at what roles give, for all roles
// and bindings of the plan.
func (sr *stateReader) freeRights() []kube.Right {
	var out []kube.Right
	listed := map[kube.Right]bool{}
	for _, p := range sr.pieces {
		if p.resource.Group != rbacGroup {
			continue
		}
		verb, kind, name := "escalate", p.part.Kind, p.part.Name
		if strings.HasSuffix(kind, "Binding") {
			verb = "bind"
			kind, name = roleOf(p)
		}
		if r := freeRight(p, verb, kind, name); !listed[r] {
			listed[r] = true
			out = append(out, r)
		}
	}
	return out
}

// freeRight is the right to use verb on a role whatever it gives.
func freeRight(p *piece, verb, kind, name string) kube.Right {
	return kube.Right{Verb: verb, Group: rbacGroup, Resource: strings.ToLower(kind) + "s", Namespace: p.part.Namespace, Name: name}
}

// roleOf is the role that a binding leads to.
func roleOf(p *piece) (kind, name string) {
	kind, _, _ = unstructured.NestedString(p.object.Object, "roleRef", "kind")
	name, _, _ = unstructured.NestedString(p.object.Object, "roleRef", "name")
	return kind, name
}

func (sr *stateReader) checkBinding(ctx context.Context, p *piece) error {
	kind, name := roleOf(p)
	namespace := p.part.Namespace
	if kind == "ClusterRole" {
		namespace = ""
	}
	for _, q := range sr.pieces {
		if q.part.Kind == kind && q.part.Name == name && q.part.Namespace == namespace && q.resource.Group == rbacGroup {
			return sr.checkEscalation(ctx, p, "bind", kind, name, rulesOf(q.object))
		}
	}
	rules, err := sr.cluster.Rules(ctx, namespace, name)
	if err != nil {
		return sr.noteUnread(err, "read "+kind+" "+name)
	}
	return sr.checkEscalation(ctx, p, "bind", kind, name, rules)
}

// checkEscalation asks whether the operator may use verb on the role, or has all that
// its rules give.
func (sr *stateReader) checkEscalation(ctx context.Context, p *piece, verb, kind, name string, rules []rbacv1.PolicyRule) error {
	free := freeRight(p, verb, kind, name)
	if err := sr.askRights(ctx, []kube.Right{free}); err != nil {
		return err
	}
	if ok, _ := sr.answerOf(free); ok {
		return nil
	}
	given := rightsOf(rules, p.part.Namespace)
	if err := sr.askRights(ctx, given); err != nil {
		return err
	}
	var lacks []string
	for _, r := range given {
		if ok, _ := sr.answerOf(r); !ok {
			lacks = append(lacks, r.String())
		}
	}
	if len(lacks) > 0 {
		o := object.RefOf(p.object)
		o.Namespace = p.part.Namespace
		sr.facts.Cluster.Escalations = append(sr.facts.Cluster.Escalations, decide.EscalationFact{Role: o.String(), Rights: lacks, Verb: verb})
	}
	return nil
}

// rightsOf takes rules apart; maxRules of them are enough to tell.
func rightsOf(rules []rbacv1.PolicyRule, namespace string) []kube.Right {
	var out []kube.Right
	for _, r := range rules {
		for _, verb := range r.Verbs {
			for _, path := range r.NonResourceURLs {
				out = append(out, kube.Right{Verb: verb, Path: path})
			}
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					out = append(out, restrictToNames(kube.Right{Verb: verb, Group: group, Resource: resource, Namespace: namespace}, r.ResourceNames)...)
				}
			}
		}
		if len(out) > maxRules {
			return out[:maxRules]
		}
	}
	return out
}

func restrictToNames(r kube.Right, names []string) []kube.Right {
	if len(names) == 0 {
		return []kube.Right{r}
	}
	out := make([]kube.Right, len(names))
	for i, n := range names {
		out[i], out[i].Name = r, n
	}
	return out
}
