package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"

	"github.com/caisson/caisson/internal/api/object"
)

// goneTimeout bounds the wait for one object to vanish.
const goneTimeout = 3 * time.Minute

// goneInterval is how often a namespace is looked at while it empties.
const goneInterval = 500 * time.Millisecond

// Delete deletes objects in reverse order, claims of volumes last, and waits until
// each is gone: a claim stays as long as a pod names it, also one that has ended. An
// object with a UID is deleted only in that incarnation; one that is absent, or
// there in another incarnation, counts as gone. It goes on after errors and
// returns them joined.
func (c *Client) Delete(ctx context.Context, objects []object.Ref) error {
	var errs []error
	for _, o := range deletionOrder(objects) {
		if err := c.deleteOne(ctx, o); err != nil {
			errs = append(errs, fmt.Errorf("deleting %s: %w", o, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func deletionOrder(objects []object.Ref) []object.Ref {
	var out, claims []object.Ref
	for _, o := range slices.Backward(objects) {
		if o.APIVersion == "v1" && o.Kind == "PersistentVolumeClaim" {
			claims = append(claims, o)
		} else {
			out = append(out, o)
		}
	}
	return append(out, claims...)
}

func (c *Client) deleteOne(ctx context.Context, o object.Ref) error {
	resource, err := c.resourceNamed(o)
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
func (c *Client) WaitGone(ctx context.Context, objects []object.Ref) error {
	var errs []error
	for _, o := range objects {
		if err := c.waitGone(ctx, o); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", o, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Client) waitGone(ctx context.Context, o object.Ref) error {
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
			c.awaitChange(ctx, o, u.GetResourceVersion(), lookAgain)
		}
	}
}

// EnsureNamespace creates a namespace unless it exists; one that is being
// deleted is waited for and created anew. made says whether this call did.
func (c *Client) EnsureNamespace(ctx context.Context, name string, annotations map[string]string) (o object.Ref, made bool, _ error) {
	api := c.Core.CoreV1().Namespaces()
	ns, err := api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		made = true
		ns, err = api.Create(ctx, newNamespace(name, annotations), metav1.CreateOptions{FieldManager: Manager})
	}
	if apierrors.IsAlreadyExists(err) {
		made = false
		ns, err = api.Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return object.Ref{}, false, fmt.Errorf("creating namespace %s: %w", name, err)
	}
	o = object.Ref{APIVersion: "v1", Kind: "Namespace", Name: name, UID: string(ns.UID)}
	if ns.DeletionTimestamp == nil {
		return o, made, nil
	}
	if err := c.waitGone(ctx, o); err != nil {
		return object.Ref{}, false, fmt.Errorf("creating namespace %s, which is being deleted: %w", name, err)
	}
	return c.EnsureNamespace(ctx, name, annotations)
}

// Owned says whether the object is there in the given incarnation and carries
// owner's mark.
func (c *Client) Owned(ctx context.Context, o object.Ref, owner string) (bool, error) {
	u, err := c.Get(ctx, o)
	if Absent(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", o, err)
	}
	return u.GetAnnotations()[AnnotationOwner] == owner && (o.UID == "" || o.UID == string(u.GetUID())), nil
}

// RemoveNamespace deletes a namespace of the given incarnation if nothing is
// left in it but what Kubernetes itself puts there. What goes by itself is
// waited for, a few minutes at most: pods take their grace period to end.
// removed is false, with what was found, when it is not empty.
func (c *Client) RemoveNamespace(ctx context.Context, ns object.Ref) (removed bool, left []object.Ref, _ error) {
	waiting, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	for {
		left, going, err := c.listContents(ctx, ns.Name)
		if err != nil || len(left) > 0 {
			return false, left, err
		}
		if len(going) == 0 {
			return true, nil, c.Delete(ctx, []object.Ref{ns})
		}
		if pause(waiting, goneInterval); waiting.Err() != nil {
			return false, going, ctx.Err()
		}
	}
}

// RemoveSystemNamespace removes the namespace of the product's records if a run
// created it and nothing is left in it, as other stacks' records.
func (c *Client) RemoveSystemNamespace(ctx context.Context) (removed bool, _ error) {
	ns, err := c.Core.CoreV1().Namespaces().Get(ctx, SystemNamespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && ns.Annotations[annotationMade] == "" {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading namespace %s: %w", SystemNamespace, err)
	}
	removed, _, err = c.RemoveNamespace(ctx, object.Ref{APIVersion: "v1", Kind: "Namespace", Name: SystemNamespace, UID: string(ns.UID)})
	if err != nil {
		return false, fmt.Errorf("removing namespace %s: %w", SystemNamespace, err)
	}
	return removed, nil
}

// listContents lists what is in a namespace, a few objects of each kind, without
// what every namespace has: what stays, and what is being deleted or belongs to
// another object, with which it goes.
func (c *Client) listContents(ctx context.Context, namespace string) (left, going []object.Ref, _ error) {
	lists, err := c.discovery.ServerPreferredResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, nil, fmt.Errorf("discovering the server's resources: %w", err)
	}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			continue
		}
		for _, r := range l.APIResources {
			if !r.Namespaced || !slices.Contains(r.Verbs, "list") || passing[r.Kind] {
				continue
			}
			some, passing, err := c.listSome(ctx, gv.WithResource(r.Name), namespace)
			if err != nil {
				return nil, nil, err
			}
			left, going = append(left, some...), append(going, passing...)
		}
	}
	return left, going, nil
}

// passing are kinds that say nothing about whether a namespace is in use.
var passing = map[string]bool{"Event": true, "EndpointSlice": true, "Endpoints": true, "PodMetrics": true}

func (c *Client) listSome(ctx context.Context, r schema.GroupVersionResource, namespace string) (left, going []object.Ref, _ error) {
	list, err := c.dynamic.Resource(r).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 10})
	if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("listing %s in namespace %s: %w", r.Resource, namespace, err)
	}
	for i := range list.Items {
		switch u := &list.Items[i]; {
		case isInEveryNamespace(u):
		case u.GetDeletionTimestamp() != nil || len(u.GetOwnerReferences()) > 0:
			going = append(going, object.RefOf(u))
		default:
			left = append(left, object.RefOf(u))
		}
	}
	return left, going, nil
}

// isInEveryNamespace says whether Kubernetes puts u into every namespace.
func isInEveryNamespace(u *unstructured.Unstructured) bool {
	switch u.GetKind() {
	case "ServiceAccount":
		return u.GetName() == "default"
	case "ConfigMap":
		return u.GetName() == "kube-root-ca.crt"
	}
	return false
}

// DeleteOwned is Delete for those objects that carry owner's mark and did not
// exist before they got it; others of the same name are left alone, and so are
// namespaces, which may hold what is not the owner's: RemoveNamespace is for them.
func (c *Client) DeleteOwned(ctx context.Context, objects []object.Ref, owner string) error {
	var ours []object.Ref
	for _, o := range objects {
		if IsNamespace(o) {
			continue
		}
		u, err := c.Get(ctx, o)
		if Absent(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", o, err)
		}
		if u.GetAnnotations()[AnnotationOwner] == owner && isMarkedMade(u) {
			o.UID = string(u.GetUID())
			ours = append(ours, o)
		}
	}
	return c.Delete(ctx, ours)
}
