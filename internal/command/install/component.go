package install

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kube"
)

// work is one component on its way to what the plan says.
type work struct {
	in      *installer
	c       *plan.Component
	engine  *helm.Engine
	specs   []helm.Spec                  // by release, in the plan's order
	objects []*unstructured.Unstructured // of manifests, rewritten, without definitions
	crds    []*unstructured.Unstructured // of manifests
	before  *journal.Installed           // what is written down of it when the run begins; nil for nothing
	entry   journal.Installed            // what will be written down
	changed bool
}

// ownerOf marks the objects of a component.
func (s *session) ownerOf(component string) string { return s.stack + "/" + component }

// installComponent brings one component to what the plan says, or back to what it was.
func (in *installer) installComponent(ctx context.Context, c *plan.Component) (journal.State, error) {
	if err := in.markComponent(c.Name, journal.Running, nil); err != nil {
		return journal.Failed, err
	}
	w := &work{in: in, c: c, objects: in.own[c.Name], engine: helm.NewEngine(in.cluster, c.Namespace, in.pulls, in.reportWaiting(c.Name))}
	state, err := journal.Done, w.carryOut(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		state = journal.Cancelled
	case err != nil && w.changed:
		state, err = w.goBack(ctx, errors.Join(err, w.findUnpulled(ctx)))
	case err != nil:
		state = journal.Failed
	case !w.changed:
		state = journal.Skipped
	}
	return state, errors.Join(err, in.markComponent(c.Name, state, err))
}

func (w *work) carryOut(ctx context.Context) error {
	if err := w.prepareEntry(ctx); err != nil {
		return err
	}
	steps := []func(context.Context) error{w.makeNamespace, w.copyPullSecret, w.nodeLabels, w.applyDefinitions, w.installReleases, w.applyManifests, w.waitUntilReady}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	finished, err := w.in.cluster.Finished(ctx, w.entry.Objects)
	if err != nil {
		return err
	}
	return w.in.record(func(j *journal.Journal, _ *journal.Run) {
		w.entry.Complete, w.entry.Intact = true, nil
		w.entry.Finished = unionBy(w.entry.Finished, finished, object.Ref.Key)
		j.Put(w.entry)
	})
}

// prepareEntry reads everything from the bundle and writes down what is about to be,
// so that a run that dies leaves nothing unknown behind.
func (w *work) prepareEntry(ctx context.Context) error {
	if err := w.readContent(); err != nil {
		return err
	}
	text, err := kube.Marshal(w.objects)
	if err != nil {
		return err
	}
	w.entry = w.outlineEntry()
	if len(w.objects) > 0 {
		if w.entry.Manifests, err = w.in.store.PutObjects(ctx, w.in.stack, text); err != nil {
			return err
		}
	}
	before := w.in.installedCopy(w.c.Name)
	if err := w.in.noteFinished(ctx, before); err != nil {
		return err
	}
	w.before = before
	w.entry.Former, w.entry.Intact = formerOf(before, w.entry.Plan), intactOf(before)
	return w.in.record(func(j *journal.Journal, r *journal.Run) {
		w.entry.Generation = r.Generation
		begun := w.entry
		begun.Releases, begun.Objects = slices.Clone(w.entry.Releases), w.plannedObjects()
		if before != nil {
			begun.Releases = unionBy(begun.Releases, before.Releases, func(r journal.Release) string { return r.Name })
			begun.Objects = unionBy(before.Objects, begun.Objects, object.Ref.Key)
			begun.Finished = before.Finished
		}
		j.Put(begun)
		j.Arrange(w.in.order)
	})
}

// formerOf is what a change to a component can go back to. A change that never
// ended is not a state to go back to, nor is the plan that is carried out again.
func formerOf(before *journal.Installed, planned digest.Digest) *journal.Former {
	switch {
	case before == nil:
		return nil
	case before.Plan == planned || !before.Complete:
		return before.Former
	}
	return before.Snapshot()
}

// intactOf is what a component was when it was last whole: what a change that fails goes
// back to, be it another plan's or the same one's.
func intactOf(before *journal.Installed) *journal.Former {
	switch {
	case before == nil:
		return nil
	case before.Complete:
		return before.Snapshot()
	case before.Intact != nil:
		return before.Intact
	}
	return before.Former // a journal of an earlier version has no more
}

func unionBy[T any](a, b []T, key func(T) string) []T {
	out := slices.Clone(a)
	have := map[string]bool{}
	for _, e := range a {
		have[key(e)] = true
	}
	for _, e := range b {
		if !have[key(e)] {
			out = append(out, e)
		}
	}
	return out
}

