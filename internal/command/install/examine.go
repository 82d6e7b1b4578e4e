package install

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kube"
)

// Bounds of what is looked at side by side.
const (
	examiners = 8  // components
	lookers   = 16 // objects of each
)

// examination is one look at one component.
type examination struct {
	*session
	common *commonLook
	status ComponentStatus
	things []thing
	silent map[string]int // objects that could not be compared, by the webhook that does not answer
}

// commonLook is what the examinations of all components share.
type commonLook struct {
	live        *kube.Comparer
	from        sources
	definitions map[string][]*unstructured.Unstructured // by the component that brings them
	definers    map[string]int                          // how many components bring a definition, by its name
}

// newLook gathers what examinations share.
func (s *session) newLook(ctx context.Context) (*commonLook, error) {
	l := &commonLook{
		live: s.cluster.NewComparer(), from: s.allowedSources(ctx),
		definitions: map[string][]*unstructured.Unstructured{}, definers: map[string]int{},
	}
	for _, c := range s.journal.Installed {
		crds, err := s.recordedObjects(ctx, c.Definitions)
		if err != nil {
			return nil, err
		}
		l.definitions[c.Name] = crds
		for _, u := range crds {
			l.definers[u.GetName()]++
		}
	}
	return l, nil
}

// thing is one object to look at, and what was applied of it.
type thing struct {
	target  object.Target
	applied *unstructured.Unstructured // nil: it is only looked whether it exists and is ready
	opt     kube.ApplyOptions
	brief   bool // the cluster deletes the object some time after it did its work: that it is missing is no drift

	state kube.State
	found kube.Comparison
	err   error
}

// examine looks at one component: its releases, its objects field by field, and
// the images of what runs in its namespace.
func (s *session) examine(ctx context.Context, c *journal.Installed, common *commonLook) (ComponentStatus, error) {
	e := &examination{session: s, common: common, status: ComponentStatus{Name: c.Name, Version: c.Version, Ready: true}, silent: map[string]int{}}
	if !c.Complete {
		e.noteUnready("a change to it has not ended")
	}
	engine := helm.NewEngine(s.cluster, c.Namespace, helm.Pulls{}, nil)
	for _, r := range c.Releases {
		if err := e.examineRelease(ctx, engine, r, c.Namespace); err != nil {
			return e.status, err
		}
	}
	if err := e.addOwnObjects(ctx, c); err != nil {
		return e.status, err
	}
	if err := e.examineLabels(ctx, c); err != nil {
		return e.status, err
	}
	if err := e.lookAtAll(ctx); err != nil {
		return e.status, err
	}
	if err := e.examineWebhooks(ctx, c); err != nil {
		return e.status, err
	}
	return e.status, e.examineImages(ctx, c, common.from)
}

func (e *examination) noteUnready(format string, args ...any) {
	e.status.Ready = false
	if text := fmt.Sprintf(format, args...); !slices.Contains(e.status.Why, text) {
		e.status.Why = append(e.status.Why, text)
	}
}

func (e *examination) noteDrift(d Drift, format string, args ...any) {
	e.status.Drifted = true
	e.status.Why = append(e.status.Why, fmt.Sprintf(format, args...))
	if d.Object.Name != "" {
		e.status.Drift = append(e.status.Drift, d)
	}
}

func (e *examination) examineRelease(ctx context.Context, engine *helm.Engine, r journal.Release, namespace string) error {
	last, err := engine.Last(ctx, r.Name)
	switch {
	case errors.Is(err, helm.ErrNoRelease):
		e.noteDrift(Drift{}, "release %s does not exist", r.Name)
		e.status.Ready = false
		return nil
	case err != nil:
		return err
	case last.Status != "deployed":
		e.noteUnready("release %s is %s: %s", r.Name, last.Status, last.Note)
	case r.Revision != 0 && last.Revision != r.Revision:
		e.noteDrift(Drift{}, "release %s is at revision %d, installed was %d", r.Name, last.Revision, r.Revision)
	}
	objects, err := engine.Objects(ctx, r.Name)
	if err != nil {
		return err
	}
	for _, u := range objects {
		e.things = append(e.things, thing{
			target: object.Target{Object: e.cluster.Place(u, namespace)}, applied: u, opt: kube.ApplyOptions{Namespace: namespace}, brief: isRemovedWhenDone(u),
		})
	}
	return nil
}

// isRemovedWhenDone says whether an object is removed by the cluster some time after it
// did its work.
func isRemovedWhenDone(u *unstructured.Unstructured) bool {
	_, found, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "ttlSecondsAfterFinished")
	return found && kube.RunsToEnd(u.GetKind())
}

// addOwnObjects adds the component's plain objects, definitions and conditions.
func (e *examination) addOwnObjects(ctx context.Context, c *journal.Installed) error {
	owner := e.ownerOf(c.Name)
	manifests, err := e.recordedObjects(ctx, c.Manifests)
	if err != nil {
		return err
	}
	applied := map[string]*unstructured.Unstructured{}
	for _, u := range manifests {
		applied[e.cluster.Place(u, c.Namespace).Key()] = u
	}
	for _, o := range c.Objects {
		u := applied[o.Key()]
		e.things = append(e.things, thing{target: object.Target{Object: o}, applied: u, opt: kube.ApplyOptions{Namespace: c.Namespace, Owner: owner}, brief: u != nil && isRemovedWhenDone(u) || containsRef(c.Finished, o)})
	}
	for _, u := range e.common.definitions[c.Name] {
		t := thing{target: object.Target{Object: object.RefOf(u), Condition: "Established"}, opt: kube.ApplyOptions{Owner: owner}}
		if e.common.definers[u.GetName()] == 1 && containsRef(e.journal.Made, t.target.Object) {
			t.applied = u // another's, or one that several bring, may rightly be otherwise
		}
		e.things = append(e.things, t)
	}
	for _, t := range c.Ready {
		e.things = append(e.things, thing{target: t, brief: containsRef(c.Finished, t.Object)})
	}
	return nil
}

