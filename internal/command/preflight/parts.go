package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/rules/document"
)

// piece is one rendered object on its way to become a decide.Part.
type piece struct {
	key       decide.Key // rendering it comes from
	component string
	namespace string // of the component
	release   string // "" for a manifest's object
	hook      bool
	object    *unstructured.Unstructured
	template  *corev1.PodTemplateSpec // of its pods, or nil
	resource  schema.GroupVersionResource
	served    bool // by the cluster as it is
	part      decide.Part
}

func newPiece(d document.Document, u *unstructured.Unstructured) *piece {
	hook := u.GetAnnotations()["helm.sh/hook"] != ""
	p := &piece{object: u, hook: hook, part: decide.Part{
		Ref: object.RefOf(u), Template: d.Template, Line: d.Line, Hook: hook,
	}}
	if kube.IsCRD(u) {
		p.part.Defines = definitionFact(u)
	}
	if document.IsSecret(u.Object) {
		for _, f := range document.SecretFaults(u.Object) {
			p.part.Faults = append(p.part.Faults, f.String())
		}
	}
	p.readPods()
	return p
}

// definitionFact reads a custom resource definition.
func definitionFact(u *unstructured.Unstructured) *decide.DefinesFact {
	var d decide.DefinesFact
	d.Group, _, _ = unstructured.NestedString(u.Object, "spec", "group")
	d.Kind, _, _ = unstructured.NestedString(u.Object, "spec", "names", "kind")
	versions, _, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "versions")
	list, _ := versions.([]any)
	d.Served = []string{}
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			name, _ := m["name"].(string)
			d.Versions = append(d.Versions, name)
			if served, _ := m["served"].(bool); served {
				d.Served = append(d.Served, name)
			}
		}
	}
	return &d
}

// readPods reads what the object says of its pods and volumes. What cannot be read
// is left to the API server to refuse.
func (p *piece) readPods() {
	switch p.object.GetKind() {
	case "Deployment":
		var o appsv1.Deployment
		if p.readAs(&o) {
			p.addPods(&o.Spec.Template, countOrOne(o.Spec.Replicas))
		}
	case "ReplicaSet":
		var o appsv1.ReplicaSet
		if p.readAs(&o) {
			p.addPods(&o.Spec.Template, countOrOne(o.Spec.Replicas))
		}
	case "StatefulSet":
		var o appsv1.StatefulSet
		if p.readAs(&o) {
			p.addPods(&o.Spec.Template, countOrOne(o.Spec.Replicas))
			for _, c := range o.Spec.VolumeClaimTemplates {
				p.addClaim(c.Name, c.Spec, countOrOne(o.Spec.Replicas))
			}
		}
	case "DaemonSet":
		var o appsv1.DaemonSet
		if p.readAs(&o) {
			p.addPods(&o.Spec.Template, decide.EveryNode)
		}
	default:
		p.runOnce()
		return
	}
	p.stay(p.part.Copies)
}

func (p *piece) runOnce() {
	switch p.object.GetKind() {
	case "Job":
		var o batchv1.Job
		if p.readAs(&o) {
			p.addPods(&o.Spec.Template, countOrOne(o.Spec.Parallelism))
		}
	case "CronJob":
		var o batchv1.CronJob
		if p.readAs(&o) {
			p.addPods(&o.Spec.JobTemplate.Spec.Template, countOrOne(o.Spec.JobTemplate.Spec.Parallelism))
		}
	case "Pod":
		var o corev1.Pod
		if p.readAs(&o) {
			p.addPods(&corev1.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}, 1)
			p.stay(1)
		}
	case "PersistentVolumeClaim":
		var o corev1.PersistentVolumeClaim
		if p.readAs(&o) {
			p.addClaim(o.Name, o.Spec, 1)
		}
	default:
		if p.isForeign() && !kube.IsCRD(p.object) {
			p.findResources("", p.object.Object)
			p.readServer()
		}
	}
}

// findResources finds what looks like the resources of containers in the fields of an
// object whose controller makes pods: resources with limits or requests.
func (p *piece) findResources(name string, v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			p.findResources(name, e)
		}
	case map[string]any:
		if own, ok := v["name"].(string); ok {
			name = own
		}
		if r, ok := v["resources"].(map[string]any); ok {
			c := decide.Container{Name: name, Requests: writtenAmounts(r["requests"]), Limits: writtenAmounts(r["limits"])}
			if len(c.Requests)+len(c.Limits) > 0 {
				p.part.Within = append(p.part.Within, c)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			p.findResources(name, v[key])
		}
	}
}

