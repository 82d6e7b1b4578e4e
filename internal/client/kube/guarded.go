package kube

import (
	"encoding/json"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// guardedKind is a kind that a webhook is asked about.
type guardedKind struct {
	kind       schema.GroupVersionKind
	namespaced bool
	creates    bool // it is asked when one is created
	updates    bool // and when one is changed
}

func (k guardedKind) isNamespace() bool {
	return k.kind.GroupKind() == schema.GroupKind{Kind: "Namespace"}
}

// maxKinds bounds the kinds of one webhook that are tried.
const maxKinds = 6

// guardedKinds are kinds that the server has and the webhook guards, those first of which
// an object can be made. askable is false where its rules name only what cannot be tried:
// subresources, deleting, connecting.
func (c *Client) guardedKinds(h webhook) (out []guardedKind, askable bool) {
	exact := h.settings.MatchPolicy != nil && *h.settings.MatchPolicy == admissionv1.Exact
	for _, r := range h.settings.Rules {
		k := guardedKind{creates: hasOperation(r, admissionv1.Create), updates: hasOperation(r, admissionv1.Update)}
		resources := slices.DeleteFunc(slices.Clone(r.Resources), func(s string) bool { return strings.Contains(s, "/") && s != "*/*" })
		if !k.creates && !k.updates || len(resources) == 0 {
			continue
		}
		askable = true
		for _, gvr := range c.resourcesOf(r.Rule, resources, exact) {
			kind, err := c.mapper.KindFor(gvr)
			if err != nil {
				continue // a resource that the server does not have
			}
			mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
			if err != nil {
				continue
			}
			k.kind, k.namespaced = kind, mapping.Scope.Name() == meta.RESTScopeNameNamespace
			if inScope(r.Scope, k.namespaced) && !slices.ContainsFunc(out, func(o guardedKind) bool { return o.kind == k.kind && o.creates == k.creates }) {
				out = append(out, k)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b guardedKind) int { return a.rank() - b.rank() })
	return out[:min(len(out), maxKinds)], askable
}

func hasOperation(r admissionv1.RuleWithOperations, o admissionv1.OperationType) bool {
	return slices.Contains(r.Operations, o) || slices.Contains(r.Operations, admissionv1.OperationAll)
}

func inScope(s *admissionv1.ScopeType, namespaced bool) bool {
	return s == nil || *s == admissionv1.AllScopes || (*s == admissionv1.NamespacedScope) == namespaced
}

// resourcesOf lists resources of a rule. Of a pattern it lists those that samples has,
// and those of a group that is named.
func (c *Client) resourcesOf(r admissionv1.Rule, resources []string, exact bool) (out []schema.GroupVersionResource) {
	for _, group := range r.APIGroups {
		for _, resource := range resources {
			if group == "*" || strings.HasPrefix(resource, "*") {
				out = append(out, c.matchingResources(r, group, resource, exact)...)
				continue
			}
			for _, version := range r.APIVersions {
				gvr := schema.GroupVersionResource{Group: group, Version: strings.TrimPrefix(version, "*"), Resource: resource}
				if _, err := c.mapper.KindFor(gvr); err != nil && !exact {
					gvr.Version = "" // the server asks in the version that the rule has
				}
				out = append(out, gvr)
			}
		}
	}
	return out
}

func (c *Client) matchingResources(r admissionv1.Rule, group, resource string, exact bool) (out []schema.GroupVersionResource) {
	anyVersion := !exact || slices.Contains(r.APIVersions, "*")
	for _, s := range samples {
		fits := (group == "*" || group == s.Group) && (strings.HasPrefix(resource, "*") || resource == s.Resource)
		if fits && (anyVersion || slices.Contains(r.APIVersions, s.Version)) {
			out = append(out, s.GroupVersionResource)
		}
	}
	if len(out) > 0 || group == "*" {
		return out
	}
	for _, version := range r.APIVersions {
		lists, _ := c.discovery.ServerPreferredResources()
		for _, l := range lists {
			gv, err := schema.ParseGroupVersion(l.GroupVersion)
			if err != nil || gv.Group != group || !anyVersion && version != gv.Version {
				continue
			}
			for _, a := range l.APIResources {
				out = append(out, gv.WithResource(a.Name))
			}
		}
	}
	return out
}

// sample is a minimal object of one of Kubernetes' own kinds that its checks let through.
type sample struct {
	schema.GroupVersionResource
	kind, content string
}

// rank orders kinds by how likely an object on trial is to reach a webhook.
func (k guardedKind) rank() int {
	i := slices.IndexFunc(samples, k.isOf)
	switch {
	case i < 0 && !isCustomGroup(k.kind.Group):
		return len(samples) + 1
	case i < 0:
		return len(samples)
	}
	return i
}

func (k guardedKind) isOf(s sample) bool { return k.kind == s.GroupVersion().WithKind(s.kind) }

// sampleContent is the content of an object on trial, which may be none.
func (k guardedKind) sampleContent() map[string]any {
	out := map[string]any{}
	if i := slices.IndexFunc(samples, k.isOf); i >= 0 {
		_ = json.Unmarshal([]byte(samples[i].content), &out)
	}
	return out
}

// podSpec is a pod that the strictest Pod Security Standard admits.
const podSpec = `{"restartPolicy":"%","automountServiceAccountToken":false,` +
	`"securityContext":{"runAsNonRoot":true,"runAsUser":65534,"seccompProfile":{"type":"RuntimeDefault"}},` +
	`"containers":[{"name":"probe","image":"probe.invalid/caisson:1",` +
	`"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}`

// template is a pod template with its selector.
func template(restart string) string {
	return `"template":{"metadata":{"labels":{"caisson":"probe"}},"spec":` + pod(restart) + `}`
}

func pod(restart string) string { return strings.Replace(podSpec, "%", restart, 1) }

const selector = `"selector":{"matchLabels":{"caisson":"probe"}},`

// samples are in the order in which they are tried.
var samples = []sample{
	coreSample("configmaps", "ConfigMap", `{}`),
	coreSample("secrets", "Secret", `{}`),
	coreSample("serviceaccounts", "ServiceAccount", `{}`),
	coreSample("services", "Service", `{"spec":{"clusterIP":"None","ports":[{"port":80}]}}`),
	groupSample("apps", "deployments", "Deployment", `{"spec":{`+selector+template("Always")+`}}`),
	groupSample("apps", "statefulsets", "StatefulSet", `{"spec":{"serviceName":"probe",`+selector+template("Always")+`}}`),
	groupSample("apps", "daemonsets", "DaemonSet", `{"spec":{`+selector+template("Always")+`}}`),
	groupSample("apps", "replicasets", "ReplicaSet", `{"spec":{`+selector+template("Always")+`}}`),
	groupSample("batch", "jobs", "Job", `{"spec":{`+template("Never")+`}}`),
	groupSample("batch", "cronjobs", "CronJob", `{"spec":{"schedule":"0 0 1 1 *","jobTemplate":{"spec":{`+template("Never")+`}}}}`),
	coreSample("pods", "Pod", `{"spec":`+pod("Never")+`}`),
	coreSample("persistentvolumeclaims", "PersistentVolumeClaim", `{"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Mi"}}}}`),
	coreSample("resourcequotas", "ResourceQuota", `{"spec":{}}`),
	coreSample("limitranges", "LimitRange", `{"spec":{"limits":[]}}`),
	groupSample("networking.k8s.io", "networkpolicies", "NetworkPolicy", `{"spec":{"podSelector":{}}}`),
	groupSample("networking.k8s.io", "ingresses", "Ingress", `{"spec":{"defaultBackend":{"service":{"name":"probe","port":{"number":80}}}}}`),
	groupSample("policy", "poddisruptionbudgets", "PodDisruptionBudget", `{"spec":{"maxUnavailable":1,"selector":{}}}`),
	groupSample("rbac.authorization.k8s.io", "roles", "Role", `{"rules":[]}`),
	groupSample("rbac.authorization.k8s.io", "clusterroles", "ClusterRole", `{"rules":[]}`),
	groupSample("storage.k8s.io", "storageclasses", "StorageClass", `{"provisioner":"caisson.dev/probe"}`),
	groupSample("scheduling.k8s.io", "priorityclasses", "PriorityClass", `{"value":1}`),
	coreSample("namespaces", "Namespace", `{}`),
	coreSample("nodes", "Node", `{}`),
}

func coreSample(resource, kind, content string) sample {
	return groupSample("", resource, kind, content)
}

func groupSample(group, resource, kind, content string) sample {
	return sample{schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}, kind, content}
}
