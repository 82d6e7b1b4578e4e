package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/archive"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
)

// changes tells the plan what becomes of every object.
type changes struct {
	cluster *kube.Client
	live    *kube.Comparer
	plan    *plan.Plan
	pieces  []*piece
	pulls   helm.Pulls
	journal *journal.Journal // what is installed; empty where nothing is known of it
}

// compareObjects adds to the plan what becomes of the objects of each component: those of
// releases are compared with the newest revision's record, those of manifests with
// what is live. Definitions and hooks are left out.
func compareObjects(ctx context.Context, c *kube.Client, p *plan.Plan, pieces []*piece) error {
	t := &changes{cluster: c, live: c.NewComparer(), plan: p, pieces: pieces, pulls: helm.Pulls{Rewrite: p.Rewriter()}}
	if ref := p.Site.Registry.PullSecretRef; ref != nil {
		t.pulls.Secret = ref.Name
	}
	var err error
	if t.journal, err = archive.Open(c, p.Cluster.UID, "").Load(ctx, p.Name); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.journal = &journal.Journal{}
	}
	for i := range p.Components {
		if err := t.compareComponent(ctx, &p.Components[i]); err != nil {
			return fmt.Errorf("comparing the objects of component %s: %w", p.Components[i].Name, err)
		}
	}
	return nil
}

func (t *changes) compareComponent(ctx context.Context, c *plan.Component) error {
	for i := range c.Releases {
		if c.Releases[i].Action == plan.Keep {
			continue
		}
		if err := t.compareRelease(ctx, c, &c.Releases[i]); err != nil {
			return err
		}
	}
	err := t.compareDefinitions(ctx, c)
	if err != nil {
		return err
	}
	if c.Objects, err = t.compareManifests(ctx, c); err != nil {
		return err
	}
	c.Objects = append(c.Objects, t.droppedObjects(c)...)
	slices.SortStableFunc(c.Objects, byObject)
	return nil
}

func byObject(a, b plan.ObjectChange) int { return strings.Compare(a.Object, b.Object) }

// piecesOf lists what is rendered for a component: of one release, or of its manifests.
func (t *changes) piecesOf(component, release string) []*piece {
	var out []*piece
	for _, p := range t.pieces {
		if p.component == component && p.release == release && p.part.Defines == nil && !p.hook {
			out = append(out, p)
		}
	}
	return out
}

// appliedObject is the piece as it is sent to the cluster. An image without a place at
// the site is a finding elsewhere.
func (t *changes) appliedObject(p *piece) *unstructured.Unstructured {
	u := p.object.DeepCopy()
	_ = helm.RewriteObject(u, t.pulls)
	u.SetNamespace(p.part.Namespace)
	return u
}

// keepPolicy is Helm's annotation of what outlives its release.
const keepPolicy = "helm.sh/resource-policy"

// compareRelease compares a rendering with the record of the newest revision.
func (t *changes) compareRelease(ctx context.Context, c *plan.Component, r *plan.Release) error {
	stored, err := helm.NewEngine(t.cluster, c.Namespace, helm.Pulls{}, nil).Stored(ctx, r.Name)
	if err != nil && !errors.Is(err, helm.ErrNoRelease) {
		return err
	}
	before := map[string]*unstructured.Unstructured{}
	for _, u := range stored {
		if !kube.IsCRD(u) {
			place := t.cluster.Place(u, c.Namespace)
			u.SetNamespace(place.Namespace)
			before[place.Key()] = u
		}
	}
	for _, p := range t.piecesOf(c.Name, r.Name) {
		after := t.appliedObject(p)
		o := object.RefOf(after)
		old := before[o.Key()]
		delete(before, o.Key())
		if old == nil {
			r.ObjectChanges = append(r.ObjectChanges, plan.ObjectChange{Object: o.String(), Action: plan.Add})
		} else if found := kube.Changes(old, after); len(found) > 0 {
			r.ObjectChanges = append(r.ObjectChanges, objectChange(o, found, false))
		}
	}
	for _, u := range before {
		if u.GetAnnotations()[keepPolicy] != "keep" { // else installing leaves it where it is
			r.ObjectChanges = append(r.ObjectChanges, plan.ObjectChange{Object: object.RefOf(u).String(), Action: plan.Remove})
		}
	}
	slices.SortStableFunc(r.ObjectChanges, byObject)
	return nil
}