// writtenAmounts are quantities as a custom resource has them, in thousandths.
func writtenAmounts(v any) map[string]int64 {
	list, _ := v.(map[string]any)
	out := corev1.ResourceList{}
	for k, q := range list {
		if n, err := resource.ParseQuantity(fmt.Sprint(q)); err == nil {
			out[corev1.ResourceName(k)] = n
		}
	}
	return amounts(out)
}

// isForeign says whether the kind may be somebody else's than Kubernetes' own.
func (p *piece) isForeign() bool {
	group, _, grouped := strings.Cut(p.object.GetAPIVersion(), "/")
	return grouped && strings.Contains(group, ".")
}

// readAs reads the object as one of Kubernetes' own types.
func (p *piece) readAs(o any) bool {
	return !p.isForeign() && runtime.DefaultUnstructuredConverter.FromUnstructured(p.object.Object, o) == nil
}

// stay notes pods that are there until somebody ends them. That they name a queue changes
// nothing: Kueue counts them only where it is told to look after pods, and where it is,
// counting them here too promises jobs less and never more than there is.
func (p *piece) stay(pods int64) {
	if p.hook {
		return
	}
	p.part.Standing = pods
	if p.template != nil {
		p.part.Nodes = p.template.Spec.NodeSelector
	}
}

// readServer reads how many pods of an InferenceService of KServe stay, and where.
func (p *piece) readServer() {
	group, _, _ := strings.Cut(p.object.GetAPIVersion(), "/")
	if p.object.GetKind() != "InferenceService" || group != "serving.kserve.io" {
		return
	}
	pods := int64(1)
	if n, ok := nestedNumber(p.object.Object, "spec", "predictor", "minReplicas"); ok {
		pods = n
	}
	if n, ok := nestedNumber(p.object.Object, "spec", "predictor", "maxReplicas"); ok {
		pods = max(pods, n)
	}
	p.stay(pods)
	nodes, _, _ := unstructured.NestedStringMap(p.object.Object, "spec", "predictor", "nodeSelector")
	p.part.Nodes = nodes
}

// nestedNumber is a whole number of an object.
func nestedNumber(o map[string]any, at ...string) (int64, bool) {
	v, _, _ := unstructured.NestedFieldNoCopy(o, at...)
	switch n := v.(type) {
	case int64:
		return n, true
	case float64:
		return int64(n), n == float64(int64(n))
	}
	return 0, false
}

func countOrOne(n *int32) int64 {
	if n == nil {
		return 1
	}
	return int64(*n)
}

func (p *piece) addPods(t *corev1.PodTemplateSpec, copies int64) {
	p.template, p.part.Copies = t, copies
	for _, c := range t.Spec.InitContainers {
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		p.part.Containers = append(p.part.Containers, containerFact(c, !sidecar))
	}
	for _, c := range t.Spec.Containers {
		p.part.Containers = append(p.part.Containers, containerFact(c, false))
	}
	for _, v := range t.Spec.Volumes {
		if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
			p.addClaim(v.Name, v.Ephemeral.VolumeClaimTemplate.Spec, copies)
		}
	}
}

func (p *piece) addClaim(name string, s corev1.PersistentVolumeClaimSpec, count int64) {
	if s.VolumeName != "" {
		return // bound by name: no class is asked
	}
	storage := s.Resources.Requests[corev1.ResourceStorage]
	p.part.Claims = append(p.part.Claims, decide.Claim{Name: name, Class: s.StorageClassName, Size: storage.Value(), Count: count})
}

func containerFact(c corev1.Container, init bool) decide.Container {
	return decide.Container{Name: c.Name, Init: init, Requests: amounts(c.Resources.Requests), Limits: amounts(c.Resources.Limits)}
}

// amounts are quantities in thousandths.
func amounts(list corev1.ResourceList) map[string]int64 {
	if len(list) == 0 {
		return nil
	}
	out := map[string]int64{}
	for k, q := range list {
		out[string(k)] = q.MilliValue()
	}
	return out
}
