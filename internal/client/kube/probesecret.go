package kube

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// secretToCreate is the question's secret as the API has it, in the set's namespace.
func (a *asking) secretToCreate() *corev1.Secret {
	var s corev1.Secret
	_ = runtime.DefaultUnstructuredConverter.FromUnstructured(a.Secret.Object, &s) // what does not fit the server refuses
	s.Namespace = SystemNamespace
	return &s
}
