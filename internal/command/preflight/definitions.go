package preflight

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/kube"
)

// compareDefinitions finds the custom resource definitions of a component that are there
// as they would be applied. Where the server does not say, one is taken to change.
func (t *changes) compareDefinitions(ctx context.Context, c *plan.Component) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i := range c.CRDs {
		d := &c.CRDs[i]
		p := t.definitionPiece(c.Name, d.Name)
		if !d.Exists || p == nil {
			continue
		}
		g.Go(func() error {
			found, err := t.cluster.Compare(ctx, p.object, kube.ApplyOptions{Owner: t.plan.Name + "/" + c.Name})
			d.Unchanged = err == nil && len(found.Differences) == 0
			return ctx.Err()
		})
	}
	return g.Wait()
}

// definitionPiece is a component's definition of a name, or nil.
func (t *changes) definitionPiece(component, name string) *piece {
	for _, p := range t.pieces {
		if p.component == component && p.part.Defines != nil && p.object.GetName() == name {
			return p
		}
	}
	return nil
}
