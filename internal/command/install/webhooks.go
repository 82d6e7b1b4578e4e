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

// awaitAllWebhooks waits until the webhooks of what is installed answer. Each was waited
// for when it came, and may have gone silent since: a controller that renews its
// certificate restarts, and what it guards cannot be changed meanwhile. Where only some
// components were to be changed, others are not waited for, and told of.
func (s *session) awaitAllWebhooks(ctx context.Context, only []string) error {
	var installed []journal.Installed
	s.readJournal(func(j *journal.Journal) { installed = slices.Clone(j.Installed) })
	waiting, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	g, waiting := errgroup.WithContext(waiting)
	for i := range installed {
		c := &installed[i]
		if len(only) > 0 && !slices.Contains(only, c.Name) {
			g.Go(func() error { return s.warnOfSilence(waiting, c) })
			continue
		}
		g.Go(func() error {
			if err := s.cluster.WaitWebhooks(waiting, broughtWebhooks(c), c.Namespace, s.reportWaiting(c.Name)); err != nil {
				return fmt.Errorf("asking the webhooks of component %s: %w", c.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// warnOfSilence warns of a component's webhooks that do not answer.
func (s *session) warnOfSilence(ctx context.Context, c *journal.Installed) error {
	list, err := s.cluster.UnansweredWebhooks(ctx, broughtWebhooks(c), c.Namespace)
	for _, u := range kube.FirstOfEach(list) {
		s.warn(c.Name, "component %s was not asked for, and is not well: %s", c.Name, u)
	}
	return err
}

// awaitWebhooks waits until the webhooks that came back with a component answer.
func (r *restorer) awaitWebhooks(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return r.cluster.WaitWebhooks(waiting, broughtWebhooks(&r.entry), r.now.Namespace, r.reportWaiting(r.now.Name))
}

// listBroken lists the planned components that are installed and whose webhooks do not
// answer, with those that they need and that do not run: as long as a webhook is silent,
// what it guards cannot be changed, so that it has to be repaired before anything else.
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
	first := map[string]bool{}
	for i, c := range chosen {
		if silent[i] {
			in.info(c.Name, "its webhooks do not answer: it goes first")
			first[c.Name] = true
			if err := in.addStopped(ctx, c, first); err != nil {
				return nil, err
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(chosen), func(c *plan.Component) bool { return !first[c.Name] }), nil
}

// addStopped adds to first what a component needs, through any chain, and whose workloads
// do not run.
func (in *installer) addStopped(ctx context.Context, c *plan.Component, first map[string]bool) error {
	for _, name := range c.Needs {
		need, planned := in.plan.Component(name)
		if !planned || first[name] {
			continue
		}
		stopped, err := in.isStopped(ctx, name)
		if err != nil {
			return err
		}
		if stopped {
			in.info(name, "%s needs it, and it does not run: it goes first", c.Name)
			first[name] = true
		}
		if err := in.addStopped(ctx, need, first); err != nil {
			return err
		}
	}
	return nil
}

// isStopped says whether a workload of an installed component is not ready.
func (in *installer) isStopped(ctx context.Context, component string) (bool, error) {
	for _, o := range removedOf(in.installedCopy(component)).Objects {
		if !kube.IsWorkload(o) {
			continue
		}
		state, err := in.cluster.Look(ctx, object.Target{Object: o})
		if err != nil || !state.Ready {
			return err == nil, err
		}
	}
	return false, nil
}

// hasNeeds says whether all that a component needs is installed.
func (in *installer) hasNeeds(c *plan.Component) bool {
	return !slices.ContainsFunc(c.Needs, func(n string) bool { return in.installedCopy(n) == nil })
}
