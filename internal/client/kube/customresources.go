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
	maxResources = 10000
	fewResources = 10
)

// CustomResource is one object of a definition, without its content.
type CustomResource struct {
	Object      object.Ref
	Annotations map[string]string
	Owned       bool // by another object, with which it goes
	Guarded     bool // it has finalizers: somebody must do something before it is gone
}

// CustomResources lists the objects of a definition, in the version that they are
// stored in, at most ten thousand. A definition that is not there has none.
func (c *Client) CustomResources(ctx context.Context, crd object.Ref) ([]CustomResource, error) {
	return c.listResources(ctx, crd, maxResources)
}

// Instances counts the objects of a definition, up to a few.
func (c *Client) Instances(ctx context.Context, crd object.Ref) (int, error) {
	list, err := c.listResources(ctx, crd, fewResources)
	return len(list), err
}

func (c *Client) listResources(ctx context.Context, crd object.Ref, most int64) ([]CustomResource, error) {
	u, err := c.Get(ctx, crd)
	if Absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", crd, err)
	}
	resource, kind, served := storedResource(u)
	if !served {
		return nil, nil
	}
	list, err := c.metadata.Resource(resource).List(ctx, metav1.ListOptions{Limit: most})
	if Absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", resource.GroupResource(), err)
	}
	out := make([]CustomResource, len(list.Items))
	for i := range list.Items {
		m := &list.Items[i]
		out[i] = CustomResource{
			Object:      object.Ref{APIVersion: resource.GroupVersion().String(), Kind: kind, Namespace: m.Namespace, Name: m.Name, UID: string(m.UID)},
			Annotations: m.Annotations, Owned: len(m.OwnerReferences) > 0, Guarded: len(m.Finalizers) > 0,
		}
	}
	return out, nil
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
