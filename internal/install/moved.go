package install

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/helm"
	"github.com/caisson/caisson/internal/journal"
	"github.com/caisson/caisson/internal/plan"
)

// moved refuses a plan when a release that it is about is no longer at the
// revision that the plan saw, and says which. A plan that was carried out here
// before, if only in part, is not asked: what moved since then is its own doing,
// and doing it again puts things right. The caller holds the lease.
func (s *session) moved(ctx context.Context, p *plan.Plan) error {
	planned, err := p.Digest()
	if err != nil {
		return err
	}
	if s.begun(planned) {
		return nil
	}
	for _, c := range p.Components {
		if err := s.releasesMoved(ctx, c); err != nil {
			return err
		}
	}
	return s.nodesMoved(ctx, p)
}

// begun says whether a run with the plan is in the journal, or something that
// is installed by it.
func (s *session) begun(planned digest.Digest) (found bool) {
	s.look(func(j *journal.Journal) {
		found = slices.ContainsFunc(j.Runs, func(r journal.Run) bool { return r.Plan == planned }) ||
			slices.ContainsFunc(j.Installed, func(c journal.Installed) bool { return c.Plan == planned })
	})
	return found
}

func (s *session) releasesMoved(ctx context.Context, c plan.Component) error {
	if len(c.Releases) == 0 {
		return nil
	}
	there, err := helm.NewEngine(s.cluster, c.Namespace, helm.Pulls{}, nil).Releases(ctx)
	if err != nil {
		return err
	}
	revisions := map[string]int{}
	for _, r := range there {
		revisions[r.Name] = r.Revision
	}
	for _, r := range c.Releases {
		if now := revisions[r.Name]; now != r.Revision {
			return fmt.Errorf("checking the plan: %w: release %s in namespace %s is at %s, the plan saw %s", ErrPlanStale, r.Name, c.Namespace, revision(now), revision(r.Revision))
		}
	}
	return nil
}

func revision(n int) string {
	if n == 0 {
		return "no revision"
	}
	return fmt.Sprintf("revision %d", n)
}
