package kube

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/caisson/caisson/internal/api/object"
)

// compared says in which fields the object differs, one line each.
func compared(t *testing.T, c *Client, u *unstructured.Unstructured, opt ApplyOptions) (string, Comparison) {
	t.Helper()
	found, err := c.NewComparer().Compare(t.Context(), u, opt)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, d := range found.Differences {
		b.WriteString(d.String() + "\n")
	}
	return b.String(), found
}

// patchAs changes an object as another field manager does.
func patchAs(t *testing.T, c *Client, o object.Ref, manager string, kind types.PatchType, patch string) {
	t.Helper()
	resource, err := c.resourceNamed(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resource.Patch(t.Context(), o.Name, kind, []byte(patch), metav1.PatchOptions{FieldManager: manager}); err != nil {
		t.Fatal(err)
	}
}

func readString(t *testing.T, c *Client, o object.Ref, fields ...string) string {
	t.Helper()
	u, err := c.Get(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s, _, _ := unstructured.NestedString(u.Object, fields...)
	return s
}

// A controller fills a Secret that a chart renders empty: it is not drift, and applying
// again leaves it.
func TestWhatAControllerFillsIsNotTakenBack(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	opt := ApplyOptions{Namespace: ns, Owner: "demo/web"}
	applied := parse(t, `apiVersion: v1
kind: Secret
metadata: {name: certificate}
data: {tls.crt: "", tls.key: "", fixed: aGVsbG8=}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: filled.caisson.dev}
webhooks:
- name: filled.caisson.dev
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  clientConfig: {caBundle: Cg==, service: {name: s, namespace: nowhere}}
  rules: [{apiGroups: [nowhere.dev], apiVersions: [v1], operations: [CREATE], resources: [things]}]
`)
	done, err := c.Apply(t.Context(), applied, opt)
	if err != nil {
		t.Fatal(err)
	}
	secret, config := done[0].Object, done[1].Object
	t.Cleanup(func() { _ = c.Delete(t.Context(), []object.Ref{config}) })
	patchAs(t, c, secret, "rotator", types.MergePatchType, `{"data":{"tls.crt":"YQ==","tls.key":"Yg==","ca.crt":"Yw=="}}`)
	patchAs(t, c, config, "injector", types.JSONPatchType, `[{"op":"replace","path":"/webhooks/0/clientConfig/caBundle","value":"YQ=="}]`)
	for range 2 {
		for _, u := range applied {
			if text, _ := compared(t, c, u, opt); text != "" {
				t.Errorf("%s differs in\n%s", u.GetKind(), text)
			}
		}
		again, err := c.Apply(t.Context(), applied, opt)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range again {
			if a.Outcome != Unchanged {
				t.Errorf("%s is %s", a.Object, a.Outcome)
			}
		}
	}
	if _, found := compared(t, c, applied[0], opt); len(found.Kept) != 1 || found.Kept[0].Manager != "rotator" || strings.Join(found.Kept[0].Fields, " ") != "data.ca.crt data.tls.crt data.tls.key" {
		t.Errorf("kept is %+v", found.Kept)
	}
	if got := readString(t, c, secret, "data", "tls.crt"); got != "YQ==" {
		t.Errorf("tls.crt is %q", got)
	}
	patchAs(t, c, secret, "thief", types.MergePatchType, `{"data":{"fixed":"YQ=="}}`)
	if text, _ := compared(t, c, applied[0], opt); text != "data.fixed was changed\n" {
		t.Errorf("what was applied with a value and changed gives\n%s", text)
	}
}

// What somebody adds to an object by hand changes it as much as what he overwrites.
func TestAdditionsByHandAreDriftAndGoWhenApplied(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	opt := ApplyOptions{Namespace: ns, Owner: "demo/web"}
	applied := parse(t, deploymentText("web", "labels: {a: b}", `{containers: [{name: main, image: "x:1", env: [{name: OURS, value: "1"}]}, {name: side, image: "y:1"}]}`))
	done, err := c.Apply(t.Context(), applied, opt)
	if err != nil {
		t.Fatal(err)
	}
	o := done[0].Object
	add := `{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"Z_PROXY","value":"planted"},{"name":"A_PROXY","value":"planted"}]},{"name":"side","command":["planted"]}]}}}}`
	patchAs(t, c, o, "kubectl-set", types.StrategicMergePatchType, add)
	patchAs(t, c, o, "some-client", types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"hostNetwork":true}}}}`)
	patchAs(t, c, o, "kubectl-rollout", types.StrategicMergePatchType, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`)
	patchAs(t, c, o, "inventory", types.MergePatchType, `{"metadata":{"labels":{"rack":"12"}}}`)
	text, found := compared(t, c, applied[0], opt)
	for _, want := range []string{"containers[main].env[A_PROXY] was changed", "containers[main].env[Z_PROXY] was changed", "containers[side].command was changed", "spec.template.spec.hostNetwork is true, applied was nothing"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "planted") || strings.Contains(text, "rack") || strings.Contains(text, "restartedAt") {
		t.Errorf("it says\n%s", text)
	}
	if len(found.Kept) == 0 {
		t.Error("what is not compared is not said")
	}
	if _, err := c.Apply(t.Context(), applied, opt); err != nil {
		t.Fatal(err)
	}
	if text, _ := compared(t, c, applied[0], opt); text != "" {
		t.Errorf("after applying again it differs in\n%s", text)
	}
	u, err := c.Get(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	if env, _, _ := unstructured.NestedSlice(list[0].(map[string]any), "env"); len(env) != 1 {
		t.Errorf("the environment is %v", env)
	}
	if u.GetLabels()["rack"] != "12" {
		t.Error("a label of others was taken away")
	}
}

