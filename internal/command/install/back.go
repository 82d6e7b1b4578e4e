package install

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
)

// goBack puts a component whose change failed back to what it was: former
// releases by Helm's rollback, new ones uninstalled, former objects applied
// again, new ones deleted. The state is RolledBack when that worked. What an
// earlier run began and never ended has nothing to go back to and stays: a failure
// never leaves less than there was.
func (w *work) goBack(ctx context.Context, why error) (journal.State, error) {
	now := w.in.installedCopy(w.c.Name)
	if now.Intact == nil && w.before != nil {
		w.in.warn(w.c.Name, "component %s failed and stays as it is, since an earlier attempt at it had not ended: %v", w.c.Name, why)
		return journal.Failed, why
	}
	w.in.warn(w.c.Name, "component %s failed, going back: %v", w.c.Name, why)
	defer w.in.tellReturn(w.c.Name)()
	var entry journal.Installed
	err := w.runStep(ctx, journal.StepRollback, "", func(*journal.Step) (err error) {
		entry, _, err = w.in.restoreComponent(ctx, now, now.Intact, w.pullsOf(ctx, now.Intact))
		if f := now.Intact; f != nil { // it is what it was, with its own past
			entry.Generation, entry.Former = f.Generation, f.Former
		}
		return err
	})
	if err != nil {
		return journal.Failed, errors.Join(why, fmt.Errorf("going back: %w", err))
	}
	err = w.in.putEntry(entry, now.Intact != nil)
	if err == nil && now.Intact == nil {
		w.in.takeBackNamespace(ctx, now.Namespace)
	}
	return journal.RolledBack, errors.Join(why, err)
}

// tellReturn tells that a component goes back, and waits no more for what the change lacked,
// until end is called; a renderer may drop it.
func (s *session) tellReturn(component string) (end func()) {
	const what, why = "what it was before", "the change failed and is taken back"
	tell := func(message string, w event.Wait) {
		s.sink.Emit(event.Event{Verb: string(s.verb), Kind: event.Progress, Item: component, Message: message, Wait: &w})
	}
	tell("", event.Wait{})
	tell(what+": "+why, event.Wait{For: what, Why: why})
	return func() { tell("", event.Wait{}) }
}

// putEntry writes down what a component is now, or that it is no more.
func (s *session) putEntry(entry journal.Installed, exists bool) error {
	return s.record(func(j *journal.Journal, _ *journal.Run) {
		if exists {
			j.Put(entry)
		} else {
			j.Drop(entry.Name)
		}
	})
}

func (w *work) pullsOf(ctx context.Context, f *journal.Former) helm.Pulls {
	if f == nil {
		return w.in.pulls
	}
	return eitherPulls(w.in.keptPulls(ctx, f.Plan), w.in.pulls)
}

// eitherPulls asks a, then b.
func eitherPulls(a, b helm.Pulls) helm.Pulls {
	return helm.Pulls{Secret: a.Secret, Rewrite: func(ref string) (string, bool) {
		if site, ok := a.Rewrite(ref); ok {
			return site, true
		}
		return b.Rewrite(ref)
	}}
}

