package helm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/object"
)

// ErrHandover is wrapped when Helm is about to apply what was not rendered.
var ErrHandover = errors.New("what Helm would apply is not what was rendered")

// handover is what a release was rendered to. Helm writes objects as text, cuts
// the text and reads it again, more than once; what comes out at its end must be
// what went in, hooks included.
type handover struct {
	pulls   Pulls
	objects map[string][]*unstructured.Unstructured // by handoverKey
}

func newHandover(objects []Object, pulls Pulls) *handover {
	h := &handover{pulls: pulls, objects: map[string][]*unstructured.Unstructured{}}
	for _, o := range objects {
		key := handoverKey(o.Unstructured)
		h.objects[key] = append(h.objects[key], o.Unstructured)
	}
	return h
}

func handoverKey(u *unstructured.Unstructured) string {
	return u.GetAPIVersion() + " " + u.GetKind() + " " + u.GetName()
}

// check says of an object, its images already the site's, whether it was
// rendered. A namespace that the chart leaves open is the release's; Helm takes
// away the one of an object that is in none.
func (h *handover) check(u *unstructured.Unstructured) error {
	got, err := withoutMarks(u)
	if err != nil {
		return err
	}
	for _, o := range h.objects[handoverKey(u)] {
		rendered := o.DeepCopy()
		if rendered.GetNamespace() == "" || u.GetNamespace() == "" {
			rendered.SetNamespace(u.GetNamespace())
		}
		if err := RewriteObject(rendered, h.pulls); err != nil {
			return err
		}
		want, err := withoutMarks(rendered)
		if err != nil {
			return err
		}
		if bytes.Equal(got, want) {
			return nil
		}
	}
	return fmt.Errorf("applying %s: %w", object.RefOf(u), ErrHandover)
}

// Marks that Helm puts on a release's objects.
var (
	helmLabels      = []string{"app.kubernetes.io/managed-by"}
	helmAnnotations = []string{object.AnnotationRelease, object.AnnotationReleaseNamespace}
)

// withoutMarks is an object as JSON, but for Helm's marks.
func withoutMarks(u *unstructured.Unstructured) ([]byte, error) {
	content := maps.Clone(u.Object)
	if metadata, ok := content["metadata"].(map[string]any); ok {
		metadata = maps.Clone(metadata)
		dropKeys(metadata, "labels", helmLabels)
		dropKeys(metadata, "annotations", helmAnnotations)
		content["metadata"] = metadata
	}
	data, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", object.RefOf(u), err)
	}
	return data, nil
}

// dropKeys takes keys out of a map that stands in metadata, which is the
// caller's; one that is empty is as good as none.
func dropKeys(metadata map[string]any, field string, keys []string) {
	m, ok := metadata[field].(map[string]any)
	if !ok {
		if metadata[field] == nil {
			delete(metadata, field)
		}
		return
	}
	m = maps.Clone(m)
	for _, key := range keys {
		delete(m, key)
	}
	if metadata[field] = m; len(m) == 0 {
		delete(metadata, field)
	}
}