// outlineEntry is the component's entry before anything was done.
func (w *work) outlineEntry() journal.Installed {
	e := journal.Installed{Name: w.c.Name, Needs: w.c.Needs, Namespace: w.c.Namespace, Version: w.in.plan.Version, Plan: w.in.planned}
	for _, r := range w.c.Releases {
		e.Releases = append(e.Releases, journal.Release{Name: r.Name, Chart: r.Chart, ChartDigest: r.ChartDigest, ValuesDigest: r.ValuesDigest})
	}
	e.Ready = w.conditions(w.in.cluster.Complete)
	return e
}

// conditions are the plan's, each of the object that find says it means.
func (w *work) conditions(find func(object.Ref) object.Ref) (out []object.Target) {
	for _, c := range w.c.Ready {
		o := object.Ref{APIVersion: c.APIVersion, Kind: c.Kind, Namespace: c.Namespace, Name: c.Name}
		out = append(out, object.Target{Object: find(o), Condition: c.Condition})
	}
	return out
}

// plannedObjects names the objects of manifests as they will be.
func (w *work) plannedObjects() []object.Ref {
	out := make([]object.Ref, len(w.objects))
	for i, u := range w.objects {
		out[i] = w.in.cluster.Place(u, w.c.Namespace)
	}
	if ref := w.in.plan.Site.Registry.PullSecretRef; ref != nil && ref.Namespace != "" && ref.Namespace != w.c.Namespace {
		out = append(out, object.Ref{APIVersion: "v1", Kind: "Secret", Namespace: w.c.Namespace, Name: ref.Name})
	}
	return out
}

// readContent takes charts and manifests out of the bundle and holds them against the
// plan's digests.
func (w *work) readContent() error {
	for _, r := range w.c.Releases {
		chart, dg, err := w.in.bundle.Chart(r.Chart)
		if err != nil {
			return err
		}
		if dg != r.ChartDigest {
			return fmt.Errorf("chart %s: %w: it is %s, not %s", r.Chart, ErrBundleMismatch, dg, r.ChartDigest)
		}
		w.specs = append(w.specs, helm.Spec{Name: r.Name, Chart: chart, Values: r.Values, CRDs: w.crdNames(), Timeout: w.in.timeout, Labels: marks(r), Rendering: w.in.rendered[releaseKey{w.c.Name, r.Name}].rendering})
	}
	for _, m := range w.c.Manifests {
		if err := w.readManifest(m); err != nil {
			return err
		}
	}
	return nil
}

// marks tell later what a release was made of.
func marks(r plan.Release) map[string]string {
	return map[string]string{helm.LabelChart: plan.Mark(r.ChartDigest), helm.LabelValues: plan.Mark(r.ValuesDigest), helm.LabelImages: plan.Mark(r.ImagesDigest)}
}

func (w *work) readManifest(m plan.Manifest) error {
	data, dg, err := w.in.bundle.File(m.Item)
	if err != nil {
		return err
	}
	if dg != m.Digest {
		return fmt.Errorf("manifest %s: %w: it is %s, not %s", m.Item, ErrBundleMismatch, dg, m.Digest)
	}
	objects, err := kube.Parse(data)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", m.Item, err)
	}
	for _, u := range objects {
		if kube.IsCRD(u) {
			w.crds = append(w.crds, u)
			continue
		}
		if err := helm.RewriteObject(u, w.in.pulls); err != nil {
			return fmt.Errorf("manifest %s: %w", m.Item, err)
		}
		w.objects = append(w.objects, u)
	}
	return nil
}

func (w *work) runStep(ctx context.Context, kind journal.StepKind, name string, act func(*journal.Step) error) error {
	return w.in.runStep(ctx, w.c.Name, journal.Step{Kind: kind, Name: name}, act)
}

func (w *work) makeNamespace(ctx context.Context) error {
	return w.runStep(ctx, journal.StepNamespace, w.c.Namespace, func(s *journal.Step) error {
		ns, made, err := w.in.cluster.EnsureNamespace(ctx, w.c.Namespace, map[string]string{kube.AnnotationOwner: w.in.stack})
		if err != nil {
			return err
		}
		if !made {
			s.State = journal.Skipped
			return w.reclaimNamespace(ctx, ns)
		}
		w.changed = true
		return w.in.record(func(j *journal.Journal, _ *journal.Run) { j.Keep(ns) })
	})
}

