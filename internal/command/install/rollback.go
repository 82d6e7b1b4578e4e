package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/event"
)

// RollbackOptions are the inputs of rollback.
type RollbackOptions struct {
	Target
	Component string // "" goes back with every component that changed last
	Timeout   time.Duration
	Tool      string
	UserObjectsChoice
}

// Rollback takes a component, or all that the newest generation changed, back
// to what it was before its last change. What had not existed is removed, as Uninstall
// would. Doing it again goes forward again. Errors: ErrNothingFormer, ErrNeeded,
// ErrUserObjects.
func Rollback(ctx context.Context, opt RollbackOptions, sink event.Sink) (Result, error) {
	return emitFramed(journal.Rollback, sink, func() (Result, error) {
		s, err := openSession(ctx, opt.Target, journal.Rollback, sink)
		if err != nil {
			return Result{}, err
		}
		s.timeout = orDefaultTimeout(opt.Timeout)
		return s.changeUnderLease(ctx, func(ctx context.Context) error { return s.rollBackComponents(ctx, opt) })
	})
}

func (s *session) rollBackComponents(ctx context.Context, opt RollbackOptions) error {
	run := journal.Run{Tool: opt.Tool, Whole: opt.Component == ""}
	chosen, already, err := s.chooseRollback(opt.Component)
	if err != nil {
		return err
	}
	going := slices.DeleteFunc(slices.Clone(chosen), func(c journal.Installed) bool { return c.Former != nil })
	if err := s.refuseNeeded(going, chosen); err != nil {
		return err
	}
	users, err := s.findUserObjects(ctx, opt.UserObjectsChoice, going)
	if err != nil {
		return err
	}
	for _, c := range already {
		run.Components = append(run.Components, journal.Component{Name: c.Name, State: journal.Done})
		run.Version, run.Plan = c.Version, c.Plan
	}
	for _, c := range chosen {
		run.Components = append(run.Components, journal.Component{Name: c.Name, State: journal.Pending})
		if c.Former != nil {
			run.Version, run.Plan = c.Former.Version, c.Former.Plan
		}
	}
	if err := s.beginRun(run); err != nil {
		return err
	}
	if err := s.joinGeneration(already); err != nil {
		return err
	}
	err = s.removeUserObjects(ctx, users)
	if err == nil {
		err = s.takeBack(ctx, chosen)
	}
	if err == nil {
		err = s.awaitRestored(ctx)
	}
	if err == nil {
		err = s.awaitAllWebhooks(ctx, named(opt.Component))
	}
	return s.finishRun(ctx, err)
}

// named is a list of one component, or of none for all.
func named(component string) []string {
	if component == "" {
		return nil
	}
	return []string{component}
}