// restoreComponent makes a component what it was, or removes it where it was not, and
// returns the entry to write down and whether anything in the cluster changed. Nothing it
// does depends on a bundle.
func (s *session) restoreComponent(
	ctx context.Context, c *journal.Installed, was *journal.Former, pulls helm.Pulls,
) (entry journal.Installed, changed bool, err error) {
	r := &restorer{session: s, now: c, former: was, engine: helm.NewEngine(s.cluster, c.Namespace, pulls, s.reportWaiting(c.Name))}
	var leases []kube.LeaderLease
	if r.former == nil {
		leases, r.former, r.changed = s.findLeases(ctx, c), &journal.Former{}, true
	}
	r.entry = journal.Installed{
		Name: c.Name, Needs: c.Needs, Namespace: c.Namespace, Complete: true,
		Version: r.former.Version, Plan: r.former.Plan, Manifests: r.former.Manifests,
		Definitions: r.former.Definitions, Ready: r.former.Ready, Finished: r.former.Finished,
	}
	s.readJournal(func(j *journal.Journal) { r.entry.Generation = j.Last().Generation })
	if r.former.Manifests == "" {
		if err := s.clearNodes(ctx, c); err != nil {
			return r.entry, r.changed, err
		}
	}
	labelled, err := s.unlabelNodes(ctx, c, r.former.Plan)
	if err != nil {
		return r.entry, r.changed, err
	}
	r.changed = r.changed || labelled
	if r.objects, err = s.recordedObjects(ctx, r.former.Manifests); err != nil {
		return r.entry, r.changed, err
	}
	for _, part := range []func(context.Context) error{r.restoreDefinitions, r.removeNewObjects, r.restoreReleases, r.awaitWebhooks, r.restoreObjects, r.awaitWebhooks, r.newDefinitions} {
		if err := part(ctx); err != nil {
			return r.entry, r.changed, err
		}
	}
	s.releaseLeases(ctx, c.Name, leases)
	return r.entry, r.changed, nil
}

// findLeases lists the leases that a component's pods hold. Where that fails nothing is
// lost but time, as releaseLeases says.
func (s *session) findLeases(ctx context.Context, c *journal.Installed) []kube.LeaderLease {
	leases, err := s.cluster.LeaderLeases(ctx, removedOf(c).Objects)
	if err != nil {
		s.warn(c.Name, "leases of its pods stay, and the next installation waits until they have run out: %v", err)
	}
	return leases
}

// releaseLeases removes the leases that a component's pods held. It only saves the next
// pods a wait, so that a failure is told and changes nothing.
func (s *session) releaseLeases(ctx context.Context, component string, leases []kube.LeaderLease) {
	if err := s.cluster.ReleaseLeases(ctx, leases); err != nil {
		s.warn(component, "a lease stays, and the next installation waits until it has run out: %v", err)
	}
}

type restorer struct {
	*session
	now     *journal.Installed
	former  *journal.Former
	objects []*unstructured.Unstructured // the former plain ones
	engine  *helm.Engine
	entry   journal.Installed
	changed bool // something in the cluster is not as it was before
}

// noteApplied takes note of whether applying changed anything.
func (r *restorer) noteApplied(done []kube.Applied) {
	r.changed = r.changed || slices.ContainsFunc(done, func(a kube.Applied) bool { return a.Outcome != kube.Unchanged })
}

// restoreDefinitions brings back the former custom resource definitions. Those that
// objects are stored by in a newer version stay as they are.
func (r *restorer) restoreDefinitions(ctx context.Context) error {
	if r.former.Definitions == "" || r.former.Definitions == r.now.Definitions {
		return nil
	}
	crds, err := r.recordedObjects(ctx, r.former.Definitions)
	if err != nil {
		return err
	}
	done, err := r.cluster.ApplyCRDs(ctx, crds, r.applyOptions(r.now.Name, ""))
	r.noteApplied(done)
	if kept := r.keepShared(done); kept != nil {
		return errors.Join(err, kept)
	}
	if errors.Is(err, kube.ErrStoredVersion) {
		r.warn(r.now.Name, "custom resource definitions stay as they are: %v", err)
		return nil
	}
	return err
}

// keepShared remembers the shared objects that the product made.
func (s *session) keepShared(done []kube.Applied) error {
	done = slices.DeleteFunc(slices.Clone(done), func(a kube.Applied) bool { return !a.Made })
	if len(done) == 0 {
		return nil
	}
	return s.record(func(j *journal.Journal, _ *journal.Run) {
		for _, a := range done {
			j.Keep(a.Object)
		}
	})
}

func (s *session) recordedObjects(ctx context.Context, record digest.Digest) ([]*unstructured.Unstructured, error) {
	if record == "" {
		return nil, nil
	}
	text, err := s.store.Objects(ctx, record)
	if err != nil {
		return nil, err
	}
	return kube.Parse(text)
}

