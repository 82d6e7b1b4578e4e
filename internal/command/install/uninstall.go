package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/listing"
)

// UninstallOptions are the inputs of uninstall.
type UninstallOptions struct {
	Target
	Component string // "" removes the whole stack
	Purge     bool   // forget the stack's journal in the cluster as well
	Timeout   time.Duration
	Tool      string
	UserObjectsChoice
}

// Uninstall removes what install made and nothing else: components, dependents
// first; then custom resource definitions that nothing uses any more, and
// namespaces that are empty. What stays is told as a warning. Errors: ErrNeeded,
// ErrUserObjects.
func Uninstall(ctx context.Context, opt UninstallOptions, sink event.Sink) (Result, error) {
	return emitFramed(journal.Uninstall, sink, func() (Result, error) {
		s, err := openSession(ctx, opt.Target, journal.Uninstall, sink)
		if err != nil {
			return Result{}, err
		}
		s.timeout = orDefaultTimeout(opt.Timeout)
		r, err := s.changeUnderLease(ctx, func(ctx context.Context) error { return s.uninstallComponents(ctx, opt) })
		if err == nil && opt.Purge && opt.Component == "" {
			if _, err := s.cluster.RemoveSystemNamespace(ctx); err != nil { // the lease is out of it only now
				s.warn("", "%v", err)
			}
		}
		return r, err
	})
}

func (s *session) uninstallComponents(ctx context.Context, opt UninstallOptions) error {
	chosen, err := s.listRemovable(opt.Component)
	if err != nil {
		return err
	}
	users, err := s.findUserObjects(ctx, opt.UserObjectsChoice, chosen)
	if err != nil {
		return err
	}
	run := journal.Run{Tool: opt.Tool, Whole: opt.Component == ""}
	for _, c := range chosen {
		run.Version = c.Version
		run.Components = append(run.Components, journal.Component{Name: c.Name, State: journal.Pending})
	}
	if err := s.beginRun(run); err != nil {
		return err
	}
	err = s.removeUserObjects(ctx, users)
	if err == nil {
		err = s.removeAll(ctx, chosen)
	}
	if err == nil {
		err = s.removeLeftovers(ctx)
	}
	err = s.finishRun(ctx, err)
	if err == nil && opt.Purge && opt.Component == "" {
		return s.store.Purge(ctx, s.stack)
	}
	return err
}

// listRemovable lists what to remove, dependents first.
func (s *session) listRemovable(name string) (out []journal.Installed, err error) {
	s.readJournal(func(j *journal.Journal) {
		for _, c := range slices.Backward(j.Installed) {
			if name == "" || c.Name == name {
				out = append(out, c)
			}
		}
	})
	if len(out) == 0 && name != "" {
		return nil, fmt.Errorf("removing component %s: %w", name, journal.ErrNone)
	}
	return out, s.refuseNeeded(out, out)
}

// refuseNeeded refuses to remove components that others need which are not chosen.
func (s *session) refuseNeeded(going, chosen []journal.Installed) (err error) {
	has := func(list []journal.Installed, name string) bool {
		return slices.ContainsFunc(list, func(c journal.Installed) bool { return c.Name == name })
	}
	s.readJournal(func(j *journal.Journal) {
		for _, c := range j.Installed {
			for _, n := range c.Needs {
				if has(going, n) && !has(chosen, c.Name) {
					err = fmt.Errorf("removing component %s: %w: %s", n, ErrNeeded, c.Name)
				}
			}
		}
	})
	return err
}

func (s *session) removeAll(ctx context.Context, list []journal.Installed) error {
	for i := range list {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.removeOne(ctx, &list[i]); err != nil {
			return &ComponentError{Component: list[i].Name, State: outcomeOf(ctx, err), Err: err}
		}
	}
	return nil
}

func (s *session) removeOne(ctx context.Context, c *journal.Installed) error {
	s.sink.Emit(event.Event{Verb: string(s.verb), Kind: event.Start, Item: c.Name})
	defer s.sink.Emit(event.Event{Verb: string(s.verb), Kind: event.End, Item: c.Name})
	if err := s.markComponent(c.Name, journal.Running, nil); err != nil {
		return err
	}
	err := s.removeParts(ctx, c)
	if err == nil {
		err = s.putEntry(*c, false)
	}
	return errors.Join(err, s.markComponent(c.Name, outcomeOf(ctx, err), err))
}