// A container that somebody added is one difference, and nothing in it is told: its
// arguments and its environment can hold credentials.
func TestWhatWasAddedAsAWholeIsNotTold(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	opt := ApplyOptions{Namespace: ns, Owner: "demo/web"}
	applied := parse(t, deploymentText("web", "labels: {a: b}", `{containers: [{name: main, image: "x:1"}]}`))
	done, err := c.Apply(t.Context(), applied, opt)
	if err != nil {
		t.Fatal(err)
	}
	add := `{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"y:1","args":["--password=hunter2"],"env":[{"name":"A","value":"hunter2"}]}]}}}}`
	patchAs(t, c, done[0].Object, "kubectl-patch", types.StrategicMergePatchType, add)
	text, found := compared(t, c, applied[0], opt)
	if text != "spec.template.spec.containers[side] was changed\n" {
		t.Errorf("it differs in\n%s", text)
	}
	if raw, err := json.Marshal(found); err != nil || strings.Contains(string(raw), "hunter2") {
		t.Errorf("%v: the JSON is %s", err, raw)
	}
}

func TestWhatCouldBeACredentialIsNotTold(t *testing.T) {
	for _, c := range []struct {
		path    string
		value   any
		private bool
	}{
		{"spec.replicas", int64(5), false},
		{"spec.template.spec.hostNetwork", true, false},
		{"spec.template.spec.containers[a].image", "registry.internal/a/b:1.2@sha256:" + strings.Repeat("a1", 32), false},
		{"spec.version", "1.10", false},
		{"spec.template.spec.serviceAccountName", "web", false},
		{"spec.secretName", "web-tls", false},
		{"spec.template.spec.containers[side]", map[string]any{"args": []any{"a"}}, true},
		{"spec.finalizers", []any{"a"}, true},
		{"spec.auth.adminPassword", "hunter2", true},
		{"spec.env.KEY", "hunter2", true},
		{"spec.pin.secret", int64(1234), true},
		{"spec.containers[a].livenessProbe.httpGet.httpHeaders[Authorization].value", "abc", true},
		{"spec.database", "postgres://me:hunter2@db/x", true},
		{"spec.endpoint", "https://x/?token=hunter2", true},
		{"spec.id", "AKIAIOSFODNN7EXAMPLE", true},
		{"spec.text", "a\nb", true},
	} {
		if isPrivate(c.path, c.value) != c.private {
			t.Errorf("%s: %v: private is %v", c.path, c.value, !c.private)
		}
	}
}

// What others have in an object that was there before stays, however often it is applied.
func TestWhatWasThereBeforeStaysInAnAdoptedObject(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	opt := ApplyOptions{Namespace: ns, Owner: "demo/web"}
	resource, err := c.resourceNamed(object.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	theirs := parse(t, deploymentText("web", "labels: {a: b}", `{hostNetwork: true, containers: [{name: main, image: "x:1"}, {name: side, image: "y:1"}]}`))[0]
	if _, err := resource.Create(t.Context(), theirs, metav1.CreateOptions{FieldManager: "kubectl"}); err != nil {
		t.Fatal(err)
	}
	ours := parse(t, deploymentText("web", "labels: {a: b}", `{containers: [{name: main, image: "x:1"}]}`))
	for range 3 {
		if _, err := c.Apply(t.Context(), ours, opt); err != nil {
			t.Fatal(err)
		}
		if text, found := compared(t, c, ours[0], opt); text != "" || len(found.Kept) == 0 {
			t.Errorf("it differs in\n%skept is %v", text, found.Kept)
		}
	}
	u, err := resource.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if list, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers"); len(list) != 2 {
		t.Errorf("the containers are %v", list)
	}
}

