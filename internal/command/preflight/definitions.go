package preflight

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/opencontainers/go-digest"
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
			found, err := t.live.Compare(ctx, p.object, kube.ApplyOptions{Owner: t.plan.Name + "/" + c.Name})
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

// markDefiners marks what definitions say where several pieces bring the same one.
func markDefiners(pieces []*piece) {
	by := map[string][]*piece{}
	for _, p := range pieces {
		if p.part.Defines != nil {
			by[p.part.Name] = append(by[p.part.Name], p)
		}
	}
	for _, list := range by {
		for _, p := range list {
			if len(list) > 1 {
				p.part.Defines.Content = markOf(withoutWords(p.object.Object["spec"]))
			}
		}
	}
}

// markTwins marks what objects say that several manifests of one component have.
func markTwins(pieces []*piece) {
	by := map[string][]*piece{}
	for _, p := range pieces {
		if p.release == "" && p.part.Defines == nil {
			gvk := p.object.GroupVersionKind()
			key := strings.Join([]string{p.component, gvk.Group, gvk.Kind, p.part.Namespace, p.object.GetName()}, "\x00")
			by[key] = append(by[key], p)
		}
	}
	for _, list := range by {
		for _, p := range list {
			if len(list) > 1 {
				u := p.object.DeepCopy()
				u.SetNamespace(p.part.Namespace) // one of them may leave it out
				p.part.Content = markOf(u.Object)
			}
		}
	}
}

// markOf is a mark of a value; what cannot be encoded has none.
func markOf(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(digest.FromBytes(data))
}

// withoutWords is a definition's content without what is for people, and without
// what a server fills in at conversion.
func withoutWords(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, e := range v {
			if _, text := e.(string); key != "caBundle" && (key != "description" || !text) {
				out[key] = withoutWords(e)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = withoutWords(e)
		}
		return out
	}
	return v
}