// objectChange says how; turned where what is wanted comes after what is there.
func objectChange(o object.Ref, found []kube.Difference, turned bool) plan.ObjectChange {
	c := plan.ObjectChange{Object: o.String(), Action: plan.Change}
	for _, d := range found {
		if turned {
			d.Want, d.Have = d.Have, d.Want
		}
		c.Fields = append(c.Fields, decide.FieldChange(d.Path, d.Want, d.Have))
	}
	return c
}

// compareManifests compares the component's plain objects with those that are live, and
// finds those that are installed and no longer part of it.
func (t *changes) compareManifests(ctx context.Context, c *plan.Component) ([]plan.ObjectChange, error) {
	objects, err := t.plainObjects(c)
	if err != nil {
		return nil, err
	}
	kept := map[string]bool{}
	for _, u := range objects {
		kept[object.RefOf(u).Key()] = true
	}
	if ref := t.plan.Site.Registry.PullSecretRef; ref != nil {
		kept[object.Ref{APIVersion: "v1", Kind: "Secret", Namespace: c.Namespace, Name: ref.Name}.Key()] = true
	}
	out, err := t.compareLive(ctx, c, objects)
	if err != nil {
		return nil, err
	}
	if installed := t.journal.Component(c.Name); installed != nil {
		for _, o := range installed.Objects {
			if !kept[o.Key()] {
				out = append(out, plan.ObjectChange{Object: o.String(), Action: plan.Remove})
			}
		}
	}
	return out, nil
}

// plainObjects are the objects of a component's manifests, and those that caisson brings
// for it.
func (t *changes) plainObjects(c *plan.Component) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, p := range t.piecesOf(c.Name, "") {
		out = append(out, t.appliedObject(p))
	}
	if t.plan.GPU == nil || t.plan.GPU.Component != c.Name {
		return out, nil
	}
	own, err := decide.DriverObjects(t.plan)
	for _, o := range own {
		u := &unstructured.Unstructured{Object: o}
		u.SetNamespace(t.cluster.Place(u, c.Namespace).Namespace)
		out = append(out, u)
	}
	return out, err
}

// compareLive compares objects with what is in the cluster, in their order.
func (t *changes) compareLive(ctx context.Context, c *plan.Component, objects []*unstructured.Unstructured) ([]plan.ObjectChange, error) {
	var mu sync.Mutex
	found := map[int]plan.ObjectChange{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, u := range objects {
		g.Go(func() error {
			change := t.compareObject(ctx, c, u)
			mu.Lock()
			defer mu.Unlock()
			if change != nil {
				found[i] = *change
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []plan.ObjectChange
	for i := range objects {
		if change, ok := found[i]; ok {
			out = append(out, change)
		}
	}
	return out, nil
}

// compareObject is what becomes of u, or nil for nothing. Where the server does not say,
// it is taken to change.
func (t *changes) compareObject(ctx context.Context, c *plan.Component, u *unstructured.Unstructured) *plan.ObjectChange {
	o := object.RefOf(u)
	found, err := t.live.Compare(ctx, u, kube.ApplyOptions{Namespace: c.Namespace, Owner: t.plan.Name + "/" + c.Name})
	switch {
	case kube.Absent(err):
		return &plan.ObjectChange{Object: o.String(), Action: plan.Add}
	case err != nil:
		return &plan.ObjectChange{Object: o.String(), Action: plan.Change, Fields: []string{"what changes cannot be told"}}
	case len(found.Differences) == 0:
		return nil
	}
	change := objectChange(o, found.Differences, true)
	return &change
}

// droppedObjects are the objects of releases that are installed and no longer part of the
// component.
func (t *changes) droppedObjects(c *plan.Component) []plan.ObjectChange {
	installed := t.journal.Component(c.Name)
	if installed == nil {
		return nil
	}
	var out []plan.ObjectChange
	for _, r := range installed.Releases {
		if slices.ContainsFunc(c.Releases, func(p plan.Release) bool { return p.Name == r.Name }) {
			continue
		}
		for _, o := range r.Objects {
			out = append(out, plan.ObjectChange{Object: o.String(), Action: plan.Remove})
		}
	}
	return out
}
