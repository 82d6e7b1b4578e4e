package kube

import (
	"context"
	"fmt"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/caisson/caisson/internal/api/object"
)

// LeaderLease is a lease by which one pod of a controller leads the others. The next
// such pod waits until it has run out.
type LeaderLease struct {
	Namespace, Name string
	Holder          string // as the pod calls itself: its name, and mostly something after it
	Pod             object.Ref
}

// LeaderLeases lists the leases of the cluster that pods of the given workloads hold.
// Where leases or pods may not be listed there are none.
func (c *Client) LeaderLeases(ctx context.Context, workloads []object.Ref) ([]LeaderLease, error) {
	pods, err := c.podsOf(ctx, workloads)
	if err != nil || len(pods) == 0 {
		return nil, err
	}
	list, err := c.Core.CoordinationV1().Leases(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if Forbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing leases: %w", err)
	}
	var out []LeaderLease
	for i := range list.Items {
		l := &list.Items[i]
		holder := holderOf(l)
		for _, p := range pods {
			if rest, ok := strings.CutPrefix(holder, p.Name); ok && (rest == "" || rest[0] == '_' || rest[0] == '-') {
				out = append(out, LeaderLease{Namespace: l.Namespace, Name: l.Name, Holder: holder, Pod: p})
				break
			}
		}
	}
	return out, nil
}

func holderOf(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// podsOf lists the pods that workloads brought, as the names of those tell: a pod's
// owner is the workload, or a ReplicaSet that bears its name.
func (c *Client) podsOf(ctx context.Context, workloads []object.Ref) (out []object.Ref, _ error) {
	names := map[string][]string{} // by namespace
	for _, w := range workloads {
		if IsWorkload(w) {
			names[w.Namespace] = append(names[w.Namespace], w.Name)
		}
	}
	for namespace, list := range names {
		pods, err := c.Core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if Forbidden(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing pods in namespace %s: %w", namespace, err)
		}
		for _, p := range pods.Items {
			if ownedByAny(p.OwnerReferences, list) {
				out = append(out, object.Ref{APIVersion: "v1", Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: string(p.UID)})
			}
		}
	}
	return out, nil
}

func ownedByAny(owners []metav1.OwnerReference, workloads []string) bool {
	for _, o := range owners {
		for _, w := range workloads {
			if rest, ok := strings.CutPrefix(o.Name, w); ok && (rest == "" || o.Kind == "ReplicaSet" && strings.LastIndex(rest, "-") == 0) {
				return true
			}
		}
	}
	return false
}

// ReleaseLeases waits until the pods that hold the leases are gone, and removes those
// leases that nobody took since, so that the next pods need not wait for them to run
// out.
func (c *Client) ReleaseLeases(ctx context.Context, leases []LeaderLease) error {
	for _, l := range leases {
		if err := c.WaitGone(ctx, []object.Ref{l.Pod}); err != nil {
			return err
		}
		api := c.Core.CoordinationV1().Leases(l.Namespace)
		now, err := api.Get(ctx, l.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && holderOf(now) != l.Holder {
			continue
		}
		if err == nil {
			err = api.Delete(ctx, l.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &now.UID, ResourceVersion: &now.ResourceVersion}})
		}
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("removing lease %s/%s: %w", l.Namespace, l.Name, err)
		}
	}
	return nil
}
