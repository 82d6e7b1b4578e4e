// Package object names Kubernetes objects, and says what makes one ready, for
// everything that writes down which objects it means: journals, plans, findings.
//
// It never holds an object's content and never asks a cluster.
package object

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Annotations by which Helm marks what belongs to a release.
const (
	AnnotationRelease          = "meta.helm.sh/release-name"
	AnnotationReleaseNamespace = "meta.helm.sh/release-namespace"
)

// Ref names an object of a cluster. UID is known only of one that was seen there.
type Ref struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	UID        string `json:"uid,omitempty"`
}

// RefOf names u.
func RefOf(u *unstructured.Unstructured) Ref {
	return Ref{
		APIVersion: u.GetAPIVersion(), Kind: u.GetKind(),
		Namespace: u.GetNamespace(), Name: u.GetName(), UID: string(u.GetUID()),
	}
}

// GroupVersionKind is the object's type.
func (r Ref) GroupVersionKind() schema.GroupVersionKind {
	return schema.FromAPIVersionAndKind(r.APIVersion, r.Kind)
}

// Key tells objects apart across API versions: group, kind, namespace, name.
func (r Ref) Key() string {
	gvk := r.GroupVersionKind()
	return strings.Join([]string{gvk.Group, gvk.Kind, r.Namespace, r.Name}, "/")
}

// String reads "Deployment web/front".
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Target is one object and what makes it ready: the named status condition
// being True, or, when Condition is empty, kstatus' Current.
type Target struct {
	Object    Ref    `json:"object"`
	Condition string `json:"condition,omitempty"`
	// Completion asks a Job or Pod to have run to its end with success, and any
	// other object only to exist. Condition is not looked at.
	Completion bool `json:"completion,omitempty"`
}
