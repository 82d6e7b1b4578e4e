package install

import (
	"context"
	"fmt"
	"slices"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/client/registry"
)

// loginsThere asks once more whether nodes can log in to the registry.
func loginsThere(ctx context.Context, s *session, p *plan.Plan) error {
	var held []plan.Check
	for _, image := range p.Images {
		held = append(held, image.Check(p.Site.Registry))
	}
	var namespaces []string
	for _, c := range p.Components {
		if len(c.Images) > 0 && !slices.Contains(namespaces, c.Namespace) {
			namespaces = append(namespaces, c.Namespace)
		}
	}
	if p.Nodes != nil && p.Nodes.Agent != "" {
		namespaces = append(namespaces, kube.SystemNamespace)
	}
	found, err := registry.CheckLogins(ctx, p.Site.Registry, held, namespaces, s.cluster)
	if err != nil {
		return fmt.Errorf("asking the site registry: %w", err)
	}
	for _, t := range found {
		if !t.Spare {
			return fmt.Errorf("%w: %s; %s", ErrLogin, t.What(p.Site.Registry), t.Hint(p.Site.Registry))
		}
	}
	return nil
}
