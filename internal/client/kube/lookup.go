package kube

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/caisson/caisson/internal/api/object"
)

// maxListed bounds the objects of one Find.
const maxListed = 5000

// Scope is where objects of a kind live.
type Scope int

// The scopes.
const (
	Unserved Scope = iota // the server does not serve the kind
	Namespaced
	ClusterWide
)

// ScopeOf says where objects of a kind live.
func (c *Client) ScopeOf(apiVersion, kind string) (Scope, error) {
	_, namespaced, err := c.resourceOfKind(schema.FromAPIVersionAndKind(apiVersion, kind))
	switch {
	case errors.Is(err, ErrNoKind):
		return Unserved, nil
	case err != nil:
		return Unserved, err
	case namespaced:
		return Namespaced, nil
	}
	return ClusterWide, nil
}

// Find reads one object, or lists those of a kind where name is "", in one
// namespace or in all. What is not there is nil; a list of nothing, or of a kind
// that is not served, is one without items.
func (c *Client) Find(ctx context.Context, apiVersion, kind, namespace, name string) (map[string]any, error) {
	if name != "" {
		u, err := c.Get(ctx, object.Ref{APIVersion: apiVersion, Kind: kind, Namespace: namespace, Name: name})
		if Absent(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s %s: %w", kind, name, err)
		}
		return u.Object, nil
	}
	out := map[string]any{"apiVersion": apiVersion, "kind": kind + "List", "metadata": map[string]any{}, "items": []any{}}
	resource, err := c.resourceNamed(object.Ref{APIVersion: apiVersion, Kind: kind, Namespace: namespace})
	if errors.Is(err, ErrNoKind) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := resource.List(ctx, metav1.ListOptions{Limit: maxListed})
	if Absent(err) {
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", kind, err)
	}
	if list.GetContinue() != "" {
		return nil, fmt.Errorf("listing %s: there are more than %d", kind, maxListed)
	}
	return list.UnstructuredContent(), nil
}

// FutureNamespace is a namespace as EnsureNamespace will make it.
func FutureNamespace(name string, annotations map[string]string) (map[string]any, error) {
	ns := newNamespace(name, annotations)
	ns.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}
	ns.Labels[corev1.LabelMetadataName] = name
	ns.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
	return runtime.DefaultUnstructuredConverter.ToUnstructured(ns)
}

func newNamespace(name string, annotations map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{labelManagedBy: Manager}, Annotations: annotations,
	}}
}