func (e *examination) lookAtAll(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(lookers)
	for i := range e.things {
		g.Go(func() error { return e.things[i].observe(ctx, e.cluster, e.common.live) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range e.things {
		e.noteState(&e.things[i])
	}
	return nil
}

func (t *thing) observe(ctx context.Context, c *kube.Client, live *kube.Comparer) (err error) {
	if t.state, err = c.Look(ctx, t.target); err != nil || t.state.Missing || t.applied == nil {
		return err
	}
	t.found, t.err = live.Compare(ctx, t.applied, t.opt)
	if kube.Absent(t.err) { // it went away between the two looks
		t.err, t.state = nil, kube.State{Missing: true}
	}
	return ctx.Err()
}

func (e *examination) noteState(t *thing) {
	e.status.Objects++
	o := t.target.Object
	switch {
	case t.state.Missing && t.brief:
		return
	case t.state.Missing:
		e.status.Ready = false
		e.noteDrift(Drift{Object: o, Missing: true}, "%s does not exist", o)
		return
	case o.UID != "" && o.UID != t.state.UID:
		e.noteDrift(Drift{Object: o, Replaced: true}, "%s was replaced by another of the same name", o)
	case !t.state.Ready:
		e.noteUnready("%s: %s", o, t.state.Message)
	}
	if name, silent := kube.SilentWebhook(t.err); silent {
		e.silent[name]++
	} else if t.err != nil {
		e.warn(e.status.Name, "%s was not compared: %v", o, t.err)
	}
	for _, f := range t.found.Differences {
		e.status.Drifted = true
		e.status.Why = append(e.status.Why, fmt.Sprintf("%s: %s", o, f))
	}
	if len(t.found.Differences) > 0 {
		e.status.Drift = append(e.status.Drift, Drift{Object: o, Fields: t.found.Differences})
	}
	if len(t.found.Kept) > 0 {
		e.status.Kept = append(e.status.Kept, KeptFields{Object: o, By: t.found.Kept})
	}
}

// examineWebhooks asks the component's own webhooks, and adds those that did not answer
// when its objects were compared: a component is ready when what guards it answers.
func (e *examination) examineWebhooks(ctx context.Context, c *journal.Installed) error {
	list, unasked, err := e.cluster.AskWebhooks(ctx, broughtWebhooks(c), c.Namespace)
	if err != nil {
		return err
	}
	e.status.Unasked = unasked
	for _, u := range list {
		delete(e.silent, u.Webhook)
	}
	for _, u := range kube.FirstOfEach(list) {
		e.noteUnready("%s", u)
	}
	for _, name := range slices.Sorted(maps.Keys(e.silent)) {
		e.noteUnready("webhook %s does not answer: %s that it guards could not be compared", name, countObjects(e.silent[name]))
	}
	return nil
}

func countObjects(n int) string {
	if n == 1 {
		return "1 object"
	}
	return fmt.Sprintf("%d objects", n)
}

// sources is where images may come from.
type sources struct {
	known func(ref string) bool // nil: the plans cannot be read
	made  map[string]bool       // namespaces that are the product's: everything in them counts
}

// examineImages looks at the images of what runs in the component's namespace. In one
// that the product did not make, others may run what they like.
func (e *examination) examineImages(ctx context.Context, c *journal.Installed, from sources) error {
	if from.known == nil || !from.made[c.Namespace] || !e.isFirstOfNamespace(c) {
		return nil
	}
	uses, err := e.cluster.Uses(ctx, c.Namespace)
	if err != nil {
		return err
	}
	var foreign []Drift
	for _, u := range uses {
		if u.Trouble != "" {
			e.noteUnready("%s: the image of container %s cannot be pulled: %s", u.Object, u.Container, u.Trouble)
		}
		if !from.known(u.Image) {
			foreign = noteImage(foreign, u)
			e.noteDrift(Drift{}, "%s: container %s runs %s, which is not in the bundle", u.Object, u.Container, u.Image)
		}
	}
	e.status.Drift = append(e.status.Drift, foreign...)
	return nil
}

// isFirstOfNamespace says whether c is the first component of its namespace: one looks for
// all.
func (e *examination) isFirstOfNamespace(c *journal.Installed) bool {
	i := slices.IndexFunc(e.journal.Installed, func(o journal.Installed) bool { return o.Namespace == c.Namespace })
	return i < 0 || e.journal.Installed[i].Name == c.Name
}

func noteImage(list []Drift, u kube.Use) []Drift {
	for i := range list {
		if list[i].Object == u.Object {
			list[i].Images = append(list[i].Images, u.Image)
			return list
		}
	}
	return append(list, Drift{Object: u.Object, Images: []string{u.Image}})
}