// reclaimNamespace remembers a namespace that a run made and died before it could write
// that down.
func (w *work) reclaimNamespace(ctx context.Context, ns object.Ref) error {
	ours, err := w.in.cluster.Owned(ctx, ns, w.in.stack)
	if err != nil || !ours {
		return err
	}
	return w.in.record(func(j *journal.Journal, _ *journal.Run) { j.Keep(ns) })
}

// copyPullSecret copies the site's pull secret into the component's namespace.
func (w *work) copyPullSecret(ctx context.Context) error {
	ref := w.in.plan.Site.Registry.PullSecretRef
	if ref == nil || ref.Namespace == "" || ref.Namespace == w.c.Namespace {
		return nil
	}
	return w.runStep(ctx, journal.StepCredential, ref.Name, func(s *journal.Step) error {
		secret, err := w.in.cluster.PullSecret(ctx, ref.Namespace, ref.Name)
		if err != nil {
			return err
		}
		done, err := w.in.cluster.Apply(ctx, []*unstructured.Unstructured{secret}, w.in.applyOptions(w.c.Name, w.c.Namespace))
		for _, a := range done {
			w.entry.Objects = append(w.entry.Objects, a.Object)
		}
		return errors.Join(err, w.recordApplied(s, done, false))
	})
}

// applyOptions are how objects of a component are applied: as its own, and waiting for
// webhooks that do not answer yet.
func (s *session) applyOptions(component, namespace string) kube.ApplyOptions {
	return kube.ApplyOptions{Namespace: namespace, Owner: s.ownerOf(component), Patience: s.timeout, Report: s.reportWaiting(component)}
}

// applyDefinitions applies custom resource definitions, which belong to no release.
func (w *work) applyDefinitions(ctx context.Context) error {
	if len(w.c.CRDs) == 0 && len(w.crds) == 0 {
		return nil
	}
	return w.runStep(ctx, journal.StepCRDs, "", func(s *journal.Step) error {
		rendered, err := w.definitionsOf()
		if err != nil {
			return err
		}
		crds := slices.Concat(w.crds, rendered)
		if err := w.requirePlanned(crds); err != nil {
			return err
		}
		if err := w.keepDefinitions(ctx, crds); err != nil {
			return err
		}
		defer w.in.tellComponentsWait(w.c.Name, "custom resource definitions", "the cluster is to serve them")()
		done, err := w.in.cluster.ApplyCRDs(ctx, crds, w.in.applyOptions(w.c.Name, ""))
		return errors.Join(err, w.recordApplied(s, done, true))
	})
}

// keepDefinitions writes the definitions down before they are applied, so that
// going back knows them.
func (w *work) keepDefinitions(ctx context.Context, crds []*unstructured.Unstructured) error {
	text, err := kube.Marshal(crds)
	if err != nil {
		return err
	}
	if w.entry.Definitions, err = w.in.store.PutObjects(ctx, w.in.stack, text); err != nil {
		return err
	}
	return w.in.record(func(j *journal.Journal, _ *journal.Run) { j.Component(w.c.Name).Definitions = w.entry.Definitions })
}

// requirePlanned requires that the plan has every definition.
func (w *work) requirePlanned(crds []*unstructured.Unstructured) error {
	names := w.crdNames()
	var errs []error
	for _, u := range crds {
		errs = append(errs, helm.CheckCRD(u, names))
	}
	return errors.Join(errs...)
}

// crdNames are those of the definitions that the plan has for the component.
func (w *work) crdNames() []string {
	out := make([]string, len(w.c.CRDs))
	for i, c := range w.c.CRDs {
		out[i] = c.Name
	}
	return out
}

// recordApplied writes down what was applied; made objects that are shared are kept
// for the day of their removal.
func (w *work) recordApplied(s *journal.Step, done []kube.Applied, shared bool) error {
	count := map[kube.Outcome]int{}
	for _, a := range done {
		count[a.Outcome]++
	}
	s.Note = fmt.Sprintf("%d created, %d changed, %d unchanged", count[kube.Created], count[kube.Changed], count[kube.Unchanged])
	if count[kube.Created]+count[kube.Changed] > 0 {
		w.changed = true
	} else {
		s.State = journal.Skipped
	}
	if !shared {
		done = slices.DeleteFunc(slices.Clone(done), func(a kube.Applied) bool { return !kube.IsNamespace(a.Object) })
	}
	return w.in.keepShared(done) // also what a run made that died before it could write that down
}