// newDefinitions removes the definitions that the component did not have before,
// unless another one brings them too or objects of theirs exist.
func (r *restorer) newDefinitions(ctx context.Context) error {
	if r.now.Definitions == r.former.Definitions {
		return nil
	}
	added, err := r.recordedObjects(ctx, r.now.Definitions)
	if err != nil {
		return err
	}
	kept, err := r.keptDefinitions(ctx)
	if err != nil {
		return err
	}
	var gone []object.Ref
	r.readJournal(func(j *journal.Journal) {
		for _, o := range j.Made {
			named := func(u *unstructured.Unstructured) bool { return u.GetName() == o.Name }
			if o.Kind == "CustomResourceDefinition" && !kept[o.Name] && slices.ContainsFunc(added, named) {
				gone = append(gone, o)
			}
		}
	})
	r.changed = r.changed || len(gone) > 0
	return r.removeShared(ctx, gone)
}

// keptDefinitions are the names of those that other components bring, and the
// former state.
func (r *restorer) keptDefinitions(ctx context.Context) (map[string]bool, error) {
	records := []digest.Digest{r.former.Definitions}
	r.readJournal(func(j *journal.Journal) {
		for _, c := range j.Installed {
			if c.Name != r.now.Name {
				records = append(records, c.Definitions)
			}
		}
	})
	kept := map[string]bool{}
	for _, record := range records {
		crds, err := r.recordedObjects(ctx, record)
		if err != nil {
			return nil, err
		}
		for _, u := range crds {
			kept[u.GetName()] = true
		}
	}
	return kept, nil
}

// removeNewObjects removes the plain objects that were not there before, while what may
// have to free them is.
func (r *restorer) removeNewObjects(ctx context.Context) error {
	was := slices.Clone(r.former.Objects)
	for _, u := range r.objects {
		was = append(was, r.cluster.Place(u, r.now.Namespace))
	}
	added := refsWithout(r.now.Objects, was)
	r.changed = r.changed || len(added) > 0
	return r.cluster.DeleteOwned(ctx, added, r.ownerOf(r.now.Name))
}

// restoreObjects brings back the former plain objects, once the former releases are
// there: their webhooks may guard them, and what is broken may be what changed.
func (r *restorer) restoreObjects(ctx context.Context) error {
	objects := withoutFinished(r.cluster, r.objects, r.now.Namespace, r.former.Finished)
	done, err := r.cluster.Apply(ctx, objects, r.applyOptions(r.now.Name, r.now.Namespace))
	r.noteApplied(done)
	if err != nil {
		return err
	}
	for _, a := range done {
		r.entry.Objects = append(r.entry.Objects, a.Object)
	}
	r.entry.Objects = unionBy(r.entry.Objects, r.former.Objects, object.Ref.Key)
	return nil
}

// restoreReleases brings back the former releases, the last one first.
func (r *restorer) restoreReleases(ctx context.Context) error {
	for _, rel := range slices.Backward(r.now.Releases) {
		if _, known := findRelease(r.former.Releases, rel.Name); !known {
			r.changed = true
			if err := r.engine.Uninstall(ctx, rel.Name, r.timeout); err != nil {
				return err
			}
		}
	}
	for _, rel := range r.former.Releases {
		back, err := r.restoreRelease(ctx, rel)
		if err != nil {
			return err
		}
		rel.Revision, rel.Objects = back.Revision, back.Objects
		r.entry.Releases = append(r.entry.Releases, rel)
	}
	return nil
}

// restoreRelease goes back to a revision, unless the release never left it.
func (r *restorer) restoreRelease(ctx context.Context, rel journal.Release) (helm.Release, error) {
	last, err := r.engine.Settle(ctx, rel.Name)
	if err != nil {
		return last, err
	}
	if last.Revision == rel.Revision && last.Status == "deployed" {
		return last, nil
	}
	r.changed = true
	return r.engine.Rollback(ctx, rel.Name, rel.Revision, r.timeout)
}

func findRelease(list []journal.Release, name string) (journal.Release, bool) {
	i := slices.IndexFunc(list, func(r journal.Release) bool { return r.Name == name })
	if i < 0 {
		return journal.Release{}, false
	}
	return list[i], true
}
