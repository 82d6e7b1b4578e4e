package kube

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// Changes says in which fields after differs from before, at most 20 of them.
// Want is what before has, Have what after has; both are empty where they could
// hold a secret.
func Changes(before, after *unstructured.Unstructured) []Difference {
	d := newDiffer(after)
	d.compareValues("", withoutServerFields(before), withoutServerFields(after))
	return d.found
}