func (s *session) removeParts(ctx context.Context, c *journal.Installed) error {
	if err := s.clearNodes(ctx, c); err != nil {
		return err
	}
	leases, keys := s.findLeases(ctx, c), s.findKeys(ctx, c)
	if len(c.Objects) > 0 {
		err := s.runStep(ctx, c.Name, journal.Step{Kind: journal.StepManifests}, func(*journal.Step) error {
			return s.cluster.DeleteOwned(ctx, c.Objects, s.ownerOf(c.Name))
		})
		if err != nil {
			return err
		}
	}
	engine := helm.NewEngine(s.cluster, c.Namespace, s.keptPulls(ctx, c.Plan), s.reportWaiting(c.Name))
	names := c.Releases
	if c.Former != nil {
		names = unionBy(c.Former.Releases, names, func(r journal.Release) string { return r.Name })
	}
	for _, r := range slices.Backward(names) {
		err := s.runStep(ctx, c.Name, journal.Step{Kind: journal.StepRelease, Name: r.Name, Before: r.Revision}, func(*journal.Step) error {
			defer s.tellComponentsWait(c.Name, "release "+r.Name, "its objects are going")()
			if _, err := engine.Settle(ctx, r.Name); err != nil && !errors.Is(err, helm.ErrNoRelease) {
				return err
			}
			return engine.Uninstall(ctx, r.Name, s.timeout)
		})
		if err != nil {
			return err
		}
	}
	s.releaseLeases(ctx, c.Name, leases)
	s.removeKeys(ctx, c.Name, keys)
	_, err := s.unlabelNodes(ctx, c, "")
	return err
}

// findKeys lists the keys that cert-manager made for a component's Certificates, while
// those are there to name them. Keys that cannot be found stay, and are told.
func (s *session) findKeys(ctx context.Context, c *journal.Installed) []kube.IssuedKeys {
	keys, err := s.cluster.FindIssuedKeys(ctx, removedOf(c).Objects)
	if err != nil {
		s.warn(c.Name, "keys that cert-manager made stay: %v", err)
	}
	return keys
}

// removeKeys removes keys that nothing renews any more, and names each.
func (s *session) removeKeys(ctx context.Context, component string, keys []kube.IssuedKeys) {
	for _, k := range keys {
		switch removed, err := s.cluster.RemoveIssuedKeys(ctx, k); {
		case err != nil:
			s.warn(component, "keys that cert-manager made stay: %v", err)
		case removed:
			s.info(component, "removed %s", k)
		}
	}
}

// removeLeftovers removes shared objects that nothing uses any more, namespaces last.
func (s *session) removeLeftovers(ctx context.Context) error {
	defer s.tellWait("the cluster", "definitions and namespaces that nothing uses are going")()
	var made []object.Ref
	s.readJournal(func(j *journal.Journal) { made = leftovers(slices.Clone(j.Made), j.Installed) })
	definitions := slices.DeleteFunc(slices.Clone(made), kube.IsNamespace)
	namespaces := slices.DeleteFunc(made, func(o object.Ref) bool { return !kube.IsNamespace(o) })
	if err := s.removeShared(ctx, definitions); err != nil {
		return err
	}
	return s.removeShared(ctx, namespaces)
}

// leftovers are those of the shared objects that nothing installed can be using.
func leftovers(made []object.Ref, installed []journal.Installed) []object.Ref {
	needed := map[string]bool{}
	for i := range installed {
		needed[installed[i].Namespace] = true
		for _, o := range installed[i].Objects {
			if kube.IsNamespace(o) {
				needed[o.Name] = true
			}
		}
	}
	if len(installed) == 0 {
		return made
	}
	// Definitions may be in use by what stays.
	return slices.DeleteFunc(made, func(o object.Ref) bool { return !kube.IsNamespace(o) || needed[o.Name] })
}

// removeShared removes shared objects side by side, and from the journal those that
// are gone.
func (s *session) removeShared(ctx context.Context, list []object.Ref) error {
	var g errgroup.Group
	g.SetLimit(lookers) // a namespace that goes takes seconds of waiting
	for _, o := range list {
		g.Go(func() error {
			gone, err := s.removeLeftover(ctx, o)
			if err != nil || !gone {
				return err
			}
			return s.record(func(j *journal.Journal, _ *journal.Run) { j.Forget(o) })
		})
	}
	return g.Wait()
}

func (s *session) removeLeftover(ctx context.Context, o object.Ref) (gone bool, _ error) {
	if o.Kind == "Namespace" {
		gone, left, err := s.cluster.RemoveNamespace(ctx, o)
		if !gone && err == nil {
			s.warn("", "namespace %s stays: it holds %s", o.Name, nameObjects(left))
		}
		return gone, err
	}
	n, err := s.cluster.Instances(ctx, o)
	if err != nil {
		return false, err
	}
	if n > 0 {
		s.warn("", "custom resource definition %s stays: objects of it exist", o.Name)
		return false, nil
	}
	return true, s.cluster.Delete(ctx, []object.Ref{o})
}

// nameObjects names a few objects.
func nameObjects(list []object.Ref) string {
	var names []string
	for _, o := range list {
		names = append(names, o.String())
	}
	return strings.Join(listing.Cut(names, 5, "and "), ", ")
}