// awaitRestored waits until what went back is ready as it was. Where that fails, the next
// rollback goes on with the waiting.
func (s *session) awaitRestored(ctx context.Context) error {
	var restored []journal.Installed
	s.readJournal(func(j *journal.Journal) {
		for _, c := range j.Installed {
			if c.Generation == j.Last().Generation {
				restored = append(restored, c)
			}
		}
	})
	errs := make([]error, len(restored))
	var g errgroup.Group
	for i := range restored {
		c := &restored[i]
		g.Go(func() error {
			if err := s.waitWithin(ctx, c.Name, readyTargets(c), s.cluster.WaitSettled); err != nil {
				errs[i] = &ComponentError{Component: c.Name, State: journal.Failed, Err: err}
			}
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// chooseRollback lists what to take back, and what a rollback that did not come to its end
// has taken back already. A new one goes on with the rest, and with the waiting.
func (s *session) chooseRollback(name string) (chosen, already []journal.Installed, err error) {
	left, already, unfinished := s.listUnfinished(name)
	if unfinished {
		return left, already, nil
	}
	chosen, err = s.listReversible(name)
	return chosen, nil, err
}

// listUnfinished lists what the last run, a rollback of the same that did not come to its
// end, has left to do, dependents first, and what it had done.
func (s *session) listUnfinished(name string) (left, already []journal.Installed, unfinished bool) {
	s.readJournal(func(j *journal.Journal) {
		last := j.Last()
		if last == nil || last.Verb != journal.Rollback || last.State == journal.Done || last.Whole != (name == "") {
			return
		}
		has := func(name string) bool {
			return slices.ContainsFunc(last.Components, func(r journal.Component) bool { return r.Name == name })
		}
		unfinished = name == "" || has(name)
		for _, c := range slices.Backward(j.Installed) {
			switch {
			case !unfinished || !has(c.Name):
			case c.Generation != last.Generation:
				left = append(left, c)
			default:
				already = append(already, c)
			}
		}
	})
	return left, already, unfinished
}

// joinGeneration makes components part of the run's generation, so that they go forward
// again together.
func (s *session) joinGeneration(components []journal.Installed) error {
	if len(components) == 0 {
		return nil
	}
	return s.record(func(j *journal.Journal, r *journal.Run) {
		for _, c := range components {
			j.Component(c.Name).Generation = r.Generation
		}
	})
}

// listReversible lists what to take back, dependents first.
func (s *session) listReversible(name string) (out []journal.Installed, _ error) {
	s.readJournal(func(j *journal.Journal) {
		newest := 0
		for _, c := range j.Installed {
			newest = max(newest, c.Generation)
		}
		for _, c := range slices.Backward(j.Installed) {
			if c.Name == name || (name == "" && c.Generation == newest) {
				out = append(out, c)
			}
		}
	})
	if len(out) == 0 {
		return nil, fmt.Errorf("rolling back %q: %w", name, ErrNothingFormer)
	}
	return out, nil
}

func (s *session) takeBack(ctx context.Context, list []journal.Installed) error {
	for i := range list {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := s.rollbackOne(ctx, &list[i]); err != nil {
			return &ComponentError{Component: list[i].Name, State: journal.Failed, Err: err}
		}
	}
	return nil
}

func (s *session) rollbackOne(ctx context.Context, c *journal.Installed) error {
	s.sink.Emit(event.Event{Verb: string(s.verb), Kind: event.Start, Item: c.Name})
	state, err := journal.Failed, s.markComponent(c.Name, journal.Running, nil)
	if err == nil {
		state, err = s.rollBackParts(ctx, c)
		err = errors.Join(err, s.markComponent(c.Name, state, err))
	}
	end := event.Event{
		Verb: string(s.verb), Kind: event.End, Item: c.Name, Message: describeReturn(state, c), Fields: map[string]any{"state": state},
	}
	if err != nil {
		end.Message = err.Error()
	}
	s.sink.Emit(end)
	return err
}

// describeReturn says in a word how a component that did not fail has gone back.
func describeReturn(state journal.State, c *journal.Installed) string {
	switch {
	case state == journal.Skipped:
		return "as it was already"
	case c.Former == nil:
		return "removed"
	}
	return "went back"
}

// rollBackParts takes a component back. One in which that changed nothing is skipped.
func (s *session) rollBackParts(ctx context.Context, c *journal.Installed) (journal.State, error) {
	if err := s.noteFinished(ctx, c); err != nil {
		return outcomeOf(ctx, err), err
	}
	pulls := s.keptPulls(ctx, c.Plan)
	if c.Former != nil {
		pulls = eitherPulls(s.keptPulls(ctx, c.Former.Plan), pulls)
	}
	changed := false
	err := s.runStep(ctx, c.Name, journal.Step{Kind: journal.StepRollback}, func(*journal.Step) (err error) {
		var entry journal.Installed
		if entry, changed, err = s.restoreComponent(ctx, c, c.Former, pulls); err != nil {
			return err
		}
		entry.Former = c.Snapshot()
		return s.putEntry(entry, c.Former != nil)
	})
	if err == nil && c.Former == nil {
		s.takeBackNamespace(ctx, c.Namespace)
	}
	if err == nil && !changed {
		return journal.Skipped, nil
	}
	return outcomeOf(ctx, err), err
}

// keptPulls is how the site of a plan kept beside the journal pulls. A plan that
// cannot be read knows no image.
func (s *session) keptPulls(ctx context.Context, d digest.Digest) helm.Pulls {
	nothing := helm.Pulls{Rewrite: func(string) (string, bool) { return "", false }}
	data, err := s.store.Plan(ctx, d)
	if err != nil {
		return nothing
	}
	p, err := plan.Parse(data)
	if err != nil {
		return nothing
	}
	return pullsOf(p)
}
