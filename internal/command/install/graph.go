package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/event"
)

// installer carries out one plan.
type installer struct {
	*session
	opt     Options
	plan    *plan.Plan
	planned digest.Digest
	order   []string          // of components
	chosen  []*plan.Component // that the run installs, in the plan's order
	bundle  *cargo.Bundle
	pulls   helm.Pulls
	own     map[string][]*unstructured.Unstructured // objects of components that caisson itself brings

	again    bool // the plan was carried out here before, if only in part
	rendered map[releaseKey]*renderedRelease
}

func installPlan(ctx context.Context, opt Options, s *session, p *plan.Plan, t *cargo.Bundle) error {
	if opt.Workers <= 0 {
		opt.Workers = DefaultWorkers
	}
	in := &installer{session: s, opt: opt, plan: p, bundle: t, pulls: pullsOf(p)}
	planned, err := p.Digest()
	if err != nil {
		return err
	}
	in.again = s.hasBegun(planned)
	for _, c := range p.Components {
		in.order = append(in.order, c.Name)
	}
	if in.chosen, err = in.chooseComponents(); err != nil {
		return err
	}
	if err := in.renderReleases(ctx); err != nil {
		return err
	}
	if err := in.startRun(ctx); err != nil {
		return err
	}
	err = in.changeNodes(ctx)
	if err == nil {
		err = in.gpuObjects()
	}
	if err == nil {
		err = in.installComponents(ctx)
	}
	if err == nil {
		err = in.awaitAllWebhooks(ctx, in.opt.Components)
	}
	if err == nil {
		in.warnOfLeaks(ctx)
	}
	return s.finishRun(ctx, err)
}

// pullsOf is how a plan's site pulls.
func pullsOf(p *plan.Plan) helm.Pulls {
	out := helm.Pulls{Rewrite: p.Rewriter()}
	if ref := p.Site.Registry.PullSecretRef; ref != nil {
		out.Secret = ref.Name
	}
	return out
}

// keepLedger keeps the checks that were made on the connected side, so that a
// report needs no bundle. A bundle without a ledger has none to keep.
func (in *installer) keepLedger(ctx context.Context) (digest.Digest, error) {
	data := in.bundle.Ledger()
	if len(data) == 0 {
		return "", nil
	}
	return in.store.PutLedger(ctx, in.stack, data)
}

// startRun keeps the plan and the lock beside the journal and opens the run.
func (in *installer) startRun(ctx context.Context) error {
	data, err := in.plan.Marshal()
	if err != nil {
		return err
	}
	if in.planned, err = in.store.PutPlan(ctx, in.stack, data); err != nil {
		return err
	}
	if _, err = in.store.PutLock(ctx, in.stack, in.bundle.LockText()); err != nil {
		return err
	}
	ledger, err := in.keepLedger(ctx)
	if err != nil {
		return err
	}
	run := journal.Run{
		Tool: in.opt.Tool, Version: in.plan.Version, Plan: in.planned, Index: in.plan.Index, Lock: in.plan.Lock, Ledger: ledger,
		Sequence: in.bundle.Sequence(), KeyIDs: in.bundle.KeyIDs(), Checks: in.bundle.Checks(now()),
	}
	for _, c := range in.chosen {
		run.Components = append(run.Components, journal.Component{Name: c.Name, State: journal.Pending})
	}
	run.Partial = len(in.chosen) < len(in.plan.Components)
	if err := in.beginRun(run); err != nil {
		return err
	}
	in.warnUnplanned()
	return nil
}

// warnUnplanned warns of installed components that the plan does not have.
func (in *installer) warnUnplanned() {
	in.readJournal(func(j *journal.Journal) {
		for _, c := range j.Installed {
			if _, planned := in.plan.Component(c.Name); !planned && (c.Name != plan.MirrorComponent || in.plan.Nodes == nil) {
				in.warn(c.Name, "component %s is installed and not part of the plan: it stays as it is", c.Name)
			}
		}
	})
}

