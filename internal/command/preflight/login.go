package preflight

import (
	"context"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/rules/decide"
)

// checkLogins asks whether nodes can log in to the registry, for manifests that it has.
// Where it does not answer, that is told already; where another answers for it, r, only
// Secrets are looked at.
func checkLogins(
	ctx context.Context, c *kube.Client, r registry.Presence, s *decide.Selection, reg site.Registry, there decide.RegistryFacts,
) ([]plan.LoginTrouble, error) {
	var held []plan.Check
	for _, check := range s.Checks() {
		if r == nil && there.Has[check.Repository+"@"+check.Digest.String()] {
			held = append(held, check)
		}
	}
	found, err := registry.CheckLogins(ctx, reg, held, s.PullingNamespaces(), c)
	if err != nil && ctx.Err() == nil && there.Problem != "" {
		return nil, nil
	}
	return found, err
}
