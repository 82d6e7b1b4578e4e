package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
)

// atOnce bounds requests side by side.
const atOnce = 8

// stateReader reads what the cluster has that matters to the rendered pieces.
type stateReader struct {
	cluster   *kube.Client
	stack     string
	selection *decide.Selection
	pieces    []*piece
	facts     *decide.Facts
	known     map[string]bool // definitions that exist
	nodes     int64
	planned   map[string]map[string]string // labels of namespaces that are pieces

	mu      sync.Mutex
	answers map[kube.Right]bool
}

// readClusterState renders the selection for the cluster and adds to the facts
// what the cluster has that matters to it.
func readClusterState(
	ctx context.Context, from source, c *kube.Client, s *decide.Selection, stack string, f *decide.Facts,
) (*renderings, error) {
	apis, err := c.APIVersions()
	if err != nil {
		return nil, err
	}
	f.APIVersions = apis
	from.cluster, from.stack, from.version, from.apis, from.there = c, stack, f.Version, apis, f.Releases
	made, err := from.render(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := findBreaches(made.pieces, f.Version); err != nil {
		return nil, made.askers.hideError(err)
	}
	f.Cluster.Serves = setOf(apis)
	sr := &stateReader{
		cluster: c, stack: stack, selection: s, pieces: made.pieces, facts: f,
		known: setOf(f.CRDs), nodes: int64(len(f.Cluster.Nodes)),
	}
	if err := sr.readAll(ctx); err != nil {
		return nil, made.askers.hideError(err)
	}
	sr.handOutParts(made.made)
	return made, nil
}

func setOf(list []string) map[string]bool {
	out := map[string]bool{}
	for _, s := range list {
		out[s] = true
	}
	return out
}

// readAll locates the pieces and gathers what the checks of plan want to know of
// the cluster.
func (sr *stateReader) readAll(ctx context.Context) error {
	sr.answers = map[kube.Right]bool{}
	sr.facts.Cluster.User = sr.cluster.Identity().User
	sr.locatePieces()
	markDefiners(sr.pieces)
	markTwins(sr.pieces)
	sr.planned = plannedLabels(sr.pieces)
	for _, step := range []func(context.Context) error{sr.readClock, sr.inSpaces, sr.findExisting, sr.readDefinitions, sr.findGuards, sr.findDeadWebhooks, sr.checkRights, sr.findEscalations} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// noteUnread notes what the operator may not look at; any other error stays one.
func (sr *stateReader) noteUnread(err error, what string) error {
	if !kube.Forbidden(err) {
		return err
	}
	if f := &sr.facts.Cluster; !slices.Contains(f.Unread, what) {
		f.Unread = append(f.Unread, what)
	}
	return nil
}

// locatePieces finds the resource and namespace of every piece, from the cluster or
// from the plan's own definitions.
func (sr *stateReader) locatePieces() {
	brought := map[schema.GroupKind]*unstructured.Unstructured{}
	for _, p := range sr.pieces {
		if d := p.part.Defines; d != nil {
			brought[schema.GroupKind{Group: d.Group, Kind: d.Kind}] = p.object
		}
	}
	for _, p := range sr.pieces {
		gvk := p.object.GroupVersionKind()
		namespaced := true
		if resource, scoped, err := sr.cluster.Resource(gvk); err == nil {
			p.resource, p.served, namespaced = resource, true, scoped
		} else if crd := brought[gvk.GroupKind()]; crd != nil {
			plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
			scope, _, _ := unstructured.NestedString(crd.Object, "spec", "scope")
			p.resource, namespaced = gvk.GroupVersion().WithResource(plural), scope != "Cluster"
		}
		p.settleNamespace(namespaced, sr.nodes)
	}
}

// settleNamespace fills in what depends on where the piece lives.
func (p *piece) settleNamespace(namespaced bool, nodes int64) {
	switch {
	case !namespaced:
		p.part.Namespace = ""
	case p.part.Namespace == "":
		p.part.Namespace = p.namespace
	}
	if p.part.Copies == decide.EveryNode {
		p.part.Copies = nodes
	}
	for i := range p.part.Claims {
		if p.part.Claims[i].Count == decide.EveryNode {
			p.part.Claims[i].Count = nodes
		}
	}
	p.part.Resource = resourceName(p.resource)
	if name := p.resource.Resource; name != "" && namespaced {
		p.part.Counts = countedNames(p.resource, p.object)
	}
}

// countedNames are the names under which quotas count an object.
func countedNames(r schema.GroupVersionResource, u *unstructured.Unstructured) []string {
	if r.Group != "" {
		return []string{"count/" + r.Resource + "." + r.Group}
	}
	out := []string{"count/" + r.Resource}
	switch r.Resource {
	case "pods": // its copies are counted
		return nil
	case "services":
		switch kind, _, _ := unstructured.NestedString(u.Object, "spec", "type"); kind {
		case "LoadBalancer":
			out = append(out, "services.loadbalancers", "services.nodeports")
		case "NodePort":
			out = append(out, "services.nodeports")
		}
	case "configmaps", "secrets", "persistentvolumeclaims", "replicationcontrollers":
	default:
		return out
	}
	return append(out, r.Resource)
}

func (sr *stateReader) readClock(ctx context.Context) (err error) {
	sr.facts.Cluster.Skew, err = sr.cluster.Skew(ctx)
	return err
}

// usedNamespaces are those that the plan uses, sorted.
func (sr *stateReader) usedNamespaces() []string {
	out := []string{kube.SystemNamespace}
	for _, c := range sr.selection.Components {
		out = append(out, c.Namespace)
	}
	for _, p := range sr.pieces {
		if p.part.Namespace != "" {
			out = append(out, p.part.Namespace)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// inSpaces reads quotas and limits of the namespaces that exist.
func (sr *stateReader) inSpaces(ctx context.Context) error {
	used := sr.usedNamespaces()
	for _, name := range used {
		s, there := sr.facts.Cluster.Spaces[name]
		if !there {
			continue
		}
		quotas, ranges, err := sr.cluster.Quotas(ctx, name)
		if err != nil {
			if err := sr.noteUnread(err, "list resource quotas and limit ranges in namespace "+name); err != nil {
				return err
			}
			continue
		}
		for _, q := range quotas {
			if len(q.Spec.Scopes) == 0 && q.Spec.ScopeSelector == nil { // others hold for some pods only
				s.Quotas = append(s.Quotas, decide.QuotaFact{Name: q.Name, Hard: amounts(q.Spec.Hard), Used: amounts(q.Status.Used)})
			}
		}
		for _, r := range ranges {
			for _, l := range r.Spec.Limits {
				if l.Type == corev1.LimitTypeContainer {
					s.Ranges = append(s.Ranges, decide.RangeFact{Name: r.Name, Requests: amounts(l.DefaultRequest), Limits: amounts(l.Default), Min: amounts(l.Min), Max: amounts(l.Max)})
				}
			}
		}
		sr.facts.Cluster.Spaces[name] = s
	}
	for name := range sr.facts.Cluster.Spaces {
		if _, found := slices.BinarySearch(used, name); !found {
			delete(sr.facts.Cluster.Spaces, name)
		}
	}
	return nil
}

// findExisting looks for objects of the plan that are there already, and whose they
// are.
func (sr *stateReader) findExisting(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, p := range sr.pieces {
		if !p.served || p.part.Name == "" || p.part.Defines != nil || !sr.namespaceExists(p.part.Namespace) {
			continue
		}
		g.Go(func() error { return sr.checkExisting(ctx, p) })
	}
	err := g.Wait()
	slices.SortFunc(sr.facts.Cluster.Taken, func(x, y decide.TakenFact) int { return strings.Compare(x.Object, y.Object) })
	return err
}

// namespaceExists says whether a namespace can hold anything yet.
func (sr *stateReader) namespaceExists(namespace string) bool {
	_, ok := sr.facts.Cluster.Spaces[namespace]
	return ok || namespace == "" || len(sr.facts.Namespaces) == 0 // they could not be listed
}

func (sr *stateReader) checkExisting(ctx context.Context, p *piece) error {
	labels, annotations, err := sr.cluster.Marks(ctx, p.resource, p.part.Namespace, p.part.Name)
	if kube.Absent(err) || kube.Forbidden(err) {
		return nil // what may not be read is named among the rights
	}
	if err != nil {
		return fmt.Errorf("looking for %s: %w", object.RefOf(p.object), err)
	}
	p.part.Exists = true
	if p.hook || sr.isOwn(p, annotations) {
		return nil
	}
	o := object.RefOf(p.object)
	o.Namespace = p.part.Namespace
	t := decide.TakenFact{
		Component: p.component, Object: o.String(), Place: fmt.Sprintf("%s line %d", p.part.Template, p.part.Line), Keeper: kube.Keeper(labels, annotations),
		Release: p.release != "", Resource: strings.TrimSuffix(p.resource.GroupResource().String(), "."), Namespace: o.Namespace, Name: o.Name,
	}
	if !t.Release {
		t.Refused, err = sr.tryPiece(ctx, p)
	}
	if err != nil || (!t.Release && t.Refused == "" && t.Keeper == "") {
		return err
	}
	sr.mu.Lock()
	defer sr.mu.Unlock()
	sr.facts.Cluster.Taken = append(sr.facts.Cluster.Taken, t)
	return nil
}

// tryPiece tries the piece without writing. What else stands in its way is found
// by other checks.
func (sr *stateReader) tryPiece(ctx context.Context, p *piece) (string, error) {
	refused, err := sr.cluster.Refusal(ctx, p.object, p.namespace, sr.stack+"/"+p.component)
	if ctx.Err() != nil {
		return "", err
	}
	return refused, nil
}

// isOwn says whether marks are those of the plan's own release or component.
func (sr *stateReader) isOwn(p *piece, annotations map[string]string) bool {
	if p.release != "" {
		return annotations[object.AnnotationRelease] == p.release && annotations[object.AnnotationReleaseNamespace] == p.namespace
	}
	owner := annotations[kube.AnnotationOwner]
	return owner == sr.stack+"/"+p.component || owner == sr.stack && kube.IsNamespace(object.RefOf(p.object))
}

// readDefinitions looks at custom resource definitions of the plan that exist.
func (sr *stateReader) readDefinitions(ctx context.Context) error {
	for _, p := range sr.pieces {
		if p.part.Defines == nil || !sr.known[p.part.Name] {
			continue
		}
		stored, labels, annotations, err := sr.cluster.StoredVersions(ctx, p.part.Name)
		if kube.Absent(err) || kube.Forbidden(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading definition %s: %w", p.part.Name, err)
		}
		d := decide.DefinitionFact{Name: p.part.Name, Owner: p.component, Stored: stored}
		if !sr.isDefinerOf(p.part.Name, annotations[kube.AnnotationOwner]) {
			d.Keeper = kube.Keeper(labels, annotations)
			if d.Refused, err = sr.tryPiece(ctx, p); err != nil {
				return err
			}
		}
		p.part.Exists = true
		sr.facts.Cluster.Definitions = append(sr.facts.Cluster.Definitions, d)
	}
	return nil
}

// isDefinerOf says whether an owner of a definition is a component of the plan that
// brings it.
func (sr *stateReader) isDefinerOf(name, owner string) bool {
	return slices.ContainsFunc(sr.pieces, func(p *piece) bool {
		return p.part.Defines != nil && p.part.Name == name && owner == sr.stack+"/"+p.component
	})
}

// handOutParts hands the parts to their renderings.
func (sr *stateReader) handOutParts(rendered map[decide.Key]decide.Rendered) {
	for _, p := range sr.pieces {
		r := rendered[p.key]
		r.Parts = append(r.Parts, p.part)
		rendered[p.key] = r
	}
}

// resourceName is how people and definitions call a resource: deployments.apps.
func resourceName(r schema.GroupVersionResource) string {
	return strings.TrimSuffix(r.GroupResource().String(), ".")
}
