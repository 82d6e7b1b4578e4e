package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/caisson/caisson/internal/api/object"
)

// Bounds of the custom resources that are listed of one definition.
const (
	maxResources = 100000
	pageOf       = 1000
	fewResources = 10
)

// ErrManyResources: there are more custom resources of one kind than are looked through.
var ErrManyResources = fmt.Errorf("more than %d custom resources of one kind", maxResources)

// CustomResource is one object of a definition, without its content.
type CustomResource struct {
	Object      object.Ref
	Annotations map[string]string
	Owners      []object.Ref // other objects, with which it goes
	Guarded     bool         // it has finalizers: somebody must do something before it is gone
}

// CustomResources lists the objects of a definition, in the version that they are
// stored in. A definition that is not there has none. Errors: ErrManyResources.
func (c *Client) CustomResources(ctx context.Context, crd object.Ref) (out []CustomResource, err error) {
	opt := metav1.ListOptions{Limit: pageOf}
	for {
		page, more, err := c.listResources(ctx, crd, opt)
		if err != nil || more == "" {
			return append(out, page...), err
		}
		if out = append(out, page...); len(out) > maxResources {
			return nil, fmt.Errorf("listing objects of %s: %w", crd.Name, ErrManyResources)
		}
		opt.Continue = more
	}
}

// Instances counts the objects of a definition, up to a few.
func (c *Client) Instances(ctx context.Context, crd object.Ref) (int, error) {
	list, _, err := c.listResources(ctx, crd, metav1.ListOptions{Limit: fewResources})
	return len(list), err
}

func (c *Client) listResources(ctx context.Context, crd object.Ref, opt metav1.ListOptions) (out []CustomResource, more string, err error) {
	u, err := c.Get(ctx, crd)
	if Absent(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading %s: %w", crd, err)
	}
	resource, kind, served := storedResource(u)
	if !served {
		return nil, "", nil
	}
	list, err := c.metadata.Resource(resource).List(ctx, opt)
	if Absent(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("listing %s: %w", resource.GroupResource(), err)
	}
	out = make([]CustomResource, len(list.Items))
	for i := range list.Items {
		m := &list.Items[i]
		out[i] = CustomResource{
			Object:      object.Ref{APIVersion: resource.GroupVersion().String(), Kind: kind, Namespace: m.Namespace, Name: m.Name, UID: string(m.UID)},
			Annotations: m.Annotations, Owners: ownersOf(m), Guarded: len(m.Finalizers) > 0,
		}
	}
	return out, list.Continue, nil
}

// ownersOf are the owners of an object. One in a namespace is owned by objects there, or by
// those of the whole cluster, which are named in its namespace all the same.
func ownersOf(o metav1.Object) (out []object.Ref) {
	for _, r := range o.GetOwnerReferences() {
		out = append(out, object.Ref{APIVersion: r.APIVersion, Kind: r.Kind, Namespace: o.GetNamespace(), Name: r.Name, UID: string(r.UID)})
	}
	return out
}

// DefinedKind is the kind that a definition defines.
func DefinedKind(crd *unstructured.Unstructured) schema.GroupKind {
	resource, kind, _ := storedResource(crd)
	return schema.GroupKind{Group: resource.Group, Kind: kind}
}

// storedResource is the resource of a definition in the version that objects are stored
// in, or in another that is served.
func storedResource(crd *unstructured.Unstructured) (_ schema.GroupVersionResource, kind string, served bool) {
	var r schema.GroupVersionResource
	r.Group, _, _ = unstructured.NestedString(crd.Object, "spec", "group")
	r.Resource, _, _ = unstructured.NestedString(crd.Object, "spec", "names", "plural")
	kind, _, _ = unstructured.NestedString(crd.Object, "spec", "names", "kind")
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range versions {
		m, _ := v.(map[string]any)
		if is, _ := m["served"].(bool); !is {
			continue
		}
		if stored, _ := m["storage"].(bool); stored || r.Version == "" {
			r.Version, _ = m["name"].(string)
		}
	}
	return r, kind, r.Version != ""
}
