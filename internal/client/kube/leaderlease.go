package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
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
// Leases name their holders without a namespace: one that lies in another namespace than
// the pod counts only where no other pod of the cluster has that name. Where leases or
// pods may not be listed there are none.
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
	held := slices.DeleteFunc(list.Items, func(l coordinationv1.Lease) bool {
		return !slices.ContainsFunc(pods, func(p object.Ref) bool { return mayHold(p.Name, holderOf(&l)) })
	})
	if len(held) == 0 {
		return nil, nil
	}
	living, err := c.podNamespaces(ctx)
	if err != nil {
		return nil, err
	}
	var out []LeaderLease
	for i := range held {
		l := &held[i]
		if p, ok := living.chooseHolder(l, pods); ok {
			out = append(out, LeaderLease{Namespace: l.Namespace, Name: l.Name, Holder: holderOf(l), Pod: p})
		}
	}
	return out, nil
}

// mayHold says whether a pod of that name may call itself so.
func mayHold(pod, holder string) bool {
	rest, ok := strings.CutPrefix(holder, pod)
	return ok && (rest == "" || rest[0] == '_' || rest[0] == '-')
}

// podNamespaces are the namespaces of all pods of a cluster, by the pods' names.
type podNamespaces map[string][]string

func (c *Client) podNamespaces(ctx context.Context) (podNamespaces, error) {
	list, err := c.metadata.Resource(corev1.SchemeGroupVersion.WithResource("pods")).List(ctx, metav1.ListOptions{})
	if Forbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	out := podNamespaces{}
	for i := range list.Items {
		m := &list.Items[i]
		out[m.Name] = append(out[m.Name], m.Namespace)
	}
	return out, nil
}

// chooseHolder is the one of the given pods that holds a lease: no pod of the cluster has
// a longer name that fits, and the lease lies beside the pod or no other pod has its name.
// Where the pods of the cluster may not be listed, only leases beside a pod count.
func (n podNamespaces) chooseHolder(l *coordinationv1.Lease, pods []object.Ref) (object.Ref, bool) {
	holder, longest := holderOf(l), 0
	for name := range n {
		if mayHold(name, holder) {
			longest = max(longest, len(name))
		}
	}
	i := slices.IndexFunc(pods, func(p object.Ref) bool {
		elsewhere := func(namespace string) bool { return namespace != p.Namespace }
		beside := l.Namespace == p.Namespace
		alone := n != nil && !slices.ContainsFunc(n[p.Name], elsewhere)
		return mayHold(p.Name, holder) && len(p.Name) >= longest && (beside || alone)
	})
	if i < 0 {
		return object.Ref{}, false
	}
	return pods[i], true
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
