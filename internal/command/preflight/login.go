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
	found, err := registry.CheckLogins(ctx, reg, heldManifests(r, s, there), s.PullingNamespaces(), c)
	if err != nil && ctx.Err() == nil && there.Problem != "" {
		return nil, nil
	}
	return found, err
}

// heldManifests are those that the registry has; none where another answers for it, r.
func heldManifests(r registry.Presence, s *decide.Selection, there decide.RegistryFacts) (held []plan.Check) {
	for _, check := range s.Checks() {
		if r == nil && there.Has[check.Repository+"@"+check.Digest.String()] {
			held = append(held, check)
		}
	}
	return held
}

// checkAgentLogin asks about the login that the node agent gives to containerd: whether
// the pull secret is where the agent runs, and how the registry takes it.
func checkAgentLogin(ctx context.Context, c *kube.Client, r registry.Presence, s *decide.Selection, chosen plan.Site, f *decide.Facts) error {
	reg := chosen.Registry
	if chosen.Mirrors() != plan.Mirror || reg.PullSecretRef == nil || reg.NodesLogIn || f.Registry.Problem != "" {
		return nil
	}
	held, namespace := heldManifests(r, s, f.Registry), reg.PullSecretRef.Namespace
	if namespace == "" {
		namespace = kube.SystemNamespace
		more, err := registry.CheckLogins(ctx, reg, held, []string{namespace}, c)
		if err != nil {
			return err
		}
		f.Logins = append(f.Logins, more...)
	}
	takes, err := registry.TakesPasswords(ctx, reg, held, namespace, c)
	f.TokensOnly = !takes
	return err
}