func (w *work) installReleases(ctx context.Context) error {
	for i := range w.specs {
		if err := w.installRelease(ctx, i); err != nil {
			return err
		}
		if err := w.waitForWebhooks(ctx, w.entry.Releases[i].Objects); err != nil {
			return err
		}
	}
	return w.uninstallDropped(ctx)
}

// installRelease installs, upgrades or leaves one release.
func (w *work) installRelease(ctx context.Context, i int) error {
	spec := w.specs[i]
	return w.runStep(ctx, journal.StepRelease, spec.Name, func(s *journal.Step) error {
		last, err := w.engine.Settle(ctx, spec.Name)
		if err != nil && !errors.Is(err, helm.ErrNoRelease) {
			return err
		}
		after, err := w.changeRelease(ctx, s, spec, last)
		if err != nil {
			return err
		}
		s.After = after.Revision
		w.entry.Releases[i].Revision, w.entry.Releases[i].Objects = after.Revision, after.Objects
		return nil
	})
}

// changeRelease does what last, the newest revision if there is one, calls for.
func (w *work) changeRelease(ctx context.Context, s *journal.Step, spec helm.Spec, last helm.Release) (helm.Release, error) {
	good, err := w.engine.Deployed(ctx, spec.Name)
	if err != nil && !errors.Is(err, helm.ErrNoRelease) {
		return last, err
	}
	s.Before = good.Revision
	switch {
	case last.Revision == 0:
	case good.Revision == last.Revision && same(last, spec.Labels) && w.isHealthy(ctx, last):
		s.State, s.Note = journal.Skipped, "as planned already"
		return last, nil
	case w.refused(spec.Name) != nil:
		return last, w.refused(spec.Name)
	case good.Revision == 0:
		// A first install that never ended: its hooks must run again, so it
		// begins again.
		s.Note = "an earlier attempt was removed first"
		w.changed = true
		if err := w.engine.Uninstall(ctx, spec.Name, spec.Timeout); err != nil {
			return last, err
		}
	default:
		w.changed = true
		w.in.info(w.c.Name, "upgrading release %s from revision %d", spec.Name, last.Revision)
		return w.engine.Upgrade(ctx, spec)
	}
	w.changed = true
	w.in.info(w.c.Name, "installing release %s", spec.Name)
	return w.engine.Install(ctx, spec)
}

func same(r helm.Release, labels map[string]string) bool {
	for _, l := range []string{helm.LabelChart, helm.LabelValues, helm.LabelImages} {
		if r.Labels[l] != labels[l] {
			return false
		}
	}
	return true
}

// isHealthy looks once whether everything of a release is there, ready, and as it
// was applied. What cannot be compared is taken to be, and told.
func (w *work) isHealthy(ctx context.Context, r helm.Release) bool {
	objects, err := w.engine.Objects(ctx, r.Name)
	if err != nil {
		return false
	}
	var g errgroup.Group
	g.SetLimit(lookers)
	live := w.in.cluster.NewComparer()
	for _, u := range objects {
		g.Go(func() error {
			t := thing{target: object.Target{Object: w.in.cluster.Place(u, w.c.Namespace)}, applied: u, opt: kube.ApplyOptions{Namespace: w.c.Namespace}}
			err := t.observe(ctx, w.in.cluster, live)
			if t.err != nil && ctx.Err() == nil {
				w.in.warn(w.c.Name, "%s could not be compared, and stays as it is: %v", t.target.Object, t.err)
			}
			if err == nil && (!t.state.Ready && (!t.state.Missing || !isRemovedWhenDone(u)) || len(t.found.Differences) > 0) {
				err = ErrDrift
			}
			return err
		})
	}
	return g.Wait() == nil
}

