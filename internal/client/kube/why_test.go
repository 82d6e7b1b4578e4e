package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/caisson/caisson/internal/api/object"
)

// kind defines a namespaced kind with a status of any form.
func kind(t *testing.T, c *Client, group, plural, name string) {
	t.Helper()
	text := fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[2]s.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: %[2]s, singular: %[3]s, kind: %[4]s}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, group, plural, strings.ToLower(name), name)
	if strings.HasSuffix(group, ".k8s.io") {
		text = strings.Replace(text, "metadata: {name: ", "metadata: {annotations: {api-approved.kubernetes.io: unapproved}, name: ", 1)
	}
	if _, err := c.ApplyCRDs(t.Context(), parse(t, text), ApplyOptions{Owner: "s/c"}); err != nil {
		t.Fatal(err)
	}
}

// apply applies a text and returns what was made of it.
func apply(t *testing.T, c *Client, ns, text string) []object.Ref {
	t.Helper()
	done, err := c.Apply(t.Context(), parse(t, text), ApplyOptions{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	var out []object.Ref
	for _, a := range done {
		out = append(out, a.Object)
	}
	return out
}

// ownedBy is the line of metadata that makes an object belong to another.
func ownedBy(o object.Ref) string {
	return fmt.Sprintf("ownerReferences: [{apiVersion: %s, kind: %s, name: %s, uid: %s, controller: true}]", o.APIVersion, o.Kind, o.Name, o.UID)
}

func deploymentText(name, metadata, pod string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, %[2]s}
spec:
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec: %[3]s
`, name, metadata, pod)
}

// podOf waits for the pod whose name begins so, and that has a node where it is said.
func podOf(t *testing.T, c *Client, ns, name string, placed bool) string {
	t.Helper()
	var found string
	eventually(t, "a pod of "+name, func() string {
		list, err := c.Core.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list.Items {
			if strings.HasPrefix(p.Name, name+"-") && (!placed || p.Status.Phase == corev1.PodRunning) {
				found = p.Name
				return ""
			}
		}
		return fmt.Sprintf("%d pods", len(list.Items))
	})
	return found
}

// eventually waits until missing says that nothing is missing.
func eventually(t *testing.T, what string, missing func() string) {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for {
		last := missing()
		if last == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s", what, last)
		}
		pause(t.Context(), 100*time.Millisecond)
	}
}

// setStatus writes fields of an object's status.
func setStatus(t *testing.T, c *Client, o object.Ref, status map[string]any) {
	t.Helper()
	resource, err := c.resourceNamed(o)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resource.Patch(t.Context(), o.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

func podRef(ns, name string) object.Ref {
	return object.Ref{APIVersion: "v1", Kind: "Pod", Namespace: ns, Name: name}
}

// crash makes a pod one whose container ends again and again.
func crash(t *testing.T, c *Client, ns, pod, message string) {
	t.Helper()
	setStatus(t, c, podRef(ns, pod), map[string]any{
		"conditions": []any{map[string]any{"type": "Ready", "status": "False"}},
		"containerStatuses": []any{map[string]any{
			"name": "main", "image": "x", "imageID": "", "ready": false, "restartCount": 4,
			"state":     map[string]any{"waiting": map[string]any{"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
			"lastState": map[string]any{"terminated": map[string]any{"exitCode": 3, "reason": "Error", "message": message}},
		}},
	})
}

func TestWhySomethingIsNotReady(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	kind(t, c, "why.caisson.dev", "things", "Thing")
	kind(t, c, "kueue.x-k8s.io", "workloads", "Workload")
	kind(t, c, "jobset.x-k8s.io", "jobsets", "JobSet")
	thing := apply(t, c, ns, "apiVersion: why.caisson.dev/v1\nkind: Thing\nmetadata: {name: t}\n")[0]
	set := apply(t, c, ns, "apiVersion: jobset.x-k8s.io/v1\nkind: JobSet\nmetadata: {name: train, "+ownedBy(thing)+"}\n")[0]
	queued := apply(t, c, ns, "apiVersion: why.caisson.dev/v1\nkind: Thing\nmetadata: {name: queued}\n")[0]
	list := apply(t, c, ns, strings.Join([]string{
		deploymentText("far", "labels: {a: b}", "{nodeSelector: {kubernetes.io/hostname: nowhere}, containers: [{name: main, image: x}]}"),
		deploymentText("loops", "labels: {a: b}", "{containers: [{name: main, image: x, env: [{name: K, valueFrom: {secretKeyRef: {name: creds, key: k}}}]}]}"),
		deploymentText("pulls", "labels: {a: b}", "{containers: [{name: main, image: ghcr.io/acme/none:1}]}"),
		deploymentText("begins", "labels: {a: b}", "{initContainers: [{name: fetch, image: x}], containers: [{name: main, image: x}]}"),
		deploymentText("claims", "labels: {a: b}", "{volumes: [{name: v, persistentVolumeClaim: {claimName: data}}], containers: [{name: main, image: x}]}"),
		"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {storageClassName: absent, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n",
		"apiVersion: batch/v1\nkind: Job\nmetadata: {name: work, " + ownedBy(set) + "}\nspec: {template: {spec: {nodeSelector: {no: node}, restartPolicy: Never, containers: [{name: a, image: x}]}}}\n",
		"apiVersion: kueue.x-k8s.io/v1\nkind: Workload\nmetadata: {name: w, " + ownedBy(queued) + "}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: creds}\nstringData: {k: planted-value}\n",
	}, "---\n"))
	by := map[string]object.Ref{}
	for _, o := range list {
		by[o.Name] = o
	}
	crash(t, c, ns, podOf(t, c, ns, "loops", true), "starting\nno config at planted-value\x1b[31m\n\n")
	for name, status := range map[string]map[string]any{
		"pulls": {"containerStatuses": []any{map[string]any{
			"name": "main", "image": "ghcr.io/acme/none:1", "imageID": "", "ready": false, "restartCount": 0,
			"state": map[string]any{"waiting": map[string]any{"reason": "ImagePullBackOff", "message": "not found"}}}}},
		"begins": {"initContainerStatuses": []any{map[string]any{
			"name": "fetch", "image": "x", "imageID": "", "ready": false, "restartCount": 1,
			"state": map[string]any{"terminated": map[string]any{"exitCode": 137, "reason": "OOMKilled"}}}}},
	} {
		status["conditions"] = []any{map[string]any{"type": "Ready", "status": "False"}}
		setStatus(t, c, podRef(ns, podOf(t, c, ns, name, true)), status)
	}
	setStatus(t, c, by["w"], map[string]any{"conditions": []any{map[string]any{"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "insufficient quota for cpu in flavor main", "lastTransitionTime": "2026-01-01T00:00:00Z"}}})
	for _, w := range []struct {
		of   object.Ref
		says []string
	}{
		{by["far"], []string{"Pod " + ns + "/far-", "cannot be scheduled: 0/2 nodes"}},
		{by["loops"], []string{"container main crashes: exit code 3, restarted 4 times, its log ends with \"no config at [redacted][31m\""}},
		{by["pulls"], []string{"cannot pull image ghcr.io/acme/none:1 for container main: ImagePullBackOff: not found"}},
		{by["begins"], []string{"init container fetch crashes: exit code 137 (OOMKilled), restarted 1 times"}},
		{by["claims"], []string{"cannot be scheduled", "PersistentVolumeClaim data has no volume yet of storage class absent"}},
		{by["data"], []string{"has no volume yet of storage class absent"}},
		{by["work"], []string{"Pod " + ns + "/work-", "cannot be scheduled"}},
		{set, []string{"Pod " + ns + "/work-", "cannot be scheduled"}},
		{thing, []string{"Pod " + ns + "/work-", "cannot be scheduled"}},
		{queued, []string{"Workload " + ns + "/w is not admitted by Kueue: insufficient quota for cpu in flavor main"}},
	} {
		eventually(t, w.of.String(), func() string {
			why := c.Why(t.Context(), w.of)
			for _, part := range w.says {
				if !strings.Contains(why, part) {
					return why + "\n  lacks " + part
				}
			}
			if strings.Contains(why, "planted-value") || strings.Contains(why, "\x1b") {
				t.Errorf("it tells %q", why)
			}
			return ""
		})
	}
}

func TestWhyPodsAreNotMade(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	apply(t, c, ns, "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none}\nspec: {hard: {pods: \"0\"}}\n")
	o := apply(t, c, ns, deploymentText("full", "labels: {a: b}", "{containers: [{name: main, image: x}]}"))[0]
	eventually(t, "the quota", func() string {
		why := c.Why(t.Context(), o)
		if strings.Contains(why, "ReplicaSet "+ns+"/full-") && strings.Contains(why, "cannot make its pods") && strings.Contains(why, "exceeded quota") {
			return ""
		}
		return why
	})
}

// TestAWaitSaysWhy: a wait that lasts reports the pod's own reason, and so does its end.
func TestAWaitSaysWhy(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	o := apply(t, c, ns, deploymentText("far", "labels: {a: b}", "{nodeSelector: {kubernetes.io/hostname: nowhere}, containers: [{name: main, image: x}]}"))[0]
	ctx, cancel := context.WithTimeout(t.Context(), whyAfter+3*time.Second)
	defer cancel()
	var reported []string
	err := c.WaitReady(ctx, []object.Target{{Object: o}}, func(_ object.Target, s State) { reported = append(reported, s.Waiting()) })
	if !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "cannot be scheduled: 0/2 nodes") {
		t.Errorf("the error is %v", err)
	}
	if last := reported[len(reported)-1]; !strings.Contains(last, "cannot be scheduled: 0/2 nodes") || len(reported) > 6 {
		t.Errorf("reported was %q", reported)
	}
	short, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	if err := c.WaitReady(short, []object.Target{{Object: o}}, nil); err == nil || !strings.Contains(err.Error(), "cannot be scheduled") {
		t.Errorf("after a short wait the error is %v", err)
	}
}

// TestReadyWhileItsPodCrashes: an object that calls itself ready, since an older pod
// still answers, is not ready.
func TestReadyWhileItsPodCrashes(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	kind(t, c, "model.caisson.dev", "models", "Model")
	model := apply(t, c, ns, "apiVersion: model.caisson.dev/v1\nkind: Model\nmetadata: {name: m}\n")[0]
	setStatus(t, c, model, map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}})
	apply(t, c, ns, deploymentText("m", ownedBy(model), "{containers: [{name: main, image: x}]}"))
	pod := podOf(t, c, ns, "m", true)
	for _, target := range []object.Target{{Object: model}, {Object: model, Condition: "Ready"}} {
		eventually(t, "the Deployment to count its pod", func() string {
			s, err := c.Look(t.Context(), target)
			if err == nil && s.Ready {
				return ""
			}
			return fmt.Sprintf("%+v, %v", s, err)
		})
	}
	crash(t, c, ns, pod, "out of memory")
	for _, target := range []object.Target{{Object: model}, {Object: model, Condition: "Ready"}} {
		eventually(t, "the crash", func() string {
			s, err := c.Look(t.Context(), target)
			if err == nil && !s.Ready && strings.Contains(s.Message, "container main crashes: exit code 3") && s.UID != "" {
				return ""
			}
			return fmt.Sprintf("%+v, %v", s, err)
		})
	}
}

// TestReadyWhileItsWorkloadRollsOut: an object that calls itself ready, since older pods
// still serve, is not ready while the new ones cannot be placed.
func TestReadyWhileItsWorkloadRollsOut(t *testing.T) {
	c := connect(t)
	ns := namespace(t, c)
	kind(t, c, "rollout.caisson.dev", "rollouts", "Rollout")
	o := apply(t, c, ns, "apiVersion: rollout.caisson.dev/v1\nkind: Rollout\nmetadata: {name: m}\n")[0]
	setStatus(t, c, o, map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}})
	looks := func(want bool, words string) {
		t.Helper()
		eventually(t, words, func() string {
			s, err := c.Look(t.Context(), object.Target{Object: o, Condition: "Ready"})
			if err == nil && s.Ready == want && strings.Contains(s.Message, words) {
				return ""
			}
			return fmt.Sprintf("%+v, %v", s, err)
		})
	}
	apply(t, c, ns, deploymentText("m", ownedBy(o), "{containers: [{name: main, image: x}]}"))
	looks(true, "condition Ready is True")
	apply(t, c, ns, deploymentText("m", ownedBy(o), "{containers: [{name: main, image: x, resources: {requests: {cpu: 100000}}}]}"))
	looks(false, "calls itself ready, but Deployment "+ns+"/m")
	looks(false, "cannot be scheduled: 0/2 nodes")
}

// logProxy answers for kubelets, which the nodes do not have, and hands on the rest.
func logProxy(t *testing.T, c *Client, log string) *Client {
	t.Helper()
	transport, err := rest.TransportFor(c.config)
	if err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse(c.config.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(server)
	proxy.Transport, proxy.FlushInterval = transport, -1
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/log") {
			_, _ = w.Write([]byte(log))
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.CloseClientConnections)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n", s.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := Connect(t.Context(), Options{Kubeconfig: path})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheLogsLastLine(t *testing.T) {
	direct := connect(t)
	ns := namespace(t, direct)
	apply(t, direct, ns, "apiVersion: v1\nkind: Secret\nmetadata: {name: creds}\nstringData: {k: planted-value}\n")
	pod := "{volumes: [{name: v, secret: {secretName: creds}}], containers: [{name: main, image: x}]}"
	o := apply(t, direct, ns, deploymentText("loops", "labels: {a: b}", pod))[0]
	crash(t, direct, ns, podOf(t, direct, ns, "loops", true), "")
	c := logProxy(t, direct, "begin\nFATAL: \x1b[1mplanted-value\x1b[0m token=abc123 "+strings.Repeat("x", 1000)+"\n \n")
	why := c.Why(t.Context(), o)
	if !strings.Contains(why, "its log ends with \"FATAL: [1m[redacted][0m token=[redacted] xxx") || strings.Contains(why, "planted") || len(why) > maxReason {
		t.Errorf("%q", why)
	}
}

func TestTheGravestTroubleIsTold(t *testing.T) {
	got := summarize([]trouble{
		{"Pod b", "is being started", starting}, {"Pod c", "crashes", crashes}, {"Pod a", "crashes too", crashes},
	})
	if got != "Pod a crashes too (and 1 more like it)" {
		t.Errorf("%q", got)
	}
	if got := summarize(nil); got != "" {
		t.Errorf("of nothing: %q", got)
	}
	if got := oneLine("a\x1b[2J\n b\t\u202ec" + strings.Repeat("d", 1000)); !strings.HasPrefix(got, "a[2J b cdd") || len(got) != maxReason {
		t.Errorf("%q", got)
	}
}

func TestKueueKeepsAWorkload(t *testing.T) {
	for text, want := range map[string]string{
		"status: {conditions: [{type: Admitted, status: \"True\"}]}":                                                                 "",
		"status: {conditions: [{type: Finished, status: \"True\"}, {type: Admitted, status: \"False\"}]}":                            "",
		"status: {conditions: [{type: QuotaReserved, status: \"False\", message: \"no quota\"}]}":                                    "no quota",
		"status: {conditions: [{type: QuotaReserved, status: \"True\"}, {type: Admitted, status: \"False\", message: \"a check\"}]}": "a check",
		"spec: {}": "has not looked at it",
	} {
		u := parse(t, "apiVersion: kueue.x-k8s.io/v1beta1\nkind: Workload\nmetadata: {name: w}\n"+text+"\n")[0]
		if got := notAdmittedYet(u); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", text, got)
		}
	}
}
