package kube

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/object"
)

func TestHealthByWhatEachKindSays(t *testing.T) {
	const (
		policy = "apiVersion: nvidia.com/v1\nkind: ClusterPolicy\nmetadata: {name: p}\n"
		amd    = "apiVersion: amd.com/v1alpha1\nkind: DeviceConfig\nmetadata: {name: d}\n"
		thing  = "apiVersion: example.dev/v1\nkind: Thing\nmetadata: {name: t, generation: 2}\n"
		api    = "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: a}\n"
	)
	for _, c := range []struct {
		name, text, condition string
		ready                 bool
		says                  string
	}{
		{"a policy that says nothing", policy, "", false, `status.state is ""`},
		{"a policy at work", policy + "status: {state: notReady}\n", "", false, "notReady"},
		{"a policy that is ready", policy + "status: {state: ready, conditions: [{type: Ready, status: \"True\", reason: Reconciled}]}\n", "", true, ""},
		{"a policy without GPU nodes", policy + "status: {state: ready, conditions: [{type: Ready, status: \"True\", reason: NoGPUNodes, message: none}]}\n", "", false, "NoGPUNodes"},
		{"the same, asked by condition", policy + "status: {state: ready, conditions: [{type: Ready, status: \"True\", reason: NFDLabelsMissing}]}\n", "Ready", false, "NFDLabelsMissing"},
		{"a device config that says nothing", amd, "", false, "no status"},
		{"a device config half done", amd + "status: {driver: {availableNumber: 1, desiredNumber: 2}}\n", "", false, "driver: 1 of 2"},
		{"a device config", amd + "status: {driver: {availableNumber: 2, desiredNumber: 2}}\n", "", true, ""},
		{"a thing nobody reports on", thing, "", true, ""},
		{"a thing not available", thing + "status: {conditions: [{type: Available, status: \"False\", message: soon}]}\n", "", false, "soon"},
		{"a thing ready although not available", thing + "status: {conditions: [{type: Available, status: \"False\"}, {type: Ready, status: \"True\"}]}\n", "", true, ""},
		{"a thing not observed", thing + "status: {observedGeneration: 1, conditions: [{type: Ready, status: \"True\"}]}\n", "", false, "not yet observed"},
		{"a thing that counts something else", thing + "status: {observedGeneration: 3, conditions: [{type: Ready, status: \"True\"}]}\n", "", true, ""},
		{"an API that is away", api + "status: {conditions: [{type: Available, status: \"False\", message: missing endpoints}]}\n", "", false, "missing endpoints"},
		{"a queue without its flavors", "apiVersion: kueue.x-k8s.io/v1beta1\nkind: ClusterQueue\nmetadata: {name: q}\nstatus: {conditions: [{type: Active, status: \"False\", message: no flavor}]}\n", "", false, "no flavor"},
		{"a feature store", "apiVersion: feast.dev/v1\nkind: FeatureStore\nmetadata: {name: f}\nstatus: {conditions: [{type: FeatureStore, status: \"True\"}]}\n", "", true, ""},
		{"a pod that crashes", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: {phase: Running, conditions: [{type: Ready, status: \"False\"}], containerStatuses: [{name: c, state: {waiting: {reason: CrashLoopBackOff}}}]}\n", "", false, ""},
		{"a definition not established", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: c}\n", "", false, ""},
		{"a claim that waits", "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: c}\nstatus: {phase: Pending}\n", "", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := readinessOf(parse(t, c.text)[0], object.Target{Condition: c.condition})
			if s.Ready != c.ready || !strings.Contains(s.Message, c.says) {
				t.Errorf("%+v", s)
			}
		})
	}
}

func crd(versions string) string {
	return "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: keeps.stored.caisson.dev}\nspec:\n  group: stored.caisson.dev\n  scope: Namespaced\n  names: {plural: keeps, singular: keep, kind: Keep}\n  versions:\n" + versions
}

const anything = "served: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}\n"

func TestDefinitionsKeepTheirStoredVersions(t *testing.T) {
	c := connect(t)
	first := parse(t, crd("  - {name: v1, storage: true, "+anything))
	if done, err := c.ApplyCRDs(t.Context(), first, ApplyOptions{Owner: "s/c"}); err != nil || !done[0].Made {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := c.ApplyCRDs(t.Context(), parse(t, crd("  - {name: v2, storage: true, "+anything)), ApplyOptions{Owner: "s/c"}); !errors.Is(err, ErrStoredVersion) {
		t.Errorf("error is %v", err)
	}
	live, err := c.Get(t.Context(), object.RefOf(first[0]))
	if err != nil || !hasVersion(live, "v1") || hasVersion(live, "v2") {
		t.Errorf("after the refusal the definition is %v, %v", live, err)
	}
	both := crd("  - {name: v1, storage: false, " + anything + "  - {name: v2, storage: true, " + anything)
	if done, err := c.ApplyCRDs(t.Context(), parse(t, both), ApplyOptions{Owner: "s/c"}); err != nil || done[0].Outcome != Changed || !done[0].Made {
		t.Errorf("%+v, %v", done, err)
	}
}

// What was there before is changed, and marked, but never removed.
func TestOnlyWhatWasMadeIsRemoved(t *testing.T) {
	c := connect(t)
	objects := parse(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs, namespace: default}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: ours, namespace: default}\n")
	if _, err := c.Apply(t.Context(), objects[:1], ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	done, err := c.Apply(t.Context(), objects, ApplyOptions{Owner: "s/c"})
	if err != nil || done[0].Made || !done[1].Made {
		t.Fatalf("%+v, %v", done, err)
	}
	if err := c.DeleteOwned(t.Context(), []object.Ref{done[0].Object, done[1].Object}, "s/c"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), done[0].Object); err != nil {
		t.Errorf("what was there before: %v", err)
	}
	if _, err := c.Get(t.Context(), done[1].Object); !Absent(err) {
		t.Errorf("what was made: %v", err)
	}
}

func TestCompareSaysWhatChanged(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	text := `apiVersion: apps/v1
kind: Deployment
metadata: {name: compared}
spec:
  replicas: 2
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: one, image: "x:1", env: [{name: E, value: planted}]}, {name: two, image: "y:1"}]}
`
	applied := parse(t, text)
	if _, err := c.Apply(t.Context(), applied, ApplyOptions{Namespace: ns}); err != nil {
		t.Fatal(err)
	}
	compare := func() string {
		t.Helper()
		list, err := c.NewComparer().Compare(t.Context(), applied[0], ApplyOptions{Namespace: ns})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, d := range list.Differences {
			b.WriteString(d.String() + "\n")
		}
		return b.String()
	}
	if got := compare(); got != "" {
		t.Errorf("untouched, it differs in\n%s", got)
	}
	changed := parse(t, strings.NewReplacer("replicas: 2", "replicas: 3", "y:1", "y:2", "value: planted", "value: else").Replace(text))
	changed[0].SetLabels(map[string]string{"of": "others"})
	if _, err := c.Apply(t.Context(), changed, ApplyOptions{Namespace: ns, Force: true}); err != nil {
		t.Fatal(err)
	}
	want := "spec.replicas is 3, applied was 2\nspec.template.spec.containers[one].env[E].value was changed\nspec.template.spec.containers[two].image is \"y:2\", applied was \"y:1\"\n"
	if got := compare(); !strings.Contains(got, want) || strings.Contains(got, "planted") {
		t.Errorf("it differs in\n%s", got)
	}
	scaler := "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\nspec: {maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: compared}}\n"
	if _, err := c.Apply(t.Context(), parse(t, scaler), ApplyOptions{Namespace: ns}); err != nil {
		t.Fatal(err)
	}
	if got := compare(); strings.Contains(got, "replicas") {
		t.Errorf("what an autoscaler sets counts:\n%s", got)
	}
	if _, err := c.NewComparer().Compare(t.Context(), parse(t, strings.ReplaceAll(text, "compared", "absent"))[0], ApplyOptions{Namespace: ns}); !Absent(err) {
		t.Errorf("an absent object: %v", err)
	}
}

func TestDifferencesOfSecretsTellNoValue(t *testing.T) {
	planted := base64.StdEncoding.EncodeToString([]byte("planted"))
	d := &differ{secret: true}
	d.compareValues("", map[string]any{"data": map[string]any{"k": planted}, "type": "planted"}, map[string]any{"data": map[string]any{"k": "x"}, "type": "y"})
	for _, f := range d.found {
		if f.Want != "" || f.Have != "" {
			t.Errorf("%+v", f)
		}
	}
	if len(d.found) != 2 {
		t.Errorf("%+v", d.found)
	}
}

func TestUsesNameImagesAndTroubles(t *testing.T) {
	u := parse(t, `apiVersion: v1
kind: Pod
metadata: {name: p, namespace: n}
spec: {initContainers: [{name: i, image: "a:1"}], containers: [{name: c, image: "b:1"}]}
status: {containerStatuses: [{name: c, state: {waiting: {reason: ErrImagePull, message: refused}}}], initContainerStatuses: [{name: i, state: {terminated: {exitCode: 0}}}]}
`)[0]
	got := containerUses(u, []string{"spec"})
	if len(got) != 2 || got[0].Image != "a:1" || got[0].Trouble != "" || got[1].Trouble != "ErrImagePull: refused" {
		t.Errorf("%+v", got)
	}
}

func TestClosedWebhooks(t *testing.T) {
	u := parse(t, `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: m}
webhooks:
- {name: open.x, failurePolicy: Ignore, clientConfig: {url: "https://a"}}
- name: closed.x
  failurePolicy: Fail
  clientConfig: {service: {name: s, namespace: there}}
  rules:
  - {apiGroups: ["*"], apiVersions: ["*"], operations: [CREATE], resources: ["*"]}
  - {apiGroups: [g.dev], apiVersions: [v1], operations: [UPDATE, CREATE], resources: ["things/status", things]}
`)[0]
	got := failClosedWebhooks(u)
	if len(got) != 1 || got[0].settings.Name != "closed.x" || got[0].settings.ClientConfig.Service.Name != "s" || !got[0].mutates || len(got[0].settings.Rules) != 2 {
		t.Errorf("%+v", got)
	}
	pod := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Pod"}}
	if len(failClosedWebhooks(pod)) != 0 {
		t.Error("a pod has webhooks")
	}
}

func TestSilentWebhooksAreToldOncePerConfiguration(t *testing.T) {
	config := func(name string) object.Ref {
		return object.Ref{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingWebhookConfiguration", Name: name}
	}
	var got []string
	for _, u := range FirstOfEach([]Unanswered{
		{Config: config("a"), Webhook: "one", Why: "it is gone"}, {Config: config("b"), Webhook: "two", Why: "it hangs"},
		{Config: config("a"), Webhook: "three"}, {Config: config("a"), Webhook: "four"},
	}) {
		got = append(got, u.String())
	}
	want := []string{
		"webhook one (and 2 more) of ValidatingWebhookConfiguration a does not answer: it is gone",
		"webhook two of ValidatingWebhookConfiguration b does not answer: it hangs",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
