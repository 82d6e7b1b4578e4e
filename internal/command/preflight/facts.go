package preflight

import (
	"context"
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/rules/decide"
)

// gatherFacts collects the facts a plan is made from.
func gatherFacts(ctx context.Context, c *kube.Client, r registry.Presence, s *decide.Selection, reg site.Registry) (decide.Facts, error) {
	f := decide.Facts{Server: c.Server()}
	var err error
	if f.UID, err = c.UID(ctx); err != nil {
		return f, err
	}
	if f.Version, err = c.Version(); err != nil {
		return f, err
	}
	v, err := c.Overview(ctx)
	if err != nil {
		return f, err
	}
	takeOverview(&f, v)
	if f.Releases, err = listReleases(ctx, c, s, &f); err != nil {
		return f, err
	}
	if f.Registry, err = askRegistry(ctx, r, s, reg); err != nil {
		return f, err
	}
	f.Logins, err = checkLogins(ctx, c, r, s, reg, f.Registry)
	return f, err
}

// takeOverview takes over what the cluster says of itself.
func takeOverview(f *decide.Facts, v kube.Overview) {
	f.StorageClasses, f.DefaultClass, f.CRDs = v.StorageClasses, v.DefaultClass, v.CRDs
	if f.StorageClasses == nil && !slices.Contains(v.Unread, kube.ListStorageClasses) {
		f.StorageClasses = []string{}
	}
	f.Denied = v.Unread
	f.Cluster.Spaces = map[string]decide.SpaceFact{}
	for i := range v.Namespaces {
		ns := &v.Namespaces[i]
		f.Namespaces = append(f.Namespaces, ns.Name)
		f.Cluster.Spaces[ns.Name] = decide.SpaceFact{Name: ns.Name, Terminating: ns.DeletionTimestamp != nil, Labels: ns.Labels, Enforce: ns.Labels["pod-security.kubernetes.io/enforce"]}
	}
	for i := range v.Nodes {
		n := nodeFact(&v.Nodes[i])
		f.Cluster.Nodes = append(f.Cluster.Nodes, n)
		f.Platforms = append(f.Platforms, n.Platform)
	}
	slices.Sort(f.Platforms)
	f.Platforms = slices.Compact(f.Platforms)
}

// nodeFact reduces a node to what the checks look at.
func nodeFact(n *corev1.Node) decide.NodeFact {
	f := decide.NodeFact{
		Name: n.Name, Platform: kube.Platform(n), Runtime: n.Status.NodeInfo.ContainerRuntimeVersion, Cordoned: n.Spec.Unschedulable,
	}
	disk := n.Status.Allocatable[corev1.ResourceEphemeralStorage]
	f.Disk = disk.Value()
	for _, c := range n.Status.Conditions {
		good := corev1.ConditionFalse
		if c.Type == corev1.NodeReady {
			good = corev1.ConditionTrue
			f.Ready = c.Status == good && !f.Cordoned
		}
		if c.Status != good && wellKnown(c.Type) {
			f.Problems = append(f.Problems, strings.TrimSuffix(string(c.Type)+" is "+string(c.Status)+": "+c.Message, ": "))
		}
	}
	return f
}

// wellKnown are the conditions of which it is known what is good.
func wellKnown(t corev1.NodeConditionType) bool {
	switch t {
	case corev1.NodeReady, corev1.NodeDiskPressure, corev1.NodeMemoryPressure, corev1.NodePIDPressure, corev1.NodeNetworkUnavailable:
		return true
	}
	return false
}

// listReleases lists what exists in the namespaces of the selection.
func listReleases(ctx context.Context, c *kube.Client, s *decide.Selection, f *decide.Facts) ([]decide.ReleaseFact, error) {
	var out []decide.ReleaseFact
	seen := map[string]bool{}
	for _, chosen := range s.Components {
		if seen[chosen.Namespace] {
			continue
		}
		seen[chosen.Namespace] = true
		engine := helm.NewEngine(c, chosen.Namespace, helm.Pulls{}, nil)
		ours, err := engine.Releases(ctx)
		if kube.Forbidden(err) {
			continue // named among the rights
		}
		if err != nil {
			return nil, err
		}
		for _, r := range ours {
			current, err := engine.Values(ctx, r.Name)
			if err != nil && !errors.Is(err, helm.ErrNoRelease) {
				return nil, err
			}
			deployed := err == nil
			out = append(out, decide.ReleaseFact{
				Namespace: chosen.Namespace, Name: r.Name, Revision: r.Revision, Status: r.Status,
				Chart: r.Labels[helm.LabelChart], Values: r.Labels[helm.LabelValues], Images: r.Labels[helm.LabelImages], Current: current, Deployed: deployed,
			})
		}
		foreign, err := c.ForeignReleases(ctx, chosen.Namespace)
		if kube.Forbidden(err) {
			f.Cluster.Unread = append(f.Cluster.Unread, "list the releases of Helm in namespace "+chosen.Namespace)
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, name := range foreign {
			out = append(out, decide.ReleaseFact{Namespace: chosen.Namespace, Name: name, Foreign: true})
		}
	}
	return out, nil
}

// askRegistry asks the registry for every manifest of the selection. A registry that
// does not answer is a fact, not an error.
func askRegistry(ctx context.Context, r registry.Presence, s *decide.Selection, reg site.Registry) (decide.RegistryFacts, error) {
	checks := s.Checks()
	if len(checks) == 0 {
		return decide.RegistryFacts{}, nil
	}
	var err error
	if r == nil {
		if r, err = registry.DialSite(reg); err != nil {
			return decide.RegistryFacts{}, err
		}
	}
	has, err := registry.AskPresence(ctx, r, checks)
	if ctx.Err() != nil {
		return decide.RegistryFacts{}, ctx.Err()
	}
	f := decide.RegistryFacts{Has: has}
	if err != nil {
		f.Problem = err.Error()
	}
	return f, nil
}
