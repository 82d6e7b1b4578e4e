package preflight

import (
	"testing"

	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/rules/document"
)

// Pods that stay are those of servers; jobs end. A queue
// counts jobs alone: a server with its label holds what it has.
func TestPodsThatStay(t *testing.T) {
	const pods = "template: {spec: {nodeSelector: {gpu: a}, containers: [{name: c, image: x}]}}"
	for name, tc := range map[string]struct {
		text string
		want int64
		node string
	}{
		"Deployment":  {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: 3, " + pods + "}", 3, "a"},
		"StatefulSet": {"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: x}\nspec: {" + pods + "}", 1, "a"},
		"DaemonSet":   {"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: x}\nspec: {" + pods + "}", decide.EveryNode, "a"},
		"Pod":         {"apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {nodeSelector: {gpu: a}, containers: [{name: c, image: x}]}", 1, "a"},
		"Job":         {"apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\nspec: {" + pods + "}", 0, ""},
		"hook":        {"apiVersion: v1\nkind: Pod\nmetadata: {name: x, annotations: {helm.sh/hook: pre-install}}\nspec: {containers: []}", 0, ""},
		"in a queue":  {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, labels: {kueue.x-k8s.io/queue-name: q}}\nspec: {" + pods + "}", 1, "a"},
		"server in a queue": {
			"apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: x, labels: {kueue.x-k8s.io/queue-name: q}}\nspec: {predictor: {nodeSelector: {gpu: a}}}", 1, "a",
		},
		"server": {
			"apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: x}\nspec: {predictor: {minReplicas: 2, nodeSelector: {gpu: a}}}", 2, "a",
		},
		"server that grows": {
			"apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: x}\nspec: {predictor: {minReplicas: 0, maxReplicas: 4}}", 4, "",
		},
		"server that says nothing": {"apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: x}\nspec: {}", 1, ""},
		"somebody else's kind":     {"apiVersion: acme.org/v1\nkind: InferenceService\nmetadata: {name: x}\nspec: {}", 0, ""},
		"runtime":                  {"apiVersion: serving.kserve.io/v1alpha1\nkind: ClusterServingRuntime\nmetadata: {name: x}\nspec: {}", 0, ""},
	} {
		objects, err := kube.Parse([]byte(tc.text))
		if err != nil {
			t.Fatal(err)
		}
		p := newPiece(document.Document{}, objects[0])
		if p.part.Standing != tc.want || p.part.Nodes["gpu"] != tc.node {
			t.Errorf("%s: %d pods stay on %v", name, p.part.Standing, p.part.Nodes)
		}
	}
}
