package charts_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// pod is a pod template of a chart.
type pod struct {
	owner string
	corev1.PodTemplateSpec
}

func decode[T any](t *testing.T, from any) (out T) {
	t.Helper()
	data, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func nested(u map[string]any, fields ...string) any {
	v, _, _ := unstructured.NestedFieldNoCopy(u, fields...)
	return v
}

// podsOf are the pods that come of objects, those of custom resources included.
func podsOf(t *testing.T, objects []*unstructured.Unstructured) (out []pod) {
	t.Helper()
	runtimes := map[string]map[string]any{}
	for _, u := range objects {
		if u.GetKind() == "ClusterServingRuntime" {
			runtimes[u.GetName()], _ = u.Object["spec"].(map[string]any)
		}
	}
	add := func(u *unstructured.Unstructured, template any) {
		out = append(out, pod{u.GetKind() + "/" + u.GetName(), decode[corev1.PodTemplateSpec](t, template)})
	}
	for _, u := range objects {
		switch u.GetKind() {
		case "Deployment", "DaemonSet":
			add(u, nested(u.Object, "spec", "template"))
		case "CronJob":
			add(u, nested(u.Object, "spec", "jobTemplate", "spec", "template"))
		case "ClusterTrainingRuntime":
			jobs, _ := nested(u.Object, "spec", "template", "spec", "replicatedJobs").([]any)
			for _, j := range jobs {
				add(u, nested(j.(map[string]any), "template", "spec", "template"))
			}
		case "InferenceService":
			add(u, map[string]any{"spec": servingPod(t, u, runtimes)})
		case "ClusterStorageContainer":
			security := map[string]any{"runAsNonRoot": true}
			container := nested(u.Object, "spec", "container")
			add(u, map[string]any{"spec": map[string]any{"containers": []any{container}, "securityContext": security}})
		}
	}
	return out
}

// servingPod puts together what KServe does: the runtime's containers and volumes in
// the pod of the predictor.
func servingPod(t *testing.T, u *unstructured.Unstructured, runtimes map[string]map[string]any) map[string]any {
	t.Helper()
	predictor := nested(u.Object, "spec", "predictor").(map[string]any)
	runtime, ok := runtimes[nested(predictor, "model", "runtime").(string)]
	if !ok {
		t.Fatalf("%s wants a runtime that is not there", u.GetName())
	}
	return map[string]any{
		"containers": runtime["containers"], "volumes": runtime["volumes"],
		"securityContext": predictor["securityContext"], "nodeSelector": predictor["nodeSelector"],
		"automountServiceAccountToken": predictor["automountServiceAccountToken"],
	}
}

// unrestricted are the pods that cannot keep to the profile "restricted", and why.
var unrestricted = map[string][]string{
	"DaemonSet/caisson-mirror-acme": {
		"host namespaces", "hostPath volumes", "seLinuxOptions", "restricted volume types",
		"runAsNonRoot != true", "runAsUser=0",
	},
	"DaemonSet/trial": {"hostPath volumes", "restricted volume types"}, // the probe reads the node
}

// TestPodSecurity: every pod of every chart is one that a namespace of the profile
// "restricted" takes, but for those that say what they need more.
func TestPodSecurity(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, u := range uses(t) {
		for _, p := range podsOf(t, mustRender(t, u.chart, u.values)) {
			seen++
			version := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
			for _, result := range evaluator.EvaluatePod(version, &p.ObjectMeta, &p.Spec) {
				if !result.Allowed && !slices.Contains(unrestricted[p.owner], result.ForbiddenReason) {
					t.Errorf("%s/%s: %s: %s (%s)", u.chart, u.name, p.owner, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d pods were found", seen)
	}
}

// TestFeastPodsAreNearlyRestricted: Feast's operator gives its containers no security
// context; the pod has what a pod can have.
func TestFeastPodsAreNearlyRestricted(t *testing.T) {
	for _, u := range mustRender(t, "feature-store", nil) {
		if u.GetKind() != "FeatureStore" {
			continue
		}
		got := decode[corev1.PodSecurityContext](t, nested(u.Object, "spec", "services", "securityContext"))
		if got.RunAsNonRoot == nil || !*got.RunAsNonRoot {
			t.Errorf("it may run as root: %+v", got)
		}
		if got.SeccompProfile == nil || got.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("it may ask the kernel anything: %+v", got)
		}
	}
}

// TestPodsAskNoKubernetes: none of the charts' own pods has a token of the API server.
func TestPodsAskNoKubernetes(t *testing.T) {
	for _, u := range uses(t) {
		for _, p := range podsOf(t, mustRender(t, u.chart, u.values)) {
			if strings.HasPrefix(p.owner, "ClusterStorageContainer/") {
				continue // a container of the InferenceService's pod
			}
			if auto := p.Spec.AutomountServiceAccountToken; auto == nil || *auto {
				t.Errorf("%s/%s: %s has a token", u.chart, u.name, p.owner)
			}
		}
	}
}

func policiesOf(t *testing.T, objects []*unstructured.Unstructured) (out []networkingv1.NetworkPolicy) {
	t.Helper()
	for _, u := range objects {
		if u.GetKind() == "NetworkPolicy" {
			out = append(out, decode[networkingv1.NetworkPolicy](t, u.Object))
		}
	}
	return out
}

// TestNothingLeavesTheSite: each policy holds what goes out, and lets nothing go but to
// pods and to addresses that are nobody's on the internet, each at named ports. Jobs of
// one namespace may use any port among themselves.
func TestNothingLeavesTheSite(t *testing.T) {
	seen := 0
	for _, u := range uses(t) {
		for _, p := range policiesOf(t, mustRender(t, u.chart, u.values)) {
			seen++
			for _, held := range []networkingv1.PolicyType{networkingv1.PolicyTypeEgress, networkingv1.PolicyTypeIngress} {
				if !slices.Contains(p.Spec.PolicyTypes, held) {
					t.Errorf("%s/%s: %s does not hold %s", u.chart, u.name, p.Name, held)
				}
			}
			for _, rule := range p.Spec.Egress {
				if problem := tooOpen(rule); problem != "" {
					t.Errorf("%s/%s: %s: %s", u.chart, u.name, p.Name, problem)
				}
			}
		}
	}
	if seen < 8 {
		t.Errorf("only %d policies were found", seen)
	}
}

func tooOpen(rule networkingv1.NetworkPolicyEgressRule) string {
	if len(rule.To) == 0 {
		return "a rule lets everything out"
	}
	for _, to := range rule.To {
		amongJobs := to.NamespaceSelector == nil && to.PodSelector != nil && !isEmpty(to.PodSelector)
		if to.IPBlock == nil && len(rule.Ports) == 0 && !amongJobs {
			return "every port of pods that are not jobs of the namespace"
		}
		if to.NamespaceSelector != nil && isEmpty(to.NamespaceSelector) {
			return "every namespace"
		}
		if to.IPBlock == nil {
			continue
		}
		prefix, err := netip.ParsePrefix(to.IPBlock.CIDR)
		switch {
		case err != nil || !prefix.Addr().IsPrivate() || prefix.Bits() < 7:
			return "the addresses " + to.IPBlock.CIDR
		case len(rule.Ports) == 0:
			return "every port of " + to.IPBlock.CIDR
		}
	}
	return ""
}

func isEmpty(s *metav1.LabelSelector) bool { return len(s.MatchLabels)+len(s.MatchExpressions) == 0 }

// TestEveryPodIsHeld: a policy of the chart selects each of its own pods, but for the
// agent, which has no network of its own.
func TestEveryPodIsHeld(t *testing.T) {
	for _, u := range uses(t) {
		objects := mustRender(t, u.chart, u.values)
		policies := policiesOf(t, objects)
		for _, p := range podsOf(t, objects) {
			if len(p.Labels) == 0 || p.Spec.HostNetwork {
				continue // a template of others' pods, or of the node's network
			}
			held := slices.ContainsFunc(policies, func(n networkingv1.NetworkPolicy) bool {
				s, err := metav1.LabelSelectorAsSelector(&n.Spec.PodSelector)
				return err == nil && s.Matches(labels.Set(p.Labels))
			})
			if !held {
				t.Errorf("%s/%s: no policy holds %s", u.chart, u.name, p.owner)
			}
		}
	}
}

// TestJobsAreKeptInsideWhereQueuesAre: pods of jobs are kept inside the site in the
// namespaces that have queues and in those that are named, unless the site wants none.
func TestJobsAreKeptInsideWhereQueuesAre(t *testing.T) {
	for _, tc := range []struct {
		policy map[string]any
		want   []string
	}{
		{nil, []string{"genomics", "radiology"}},
		{map[string]any{"namespaces": []any{"lab", "radiology"}}, []string{"genomics", "lab", "radiology"}},
		{map[string]any{"enabled": false}, nil},
	} {
		values := map[string]any{"site": map[string]any{"queueNamespaces": []any{"genomics", "radiology"}}}
		if tc.policy != nil {
			values["networkPolicy"] = tc.policy
		}
		var got []string
		for _, u := range mustRender(t, "training-runtimes", values) {
			if u.GetKind() == "NetworkPolicy" {
				got = append(got, u.GetNamespace())
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%v: %q", tc.policy, got)
		}
	}
}
