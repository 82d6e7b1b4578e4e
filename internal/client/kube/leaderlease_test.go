package kube

import (
	"context"
	"fmt"
	"slices"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/caisson/caisson/internal/api/object"
)

// Leases name their holders without a namespace, and one pod's name may begin another's.
func TestOnlyLeasesOfTheWorkloadsOwnPodsAreReleased(t *testing.T) {
	c, ours := connect(t), namespace(t, connect(t))
	theirs := ours + "-theirs"
	if _, _, err := c.EnsureNamespace(t.Context(), theirs, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Core.CoreV1().Namespaces().Delete(context.Background(), theirs, deleteNow) })
	makePod(t, c, ours, "web-0", "web")
	makePod(t, c, theirs, "web-0", "web")
	makePod(t, c, ours, "web-0-1", "web-0")
	makePod(t, c, ours, "lone-0", "lone")
	for _, l := range []struct{ namespace, name, holder string }{
		{ours, "beside", "web-0_uuid"},
		{ours, "dashed", "web-0-external"},
		{ours, "longer", "web-0-1_uuid"},
		{theirs, "alive", "web-0_uuid"},
		{theirs, "elsewhere", "lone-0_uuid"},
		{ours, "other", "web-01_uuid"},
	} {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: l.name}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &l.holder}}
		if _, err := c.Core.CoordinationV1().Leases(l.namespace).Create(t.Context(), lease, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	workload := func(name string) object.Ref {
		return object.Ref{APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: ours, Name: name}
	}
	found, err := c.LeaderLeases(t.Context(), []object.Ref{workload("web"), workload("lone")})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range found {
		names = append(names, l.Name+" of "+l.Pod.Name)
	}
	slices.Sort(names)
	want := []string{"beside of web-0", "dashed of web-0", "elsewhere of lone-0"}
	if !slices.Equal(names, want) {
		t.Errorf("found %q, want %q", names, want)
	}
}

// makePod makes a pod that nothing runs, owned by a StatefulSet that makes none itself.
func makePod(t *testing.T, c *Client, namespace, name, owner string) {
	t.Helper()
	made, err := c.Apply(t.Context(), parse(t, fmt.Sprintf(`apiVersion: apps/v1
kind: StatefulSet
metadata: {name: %s}
spec:
  replicas: 0
  serviceName: s
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: "x:1"}]}}
`, owner)), ApplyOptions{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: owner, UID: types.UID(made[0].Object.UID)}}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x:1"}}},
	}
	if _, err := c.Core.CoreV1().Pods(namespace).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
