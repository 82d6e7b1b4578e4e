package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
)

// goneTimeout bounds the wait for one object to vanish.
const goneTimeout = 3 * time.Minute

// Delete deletes objects in reverse order and waits until each is gone. An
// object with a UID is deleted only in that incarnation; one that is absent, or
// there in another incarnation, counts as gone. It goes on after errors and
// returns them joined.
func (c *Client) Delete(ctx context.Context, objects []Object) error {
	var errs []error
	for i := len(objects) - 1; i >= 0; i-- {
		if err := c.remove(ctx, objects[i]); err != nil {
			errs = append(errs, fmt.Errorf("deleting %s: %w", objects[i], err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (c *Client) remove(ctx context.Context, o Object) error {
	resource, err := c.of(o)
	if errors.Is(err, ErrNoKind) {
		return nil
	}
	if err != nil {
		return err
	}
	opt := metav1.DeleteOptions{}
	background := metav1.DeletePropagationBackground
	opt.PropagationPolicy = &background
	if o.UID != "" {
		uid := types.UID(o.UID)
		opt.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	err = resource.Delete(ctx, o.Name, opt)
	if apierrors.IsNotFound(err) || (apierrors.IsConflict(err) && o.UID != "") {
		return nil
	}
	if err != nil {
		return err
	}
	return c.waitGone(ctx, o)
}

// WaitGone waits until each object, in the given incarnation if it names one,
// is gone or ctx ends.
func (c *Client) WaitGone(ctx context.Context, objects []Object) error {
	var errs []error
	for _, o := range objects {
		if err := c.waitGone(ctx, o); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", o, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Client) waitGone(ctx context.Context, o Object) error {
	ctx, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	for {
		u, err := c.Get(ctx, o)
		switch {
		case apierrors.IsNotFound(err) || errors.Is(err, ErrNoKind):
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("waiting until it is gone: %w", context.Cause(ctx))
		case err != nil:
			pause(ctx, time.Second)
		case o.UID != "" && string(u.GetUID()) != o.UID:
			return nil
		default:
			c.change(ctx, o, u.GetResourceVersion())
		}
	}
}

// EnsureNamespace creates a namespace unless it exists; one that is being
// deleted is waited for and created anew. made says whether this call did.
func (c *Client) EnsureNamespace(ctx context.Context, name string, annotations map[string]string) (o Object, made bool, _ error) {
	api := c.Core.CoreV1().Namespaces()
	ns, err := api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		made = true
		ns, err = api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{labelManagedBy: Manager}, Annotations: annotations,
		}}, metav1.CreateOptions{FieldManager: Manager})
	}
	if apierrors.IsAlreadyExists(err) {
		made = false
		ns, err = api.Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return Object{}, false, fmt.Errorf("creating namespace %s: %w", name, err)
	}
	o = Object{APIVersion: "v1", Kind: "Namespace", Name: name, UID: string(ns.UID)}
	if ns.DeletionTimestamp == nil {
		return o, made, nil
	}
	if err := c.waitGone(ctx, o); err != nil {
		return Object{}, false, fmt.Errorf("creating namespace %s, which is being deleted: %w", name, err)
	}
	return c.EnsureNamespace(ctx, name, annotations)
}

// RemoveNamespace deletes a namespace of the given incarnation if nothing is
// left in it but what Kubernetes itself puts there. removed is false, with what
// was found, when it is not empty.
func (c *Client) RemoveNamespace(ctx context.Context, ns Object) (removed bool, left []Object, _ error) {
	left, err := c.contents(ctx, ns.Name)
	if err != nil || len(left) > 0 {
		return false, left, err
	}
	return true, nil, c.Delete(ctx, []Object{ns})
}

// contents lists what is in a namespace, a few objects of each kind, without
// what every namespace has.
func (c *Client) contents(ctx context.Context, namespace string) ([]Object, error) {
	lists, err := c.discovery.ServerPreferredResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("discovering the server's resources: %w", err)
	}
	var out []Object
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			continue
		}
		for _, r := range l.APIResources {
			if !r.Namespaced || !contains(r.Verbs, "list") || passing[r.Kind] {
				continue
			}
			found, err := c.listSome(ctx, gv.WithResource(r.Name), namespace)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		}
	}
	return out, nil
}

// passing are kinds that say nothing about whether a namespace is in use.
var passing = map[string]bool{"Event": true, "EndpointSlice": true, "Endpoints": true, "PodMetrics": true}

func (c *Client) listSome(ctx context.Context, r schema.GroupVersionResource, namespace string) ([]Object, error) {
	list, err := c.dynamic.Resource(r).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 10})
	if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s in namespace %s: %w", r.Resource, namespace, err)
	}
	var out []Object
	for i := range list.Items {
		if !everywhere(&list.Items[i]) {
			out = append(out, ObjectOf(&list.Items[i]))
		}
	}
	return out, nil
}

// everywhere says whether Kubernetes puts u into every namespace.
func everywhere(u *unstructured.Unstructured) bool {
	switch u.GetKind() {
	case "ServiceAccount":
		return u.GetName() == "default"
	case "ConfigMap":
		return u.GetName() == "kube-root-ca.crt"
	}
	return false
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// Instances counts the custom resources of a definition, up to a few.
func (c *Client) Instances(ctx context.Context, crd Object) (int, error) {
	u, err := c.Get(ctx, crd)
	if apierrors.IsNotFound(err) || errors.Is(err, ErrNoKind) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	group, _, _ := unstructured.NestedString(u.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(u.Object, "spec", "names", "plural")
	versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
	for _, v := range versions {
		m, _ := v.(map[string]any)
		name, _ := m["name"].(string)
		if served, _ := m["served"].(bool); !served {
			continue
		}
		list, err := c.dynamic.Resource(schema.GroupVersionResource{Group: group, Version: name, Resource: plural}).List(ctx, metav1.ListOptions{Limit: 10})
		if err != nil {
			return 0, fmt.Errorf("listing %s.%s: %w", plural, group, err)
		}
		return len(list.Items), nil
	}
	return 0, nil
}

// DeleteOwned is Delete for those objects that carry owner's mark; others of
// the same name are left alone.
func (c *Client) DeleteOwned(ctx context.Context, objects []Object, owner string) error {
	var ours []Object
	for _, o := range objects {
		u, err := c.Get(ctx, o)
		if Absent(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", o, err)
		}
		if u.GetAnnotations()[AnnotationOwner] == owner {
			o.UID = string(u.GetUID())
			ours = append(ours, o)
		}
	}
	return c.Delete(ctx, ours)
}