// What an operator adds to a ConfigMap or Secret is his; what he changes in it is not.
func TestKeysThatAnOperatorAddsStay(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	opt := ApplyOptions{Namespace: ns, Owner: "demo/web"}
	applied := parse(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {ours: a}\n")
	done, err := c.Apply(t.Context(), applied, opt)
	if err != nil {
		t.Fatal(err)
	}
	patchAs(t, c, done[0].Object, "kubectl-edit", types.MergePatchType, `{"data":{"theirs":"Yg=="}}`)
	if text, _ := compared(t, c, applied[0], opt); text != "" {
		t.Errorf("a key more makes it differ in\n%s", text)
	}
	patchAs(t, c, done[0].Object, "kubectl-edit", types.MergePatchType, `{"data":{"ours":"Yw=="}}`)
	if text, _ := compared(t, c, applied[0], opt); text != "data.ours was changed\n" {
		t.Errorf("it differs in\n%s", text)
	}
	if _, err := c.Apply(t.Context(), applied, opt); err != nil {
		t.Fatal(err)
	}
	if got := readString(t, c, done[0].Object, "data", "ours") + readString(t, c, done[0].Object, "data", "theirs"); got != "YQ==Yg==" {
		t.Errorf("after applying again the data is %s", got)
	}
}

// Controllers and webhooks write what was applied in the form that their own types have.
func TestRewrittenValuesAreNoDrift(t *testing.T) {
	d := &differ{live: true, custom: true}
	for _, c := range []struct {
		want, have any
		same       bool
	}{
		{int64(4), "4", true},
		{"1024Mi", "1Gi", true},
		{"1000m", "1", true},
		{"24h", "24h0m0s", true},
		{"", nil, true},
		{map[string]any{}, nil, true},
		{"1.10", "1.1", false}, // a version, perhaps
		{"2.0", "2", false},
		{"2000m", "2", true},
		{2.0, "2", true},
		{int64(4), "5", false},
		{"4", nil, false},
		{false, nil, false},
		{"1Gi", "2Gi", false},
		{"a", "b", false},
	} {
		if d.isRewritten(c.want, c.have) != c.same {
			t.Errorf("%v and %v: same is %v", c.want, c.have, !c.same)
		}
	}
	own := &differ{live: true}
	if own.isRewritten(map[string]any{}, nil) || own.isRewritten("1000", "1k") {
		t.Error("in Kubernetes' own kinds nothing and {} differ, and 1000 and 1k in a ConfigMap")
	}
}

func TestValuesTakeTheFormThatIsThere(t *testing.T) {
	u := parse(t, `apiVersion: kueue.example/v1
kind: ClusterQueue
metadata: {name: q, labels: {size: "1000m"}}
spec:
  groups: [{flavors: [{name: b, quota: 8}, {name: a, quota: 4}]}]
  every: 24h
  version: "1.10"
`)[0]
	live := parse(t, `apiVersion: kueue.example/v1
kind: ClusterQueue
metadata: {name: q, labels: {size: "1"}}
spec:
  groups: [{flavors: [{name: a, quota: "4"}, {name: b, quota: "9"}]}]
  every: 24h0m0s
  version: "1.1"
`)[0]
	adoptForms(u, live)
	got := fmt.Sprint(u.Object["spec"], u.GetLabels())
	if want := "map[every:24h0m0s groups:[map[flavors:[map[name:b quota:8] map[name:a quota:4]]]] version:1.10] map[size:1000m]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	flavors, _, _ := unstructured.NestedSlice(u.Object, "spec", "groups")
	if q := flavors[0].(map[string]any)["flavors"].([]any)[1].(map[string]any)["quota"]; q != "4" {
		t.Errorf("the quota is %T", q)
	}
}

func TestHandsAreKnownByName(t *testing.T) {
	for manager, want := range map[string]bool{
		"kubectl": true, "kubectl-edit": true, "kubectl-client-side-apply": true, "k9s": true, "oc": true, "helm": true,
		"octopus-controller": false, "helmcontroller": false, "kueue": false, "cert-manager-cainjector": false,
	} {
		if byHand(manager) != want {
			t.Errorf("%s: by hand is %v", manager, !want)
		}
	}
}
