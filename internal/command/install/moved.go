package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
)

// refuseMoved refuses a plan when a fact that it is bound to, or a release that it is
// about, is not as the plan saw it, and says which, all at once. Of a plan that
// was carried out here before, if only in part, only the version of Kubernetes is
// asked: what else moved since then is its own doing, and doing it again puts
// things right. The caller holds the lease.
func (s *session) refuseMoved(ctx context.Context, p *plan.Plan) error {
	planned, err := p.Digest()
	if err != nil {
		return err
	}
	now, err := s.lookAtSite(ctx, s.hasBegun(planned))
	if err != nil {
		return err
	}
	moved := decide.Moved(p, now)
	if !s.hasBegun(planned) {
		more, err := s.objectsMoved(ctx, p)
		if err != nil {
			return err
		}
		moved = append(moved, more...)
	}
	if len(moved) > 0 {
		return fmt.Errorf("%s%w: %s", checking, ErrPlanStale, strings.Join(moved, "; "))
	}
	return nil
}

const checking = "checking the plan: "

// objectsMoved says which releases and nodes of the plan are not as it saw them.
func (s *session) objectsMoved(ctx context.Context, p *plan.Plan) ([]string, error) {
	var moved []string
	for _, c := range p.Components {
		more, err := s.releasesMoved(ctx, c)
		if err != nil {
			return nil, err
		}
		moved = append(moved, more...)
	}
	more, err := s.nodesMoved(ctx, p)
	return append(moved, more...), err
}

// lookAtSite looks at what plans are bound to; little looks at the version alone.
func (s *session) lookAtSite(ctx context.Context, little bool) (decide.Sight, error) {
	version, err := s.cluster.Version()
	if err != nil || little {
		return decide.Sight{Version: version}, err
	}
	v, err := s.cluster.Overview(ctx)
	if err != nil {
		return decide.Sight{}, err
	}
	now := decide.Sight{Version: version, Platforms: v.Platforms(), Runtimes: v.Runtimes(), DefaultClass: v.DefaultClass}
	for what, list := range map[string]*[]string{kube.ListNamespaces: &now.Namespaces, kube.ListDefinitions: &now.Definitions, kube.ListStorageClasses: &now.StorageClasses} {
		if !slices.Contains(v.Unread, what) {
			*list = []string{}
		}
	}
	for i := range v.Namespaces {
		now.Namespaces = append(now.Namespaces, v.Namespaces[i].Name)
	}
	now.Definitions = append(now.Definitions, v.CRDs...)
	now.StorageClasses = append(now.StorageClasses, v.StorageClasses...)
	return now, nil
}

// hasBegun says whether a run with the plan is in the journal, or something that
// is installed by it.
func (s *session) hasBegun(planned digest.Digest) (found bool) {
	s.readJournal(func(j *journal.Journal) {
		found = slices.ContainsFunc(j.Runs, func(r journal.Run) bool { return r.Plan == planned }) ||
			slices.ContainsFunc(j.Installed, func(c journal.Installed) bool { return c.Plan == planned })
	})
	return found
}

func (s *session) releasesMoved(ctx context.Context, c plan.Component) ([]string, error) {
	if len(c.Releases) == 0 {
		return nil, nil
	}
	there, err := helm.NewEngine(s.cluster, c.Namespace, helm.Pulls{}, nil).Releases(ctx)
	if err != nil {
		return nil, err
	}
	revisions := map[string]int{}
	for _, r := range there {
		revisions[r.Name] = r.Revision
	}
	var moved []string
	for _, r := range c.Releases {
		if now := revisions[r.Name]; now != r.Revision {
			moved = append(moved, fmt.Sprintf("release %s in namespace %s is at %s, the plan saw %s", r.Name, c.Namespace, revisionText(now), revisionText(r.Revision)))
		}
	}
	return moved, nil
}

func revisionText(n int) string {
	if n == 0 {
		return "no revision"
	}
	return fmt.Sprintf("revision %d", n)
}
