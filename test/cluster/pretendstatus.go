package main

import (
	"context"
	"maps"
	"reflect"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var definitions = schema.GroupVersionResource{
	Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
}

// outcome is what a kind's operator writes when it is done, beside the conditions Ready
// and Available.
type outcome struct {
	conditions []string
	status     map[string]any
}

var outcomes = map[string]outcome{
	"AdmissionCheck.kueue.x-k8s.io":      {conditions: []string{"Active"}},
	"Cluster.postgresql.cnpg.io":         {status: map[string]any{"phase": "Cluster in healthy state"}},
	"ClusterPolicy.nvidia.com":           {status: map[string]any{"state": "ready"}},
	"ClusterQueue.kueue.x-k8s.io":        {conditions: []string{"Active"}},
	"FeatureStore.feast.dev":             {conditions: []string{"FeatureStore"}, status: map[string]any{"phase": "Ready"}},
	"NicClusterPolicy.mellanox.com":      {status: map[string]any{"state": "ready"}},
	"InferenceService.serving.kserve.io": {conditions: []string{"PredictorReady", "IngressReady"}},
	"JobSet.jobset.x-k8s.io":             {[]string{"Completed"}, map[string]any{"terminalState": "Completed"}},
	"LocalQueue.kueue.x-k8s.io":          {conditions: []string{"Active"}},
	"NVIDIADriver.nvidia.com":            {status: map[string]any{"state": "ready"}},
	"TrainJob.trainer.kubeflow.org":      {conditions: []string{"Complete"}},
}

// finisher remembers which definitions' resources are watched, by their UID.
type finisher struct {
	mu      sync.Mutex
	watched map[string]context.CancelFunc
}

// meetDefinition watches what is made of a definition for as long as that is there.
func (o *operators) meetDefinition(ctx context.Context, u *unstructured.Unstructured) error {
	o.finish.mu.Lock()
	defer o.finish.mu.Unlock()
	uid := string(u.GetUID())
	stop := o.finish.watched[uid]
	if u.GetDeletionTimestamp() != nil {
		if stop != nil {
			stop()
		}
		return nil
	}
	if stop == nil {
		o.watchResource(ctx, u)
	}
	return o.trustConversion(ctx, u)
}

func (o *operators) watchResource(ctx context.Context, definition *unstructured.Unstructured) {
	r, version := storedVersion(definition)
	if version == nil {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	o.finish.watched[string(definition.GetUID())] = stop
	o.watch(ctx, r, o.finishResource(r, statusSchema(version)))
}

// storedVersion is the version that is read without a conversion, nil unless the
// definition is established and has a status of its own.
func storedVersion(u *unstructured.Unstructured) (r schema.GroupVersionResource, version map[string]any) {
	r.Group, _, _ = unstructured.NestedString(u.Object, "spec", "group")
	r.Resource, _, _ = unstructured.NestedString(u.Object, "spec", "names", "plural")
	found, _, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "versions")
	list, _ := found.([]any)
	for _, e := range list {
		one, _ := e.(map[string]any)
		_, hasStatus, _ := unstructured.NestedMap(one, "subresources", "status")
		if one["storage"] == true && hasStatus && isEstablished(u) {
			r.Version, _ = one["name"].(string)
			version = one
		}
	}
	return r, version
}

func isEstablished(u *unstructured.Unstructured) bool {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, e := range list {
		if c, _ := e.(map[string]any); c["type"] == "Established" {
			return c["status"] == "True"
		}
	}
	return false
}

func statusSchema(version map[string]any) map[string]any {
	s, _, _ := unstructured.NestedMap(version, "schema", "openAPIV3Schema", "properties", "status")
	return s
}

// finishResource writes the status of a finished object, as far as its definition has it.
func (o *operators) finishResource(r schema.GroupVersionResource, status map[string]any) meeting {
	return func(ctx context.Context, u *unstructured.Unstructured) error {
		kind := u.GroupVersionKind().GroupKind().String()
		if kind == "Certificate.cert-manager.io" {
			if err := o.issueSecret(ctx, u); err != nil {
				return err
			}
		}
		have, _, _ := unstructured.NestedMap(u.Object, "status")
		want := finishedStatus(u, outcomes[kind], status)
		if u.GetDeletionTimestamp() != nil || len(want) == 0 || reflect.DeepEqual(have, want) {
			return nil
		}
		copied := u.DeepCopy()
		copied.Object["status"] = want
		one := o.objects.Resource(r).Namespace(u.GetNamespace())
		_, err := one.UpdateStatus(ctx, copied, metav1.UpdateOptions{FieldManager: pretendOperators})
		return err
	}
}

// finishedStatus is u's status with what of the outcome its definition knows.
func finishedStatus(u *unstructured.Unstructured, done outcome, definition map[string]any) map[string]any {
	status, _, _ := unstructured.NestedMap(u.Object, "status")
	known, _, _ := unstructured.NestedMap(definition, "properties")
	if status == nil {
		status = map[string]any{}
	}
	maps.Copy(status, done.status)
	if known["conditions"] != nil {
		for _, kind := range append([]string{"Ready", "Available"}, done.conditions...) {
			setCondition(status, kind, u.GetGeneration())
		}
	}
	if known["observedGeneration"] != nil {
		status["observedGeneration"] = u.GetGeneration()
	}
	required, _, _ := unstructured.NestedStringSlice(definition, "required")
	for _, name := range required {
		if field, _ := known[name].(map[string]any); status[name] == nil {
			status[name] = emptyValue(field)
		}
	}
	return status
}

// setCondition leaves a condition alone that is met; not every definition keeps the
// generation in it.
func setCondition(status map[string]any, kind string, generation int64) {
	list, _ := status["conditions"].([]any)
	var others []any
	for _, e := range list {
		c, _ := e.(map[string]any)
		if c["type"] != kind {
			others = append(others, e)
			continue
		}
		if seen, has := c["observedGeneration"]; c["status"] == "True" && (!has || seen == generation) {
			return
		}
	}
	status["conditions"] = append(others, map[string]any{
		"type": kind, "status": "True", "observedGeneration": generation, "reason": "Pretended",
		"message": "no operator runs here", "lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
	})
}

// emptyValue is the least that a field's definition takes.
func emptyValue(field map[string]any) any {
	if enum, _ := field["enum"].([]any); len(enum) > 0 {
		return enum[0]
	}
	switch field["type"] {
	case "integer", "number":
		return int64(0)
	case "boolean":
		return false
	case "array":
		return []any{}
	case "object":
		return map[string]any{}
	}
	return ""
}
