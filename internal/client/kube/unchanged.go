package kube

import (
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// isAsApplied says whether applying the definition u over live is known to change nothing,
// without asking: all that u says is there, and all that is ours u says. The server takes
// most of a second of work to answer that of a large custom resource definition. Of other
// kinds, and where anything is in doubt, it says no.
func isAsApplied(live, u *unstructured.Unstructured) bool {
	kind := u.GroupVersionKind()
	if kind.Kind != "CustomResourceDefinition" || kind.Group != "apiextensions.k8s.io" || live.GroupVersionKind() != kind {
		return false
	}
	return isWithin(u.Object, live.Object) && isCovered(ownershipOf(live).ours, u.Object)
}

// isWithin says whether live has all that want has, and lists just as want has them: of a
// list the server does not say who added what.
func isWithin(want, live any) bool {
	switch w := want.(type) {
	case map[string]any:
		l, same := live.(map[string]any)
		for key, value := range w {
			there, has := l[key]
			if !has || !isWithin(value, there) {
				return false
			}
		}
		return same
	}
	return reflect.DeepEqual(want, live)
}

// isCovered says whether an object has every field of a set, whose paths are of names alone.
func isCovered(set *fieldpath.Set, object map[string]any) bool {
	covered := true
	set.Iterate(func(path fieldpath.Path) {
		var at any = object
		for _, e := range path {
			m, isMap := at.(map[string]any)
			if !isMap || e.FieldName == nil || m[*e.FieldName] == nil {
				covered = false
				return
			}
			at = m[*e.FieldName]
		}
	})
	return covered
}
