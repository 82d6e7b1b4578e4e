package install

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/kube"
)

// webhookConfigurations are those of the objects that tell the server of webhooks.
func webhookConfigurations(objects []object.Ref) (out []object.Ref) {
	for _, o := range objects {
		if kube.IsWebhookConfiguration(o) {
			out = append(out, o)
		}
	}
	return out
}

// broughtWebhooks are the webhook configurations that a component brought.
func broughtWebhooks(c *journal.Installed) []object.Ref {
	out := webhookConfigurations(c.Objects)
	for _, r := range c.Releases {
		out = append(out, webhookConfigurations(r.Objects)...)
	}
	return out
}

// awaitAllWebhooks waits until the webhooks of everything installed answer. Each was
// waited for when it came, and may have gone silent since: a controller that renews its
// certificate restarts, and what it guards cannot be changed meanwhile.
func (s *session) awaitAllWebhooks(ctx context.Context) error {
	var installed []journal.Installed
	s.readJournal(func(j *journal.Journal) { installed = slices.Clone(j.Installed) })
	waiting, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	g, waiting := errgroup.WithContext(waiting)
	for i := range installed {
		c := &installed[i]
		g.Go(func() error {
			if err := s.cluster.WaitWebhooks(waiting, broughtWebhooks(c), c.Namespace, s.reportWaiting(c.Name)); err != nil {
				return fmt.Errorf("asking the webhooks of component %s: %w", c.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// awaitWebhooks waits until the webhooks that came back with a component answer.
func (r *restorer) awaitWebhooks(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return r.cluster.WaitWebhooks(waiting, broughtWebhooks(&r.entry), r.now.Namespace, r.reportWaiting(r.now.Name))
}

// listBroken lists the planned components that are installed and whose webhooks do not
// answer: as long as they are silent, what they guard cannot be changed, so that they
// have to be repaired before anything else.
func (in *installer) listBroken(ctx context.Context, chosen []*plan.Component) ([]*plan.Component, error) {
	silent := make([]bool, len(chosen))
	var g errgroup.Group
	for i, c := range chosen {
		installed := in.installedCopy(c.Name)
		if installed == nil || !in.hasNeeds(c) {
			continue
		}
		g.Go(func() error {
			list, err := in.cluster.UnansweredWebhooks(ctx, broughtWebhooks(installed), c.Namespace)
			silent[i] = len(list) > 0
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []*plan.Component
	for i, c := range chosen {
		if silent[i] {
			in.info(c.Name, "its webhooks do not answer: it goes first")
			out = append(out, c)
		}
	}
	return out, nil
}

// hasNeeds says whether all that a component needs is installed.
func (in *installer) hasNeeds(c *plan.Component) bool {
	return !slices.ContainsFunc(c.Needs, func(n string) bool { return in.installedCopy(n) == nil })
}
