package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/caisson/caisson/internal/rules/gpu"
)

// rule is how a kind says that it is ready, beyond what kstatus knows.
type rule struct {
	condition string   // must be True
	field     []string // must hold value
	value     string
	counts    []string // of status: each has availableNumber and desiredNumber
	unfit     []string // reasons of a true condition Ready that mean the opposite
}

// kindRules are for the kinds whose own word kstatus does not know.
func kindRules(kind schema.GroupKind) rule {
	switch kind {
	case schema.GroupKind{Group: "mellanox.com", Kind: "NicClusterPolicy"}:
		return rule{field: []string{"status", "state"}, value: "ready"}
	case schema.GroupKind{Group: "feast.dev", Kind: "FeatureStore"}:
		return rule{condition: "FeatureStore"}
	case schema.GroupKind{Group: "kueue.x-k8s.io", Kind: "ClusterQueue"}, schema.GroupKind{Group: "kueue.x-k8s.io", Kind: "LocalQueue"}, schema.GroupKind{Group: "kueue.x-k8s.io", Kind: "AdmissionCheck"}:
		return rule{condition: "Active"}
	case schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}, schema.GroupKind{Group: "monitoring.coreos.com", Kind: "Prometheus"}, schema.GroupKind{Group: "monitoring.coreos.com", Kind: "Alertmanager"}:
		return rule{condition: "Available"}
	case schema.GroupKind{Group: "operators.coreos.com", Kind: "ClusterServiceVersion"}:
		return rule{field: []string{"status", "phase"}, value: "Succeeded"}
	}
	for _, r := range gpu.Readinesses() {
		if kind == (schema.GroupKind{Group: r.Group, Kind: r.Kind}) {
			return rule{field: r.Field, value: r.Value, counts: r.Counts, unfit: r.Unfit}
		}
	}
	return rule{}
}

// kindReadiness applies what is known of u's kind. A kind of which nothing is known
// is not ready only where it reports Available to be False and nothing of Ready.
func kindReadiness(u *unstructured.Unstructured) State {
	kind := u.GroupVersionKind().GroupKind()
	r := kindRules(kind)
	if s := r.readState(u); !s.Ready {
		return s
	}
	if !isCustom(u) {
		return State{Ready: true}
	}
	ready, found := conditionOf(u, "Ready")
	if reason, _ := ready["reason"].(string); slices.Contains(r.unfit, reason) {
		return State{Message: fmt.Sprintf("condition Ready is %v, but for the reason %s: %v", ready["status"], reason, ready["message"])}
	}
	if available, has := conditionOf(u, "Available"); has && !found && available["status"] == "False" {
		return conditionState(u, "Available")
	}
	return State{Ready: true}
}

// isCustom says whether u's kind is none of Kubernetes' own.
func isCustom(u *unstructured.Unstructured) bool {
	return isCustomGroup(u.GroupVersionKind().Group)
}

func isCustomGroup(group string) bool {
	return strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io")
}

func (r rule) readState(u *unstructured.Unstructured) State {
	if r.condition != "" {
		return conditionState(u, r.condition)
	}
	if r.field != nil {
		have, _, _ := unstructured.NestedString(u.Object, r.field...)
		return State{Ready: have == r.value, Message: fmt.Sprintf("%s is %q", strings.Join(r.field, "."), have)}
	}
	for _, name := range r.counts {
		have, _, _ := unstructured.NestedInt64(u.Object, "status", name, "availableNumber")
		want, found, _ := unstructured.NestedInt64(u.Object, "status", name, "desiredNumber")
		if found && have < want {
			return State{Message: fmt.Sprintf("status.%s: %d of %d available", name, have, want)}
		}
	}
	if _, reported := u.Object["status"].(map[string]any); len(r.counts) > 0 && !reported {
		return State{Message: "no status is reported"}
	}
	return State{Ready: true}
}

func conditionOf(u *unstructured.Unstructured, name string) (map[string]any, bool) {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, e := range list {
		if c, _ := e.(map[string]any); c["type"] == name {
			return c, true
		}
	}
	return nil, false
}

// waitsForConsumer says whether u is a claim that is bound only once a pod uses
// it.
func (c *Client) waitsForConsumer(ctx context.Context, u *unstructured.Unstructured) bool {
	phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
	class, _, _ := unstructured.NestedString(u.Object, "spec", "storageClassName")
	if u.GroupVersionKind().GroupKind() != (schema.GroupKind{Kind: "PersistentVolumeClaim"}) || phase != "Pending" || class == "" {
		return false
	}
	s, err := c.Core.StorageV1().StorageClasses().Get(ctx, class, metav1.GetOptions{})
	return err == nil && s.VolumeBindingMode != nil && *s.VolumeBindingMode == "WaitForFirstConsumer"
}