// uninstallDropped uninstalls releases that the component had and the plan has no more.
// Their history stays, for a rollback.
func (w *work) uninstallDropped(ctx context.Context) error {
	before := w.in.installedCopy(w.c.Name)
	for _, r := range before.Releases {
		if slices.ContainsFunc(w.specs, func(s helm.Spec) bool { return s.Name == r.Name }) {
			continue
		}
		err := w.runStep(ctx, journal.StepRelease, r.Name, func(s *journal.Step) error {
			w.changed = true
			s.Before, s.Note = r.Revision, "no longer part of the component: uninstalled"
			return w.engine.Retire(ctx, r.Name, w.in.timeout)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// applyManifests applies plain objects and deletes those that are no longer there.
func (w *work) applyManifests(ctx context.Context) error {
	before := w.in.installedCopy(w.c.Name).Objects
	if len(w.objects) == 0 && len(before) == 0 {
		return nil
	}
	err := w.runStep(ctx, journal.StepManifests, "", func(s *journal.Step) error {
		objects, err := w.withoutDone(ctx)
		if err != nil {
			return err
		}
		done, err := w.in.cluster.Apply(ctx, objects, w.in.applyOptions(w.c.Name, w.c.Namespace))
		for _, a := range done {
			w.entry.Objects = append(w.entry.Objects, a.Object)
		}
		if err := errors.Join(err, w.recordApplied(s, done, false)); err != nil {
			return err
		}
		gone := refsWithout(before, w.entry.Objects)
		if len(gone) > 0 {
			w.changed, s.State = true, journal.Running
		}
		return w.in.cluster.DeleteOwned(ctx, gone, w.in.ownerOf(w.c.Name))
	})
	if err != nil {
		return err
	}
	return w.waitForWebhooks(ctx, w.entry.Objects)
}

// refsWithout lists the objects of a that b does not have.
func refsWithout(a, b []object.Ref) []object.Ref {
	have := map[string]bool{}
	for _, o := range b {
		have[o.Key()] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(o object.Ref) bool { return have[o.Key()] })
}

// waitForWebhooks waits until those that the component brought, and that forbid what
// they guard while they are silent, answer: what comes next may need them.
func (w *work) waitForWebhooks(ctx context.Context, brought []object.Ref) error {
	configs := webhookConfigurations(brought)
	if len(configs) == 0 {
		return nil
	}
	return w.runStep(ctx, journal.StepWebhooks, "", func(*journal.Step) error {
		waiting, cancel := context.WithTimeout(ctx, w.in.timeout)
		defer cancel()
		return w.in.cluster.WaitWebhooks(waiting, configs, w.c.Namespace, w.in.reportWaiting(w.c.Name))
	})
}

// waitUntilReady waits for the component's conditions and for its plain objects.
func (w *work) waitUntilReady(ctx context.Context) error {
	if err := w.settleConditions(); err != nil {
		return err
	}
	targets := readyTargets(&w.entry)
	if len(targets) == 0 {
		return nil
	}
	return w.runStep(ctx, journal.StepReady, "", func(*journal.Step) error {
		wait := w.in.cluster.WaitReady
		if w.changed {
			wait = w.in.cluster.WaitSettled
		}
		return w.in.waitWithin(ctx, w.c.Name, targets, wait)
	})
}

// settleConditions writes down what the conditions mean where that was not known before
// the component's own kinds were there: status may ask while it waits for them.
func (w *work) settleConditions() error {
	meant := w.conditions(w.findMeant)
	if slices.Equal(meant, w.entry.Ready) {
		return nil
	}
	w.entry.Ready = meant
	return w.in.record(func(j *journal.Journal, _ *journal.Run) { j.Component(w.c.Name).Ready = slices.Clone(meant) })
}

// findMeant is the object that a condition names without its API version, or with a namespace
// where the kind has none: the component's own, or else what the cluster has by that name.
// Kinds are known only now, since the component may have brought them.
func (w *work) findMeant(o object.Ref) object.Ref {
	own := slices.Clone(w.entry.Objects)
	for _, r := range w.entry.Releases {
		own = append(own, r.Objects...)
	}
	for _, have := range own {
		version := o.APIVersion == "" || o.APIVersion == have.APIVersion
		namespace := have.Namespace == "" || have.Namespace == o.Namespace
		if version && namespace && have.Kind == o.Kind && have.Name == o.Name {
			have.UID = ""
			return have
		}
	}
	return w.in.cluster.Complete(o)
}

// readyTargets are what must be ready of a component: its conditions and its plain
// objects, but for those that did their work and ended.
func readyTargets(c *journal.Installed) []object.Target {
	out := slices.Clone(c.Ready)
	for _, o := range c.Objects {
		out = append(out, object.Target{Object: o})
	}
	return slices.DeleteFunc(out, func(t object.Target) bool { return containsRef(c.Finished, t.Object) })
}

// waiter is kube's WaitReady or WaitSettled.
type waiter func(context.Context, []object.Target, func(object.Target, kube.State)) error

// waitWithin waits for targets of a component as long as the operator allows.
func (s *session) waitWithin(ctx context.Context, component string, targets []object.Target, wait waiter) error {
	waiting, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	report := s.reportWaiting(component)
	return wait(waiting, targets, func(t object.Target, k kube.State) { report(t.Object, k.Waiting()) })
}
