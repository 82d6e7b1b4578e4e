package survey

import (
	"context"

	"github.com/caisson/caisson/internal/helm"
	"github.com/caisson/caisson/internal/kube"
	"github.com/caisson/caisson/internal/plan"
	"github.com/caisson/caisson/internal/presence"
)

// gather collects the facts a plan is made from.
func gather(ctx context.Context, c *kube.Client, r presence.Registry, s *plan.Selection, reg plan.Registry) (plan.Facts, error) {
	f := plan.Facts{Server: c.Server()}
	var err error
	if f.UID, err = c.UID(ctx); err != nil {
		return f, err
	}
	if f.Version, err = c.Version(); err != nil {
		return f, err
	}
	inventory, err := c.Inventory(ctx)
	if err != nil {
		return f, err
	}
	f.Platforms, f.Namespaces, f.CRDs = inventory.Platforms, inventory.Namespaces, inventory.CRDs
	f.StorageClasses, f.DefaultClass = inventory.StorageClasses, inventory.DefaultClass
	if f.Releases, err = releases(ctx, c, s); err != nil {
		return f, err
	}
	if f.Denied, err = denied(ctx, c, s); err != nil {
		return f, err
	}
	if ref := reg.PullSecretRef; ref != nil && ref.Namespace != "" {
		if _, err := c.PullSecret(ctx, ref.Namespace, ref.Name); err != nil {
			f.PullSecret = err.Error()
		}
	}
	f.Registry, err = ask(ctx, r, s, reg)
	return f, err
}

// releases lists what exists in the namespaces of the selection.
func releases(ctx context.Context, c *kube.Client, s *plan.Selection) ([]plan.ReleaseFact, error) {
	var out []plan.ReleaseFact
	seen := map[string]bool{}
	for _, chosen := range s.Components {
		if seen[chosen.Namespace] {
			continue
		}
		seen[chosen.Namespace] = true
		ours, err := helm.NewEngine(c, chosen.Namespace, helm.Pulls{}, nil).Releases(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range ours {
			out = append(out, plan.ReleaseFact{
				Namespace: chosen.Namespace, Name: r.Name, Revision: r.Revision, Status: r.Status,
				Chart: r.Labels[helm.LabelChart], Values: r.Labels[helm.LabelValues], Images: r.Labels[helm.LabelImages],
			})
		}
		foreign, err := c.ForeignReleases(ctx, chosen.Namespace)
		if err != nil {
			return nil, err
		}
		for _, name := range foreign {
			out = append(out, plan.ReleaseFact{Namespace: chosen.Namespace, Name: name, Foreign: true})
		}
	}
	return out, nil
}

// denied lists the basic rights of an installation that the operator lacks.
func denied(ctx context.Context, c *kube.Client, s *plan.Selection) ([]string, error) {
	var rights []kube.Right
	for _, verb := range []string{"get", "create", "patch", "delete"} {
		rights = append(rights,
			kube.Right{Verb: verb, Resource: "namespaces"},
			kube.Right{Verb: verb, Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"},
			kube.Right{Verb: verb, Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
			kube.Right{Verb: verb, Group: "coordination.k8s.io", Resource: "leases", Namespace: kube.SystemNamespace},
			kube.Right{Verb: verb, Resource: "secrets", Namespace: kube.SystemNamespace},
		)
	}
	seen := map[string]bool{}
	for _, chosen := range s.Components {
		if seen[chosen.Namespace] {
			continue
		}
		seen[chosen.Namespace] = true
		rights = append(rights, inNamespace(chosen.Namespace)...)
	}
	return c.Denied(ctx, rights)
}

func inNamespace(namespace string) []kube.Right {
	var out []kube.Right
	for _, verb := range []string{"get", "create", "patch", "delete"} {
		for _, r := range []kube.Right{
			{Resource: "secrets"}, {Resource: "configmaps"}, {Resource: "services"}, {Resource: "serviceaccounts"},
			{Group: "apps", Resource: "deployments"}, {Group: "apps", Resource: "statefulsets"}, {Group: "apps", Resource: "daemonsets"},
			{Group: "batch", Resource: "jobs"}, {Group: "rbac.authorization.k8s.io", Resource: "roles"},
		} {
			r.Verb, r.Namespace = verb, namespace
			out = append(out, r)
		}
	}
	return out
}

// ask asks the registry for every manifest of the selection. A registry that
// does not answer is a fact, not an error.
func ask(ctx context.Context, r presence.Registry, s *plan.Selection, reg plan.Registry) (plan.RegistryFacts, error) {
	checks := s.Checks()
	if len(checks) == 0 {
		return plan.RegistryFacts{}, nil
	}
	var err error
	if r == nil {
		if r, err = presence.Dial(reg); err != nil {
			return plan.RegistryFacts{}, err
		}
	}
	has, err := presence.Ask(ctx, r, checks)
	if ctx.Err() != nil {
		return plan.RegistryFacts{}, ctx.Err()
	}
	f := plan.RegistryFacts{Has: has}
	if err != nil {
		f.Problem = err.Error()
	}
	return f, nil
}
