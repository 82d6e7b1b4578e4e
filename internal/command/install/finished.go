package install

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
)

// noteFinished adds to what is known of a component which of its objects have run to
// their end by now, so that nothing makes them run again: they say so, or they are gone
// and were to remove themselves. Of a change that has not ended nobody knows whether its
// objects were ever made: what counts is what there was before it.
func (s *session) noteFinished(ctx context.Context, c *journal.Installed) error {
	if c == nil {
		return nil
	}
	finished, err := s.cluster.Finished(ctx, c.Objects)
	if err != nil {
		return err
	}
	ran, err := s.recordedObjects(ctx, ranManifests(c))
	if err != nil {
		return err
	}
	for _, u := range ran {
		if !isRemovedWhenDone(u) {
			continue
		}
		o := s.cluster.Place(u, c.Namespace)
		_, err := s.cluster.Get(ctx, o)
		if kube.Absent(err) {
			finished = append(finished, o)
		} else if err != nil {
			return err
		}
	}
	c.Finished = unionBy(c.Finished, finished, object.Ref.Key)
	return nil
}

// ranManifests is the record of the manifests that are known to have been applied.
func ranManifests(c *journal.Installed) digest.Digest {
	if c.Complete {
		return c.Manifests
	}
	if was := intactOf(c); was != nil {
		return was.Manifests
	}
	return ""
}

// withoutFinished leaves out of objects those that have run to their end.
func withoutFinished(c *kube.Client, objects []*unstructured.Unstructured, namespace string, finished []object.Ref) []*unstructured.Unstructured {
	ended := map[string]bool{}
	for _, o := range finished {
		ended[o.Key()] = true
	}
	var out []*unstructured.Unstructured
	for _, u := range objects {
		if !ended[c.Place(u, namespace).Key()] {
			out = append(out, u)
		}
	}
	return out
}

// withoutDone leaves out of the component's objects those that ran to their end as they
// are planned now: carrying out a plan again does not make them run again.
func (w *work) withoutDone(ctx context.Context) ([]*unstructured.Unstructured, error) {
	if w.before == nil || len(w.before.Finished) == 0 {
		return w.objects, nil
	}
	ran, err := w.in.recordedObjects(ctx, ranManifests(w.before))
	if err != nil {
		return nil, err
	}
	same := map[string]bool{}
	for _, u := range w.objects {
		same[w.in.cluster.Place(u, w.c.Namespace).Key()] = isRecorded(ran, u)
	}
	for _, o := range w.before.Finished {
		if same[o.Key()] {
			w.entry.Finished = append(w.entry.Finished, o)
		}
	}
	for _, o := range w.before.Objects { // one that is still there stays the component's
		if same[o.Key()] && containsRef(w.entry.Finished, o) {
			w.entry.Objects = append(w.entry.Objects, o)
		}
	}
	return withoutFinished(w.in.cluster, w.objects, w.c.Namespace, w.entry.Finished), nil
}

// isRecorded says whether a record has the object as it is.
func isRecorded(record []*unstructured.Unstructured, u *unstructured.Unstructured) bool {
	for _, r := range record {
		if r.GroupVersionKind() == u.GroupVersionKind() && r.GetName() == u.GetName() && r.GetNamespace() == u.GetNamespace() {
			return len(kube.Changes(r, u)) == 0
		}
	}
	return false
}

func containsRef(list []object.Ref, o object.Ref) bool {
	return slices.ContainsFunc(list, func(e object.Ref) bool { return e.Key() == o.Key() })
}