// chooseComponents lists the components that the run installs: all of the plan, or those
// that the operator named. What those need must be there.
func (in *installer) chooseComponents() ([]*plan.Component, error) {
	var out []*plan.Component
	for i := range in.plan.Components {
		c := &in.plan.Components[i]
		if len(in.opt.Components) == 0 || slices.Contains(in.opt.Components, c.Name) {
			out = append(out, c)
		}
	}
	for _, name := range in.opt.Components {
		c, planned := in.plan.Component(name)
		if !planned {
			return nil, fmt.Errorf("choosing components: %w: %q; the plan has %q", ErrNoComponent, name, in.order)
		}
		for _, n := range c.Needs {
			if in.installedCopy(n) == nil && !slices.Contains(in.opt.Components, n) {
				return nil, fmt.Errorf("choosing components: %w: %s needs %s, which is not installed", ErrNoComponent, name, n)
			}
		}
	}
	return out, nil
}

// installComponents installs what was chosen: first those whose webhooks would refuse
// changes to the others, with what they need and lack, then each component once those it
// needs are done.
func (in *installer) installComponents(ctx context.Context) error {
	broken, err := in.listBroken(ctx, in.chosen)
	if err != nil {
		return err
	}
	if err := in.installGraph(ctx, broken); err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(in.chosen), func(c *plan.Component) bool { return slices.Contains(broken, c) })
	return in.installGraph(ctx, rest)
}

// installGraph installs components, at most Workers at once. After a failure no further
// component begins; those at work finish.
func (in *installer) installGraph(ctx context.Context, components []*plan.Component) error {
	g := newGraph(components)
	var work errgroup.Group
	work.SetLimit(in.opt.Workers)
	for _, c := range components {
		// Needs come earlier in the plan, so a worker that waits waits for one
		// that already runs or is done.
		work.Go(func() error {
			if g.waitForNeeds(ctx, c) {
				g.markDone(c.Name, in.installOne(ctx, c))
			}
			return nil
		})
	}
	_ = work.Wait()
	if err := g.err(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (in *installer) installOne(ctx context.Context, c *plan.Component) error {
	in.sink.Emit(event.Event{Verb: string(in.verb), Kind: event.Start, Item: c.Name})
	state, err := in.installComponent(ctx, c)
	end := event.Event{
		Verb: string(in.verb), Kind: event.End, Item: c.Name, Message: describeEnd(state), Fields: map[string]any{"state": state},
	}
	if err != nil {
		end.Message = err.Error()
		err = &ComponentError{Component: c.Name, State: state, Err: err}
	}
	in.sink.Emit(end)
	return err
}

// describeEnd says in a word how a component that did not fail has ended.
func describeEnd(state journal.State) string {
	if state == journal.Skipped {
		return "as planned already"
	}
	return "ready"
}

// ComponentError is the failure of one component. It is an ErrComponent.
type ComponentError struct {
	Component string
	State     journal.State // RolledBack: what was there before is there again
	Err       error
}

func (e *ComponentError) Error() string {
	if e.State == journal.RolledBack {
		return fmt.Sprintf("component %s failed and was rolled back: %v", e.Component, e.Err)
	}
	return fmt.Sprintf("component %s: %v", e.Component, e.Err)
}

// Unwrap gives ErrComponent and the cause.
func (e *ComponentError) Unwrap() []error { return []error{ErrComponent, e.Err} }

// graph lets components wait for those they need.
type graph struct {
	mu     sync.Mutex
	ended  map[string]chan struct{} // closed when the component is done
	failed chan struct{}            // closed at the first failure
	errs   []error
}

func newGraph(components []*plan.Component) *graph {
	g := &graph{ended: map[string]chan struct{}{}, failed: make(chan struct{})}
	for _, c := range components {
		g.ended[c.Name] = make(chan struct{})
	}
	return g
}

// waitForNeeds returns true once everything in the graph that c needs is done, false
// when c must not begin any more.
func (g *graph) waitForNeeds(ctx context.Context, c *plan.Component) bool {
	for _, n := range c.Needs {
		ended, ours := g.ended[n]
		if !ours {
			continue
		}
		select {
		case <-ended:
		case <-g.failed:
			return false
		case <-ctx.Done():
			return false
		}
	}
	select {
	case <-g.failed:
		return false
	default:
		return ctx.Err() == nil
	}
}

func (g *graph) markDone(name string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		close(g.ended[name])
		return
	}
	if len(g.errs) == 0 {
		close(g.failed)
	}
	g.errs = append(g.errs, err)
}

func (g *graph) err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}
