package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

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
}

// Rollback takes a component, or all that the newest generation changed, back
// to what it was before its last change. What had not existed is removed. Doing
// it again goes forward again. Errors: ErrNothingFormer.
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
	chosen, already := s.listUnfinished(opt.Component)
	if len(chosen) == 0 {
		var err error
		if chosen, err = s.listReversible(opt.Component); err != nil {
			return err
		}
	}
	run := journal.Run{Tool: opt.Tool, Whole: opt.Component == ""}
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
	err := s.takeBack(ctx, chosen)
	if err == nil {
		err = s.awaitAllWebhooks(ctx)
	}
	return s.finishRun(ctx, err)
}

// listUnfinished lists what a rollback of everything that did not come to its end
// has left to do, dependents first, and what it had done. A new one goes on with
// that, since the newest generation is now the one it began.
func (s *session) listUnfinished(name string) (left []journal.Installed, already []string) {
	s.readJournal(func(j *journal.Journal) {
		last := j.Last()
		if name != "" || last == nil || last.Verb != journal.Rollback || !last.Whole || last.State == journal.Done {
			return
		}
		for _, c := range slices.Backward(j.Installed) {
			chosen := slices.ContainsFunc(last.Components, func(r journal.Component) bool { return r.Name == c.Name })
			switch {
			case chosen && c.Generation != last.Generation:
				left = append(left, c)
			case chosen:
				already = append(already, c.Name)
			}
		}
	})
	return left, already
}

// joinGeneration makes components part of the run's generation, so that they go forward
// again together.
func (s *session) joinGeneration(components []string) error {
	if len(components) == 0 {
		return nil
	}
	return s.record(func(j *journal.Journal, r *journal.Run) {
		for _, name := range components {
			j.Component(name).Generation = r.Generation
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
	defer s.sink.Emit(event.Event{Verb: string(s.verb), Kind: event.End, Item: c.Name})
	if err := s.markComponent(c.Name, journal.Running, nil); err != nil {
		return err
	}
	pulls := s.keptPulls(ctx, c.Plan)
	if c.Former != nil {
		pulls = eitherPulls(s.keptPulls(ctx, c.Former.Plan), pulls)
	}
	err := s.runStep(ctx, c.Name, journal.Step{Kind: journal.StepRollback}, func(*journal.Step) error {
		entry, err := s.restoreComponent(ctx, c, c.Former, pulls)
		if err != nil {
			return err
		}
		entry.Former = c.Snapshot()
		return s.putEntry(entry, c.Former != nil)
	})
	if err == nil && c.Former == nil {
		s.takeBackNamespace(ctx, c.Namespace)
	}
	return errors.Join(err, s.markComponent(c.Name, outcomeOf(ctx, err), err))
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
