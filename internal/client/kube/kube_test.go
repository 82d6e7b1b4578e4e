package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/caisson/caisson/internal/api/object"
)

var deleteNow = metav1.DeleteOptions{}

func parse(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestConnectSaysWhereItFailed(t *testing.T) {
	if _, err := Connect(t.Context(), Options{Kubeconfig: "/does/not/exist"}); err == nil {
		t.Error("a kubeconfig that does not exist was accepted")
	}
	c := connect(t)
	if id := c.Identity(); id.User == "" || id.Context == "" {
		t.Errorf("identity is %+v", id)
	}
	uid, err := c.UID(t.Context())
	if err != nil || len(uid) != 36 {
		t.Errorf("uid %q, %v", uid, err)
	}
}

func TestApplyCreatesChangesAndLeaves(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	opt := ApplyOptions{Namespace: ns, Owner: "demo/web"}
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n"
	for _, want := range []Outcome{Created, Unchanged} {
		done, err := c.Apply(t.Context(), parse(t, text), opt)
		if err != nil || len(done) != 1 || done[0].Outcome != want || done[0].Object.UID == "" {
			t.Fatalf("%v, %v; want %s", done, err, want)
		}
	}
	done, err := c.Apply(t.Context(), parse(t, strings.Replace(text, "k: v", "other: w", 1)), opt)
	if err != nil || done[0].Outcome != Changed {
		t.Fatalf("%v, %v", done, err)
	}
	live, err := c.Get(t.Context(), done[0].Object)
	if err != nil {
		t.Fatal(err)
	}
	if data, _, _ := unstructured.NestedStringMap(live.Object, "data"); len(data) != 1 || data["other"] != "w" {
		t.Errorf("data is %v: a key that is no longer applied must go", data)
	}
}

func TestApplyRespectsOthers(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	_, err := c.Core.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Data: map[string]string{"k": "theirs"}}, metav1.CreateOptions{FieldManager: "them"})
	if err != nil {
		t.Fatal(err)
	}
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs}\ndata: {k: ours}\n"
	if _, err := c.Apply(t.Context(), parse(t, text), ApplyOptions{Namespace: ns, Owner: "demo/web"}); !errors.Is(err, ErrForeign) {
		t.Fatalf("error is %v", err)
	}
	if _, err := c.Apply(t.Context(), parse(t, text), ApplyOptions{Namespace: ns, Force: true}); err != nil {
		t.Fatal(err)
	}
	o := object.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: ns, Name: "theirs"}
	if err := c.DeleteOwned(t.Context(), []object.Ref{o}, "demo/web"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), o); err != nil {
		t.Errorf("an object without our mark was deleted: %v", err)
	}
}

func TestApplyUnknownKind(t *testing.T) {
	_, err := connect(t).Apply(t.Context(), parse(t, "apiVersion: nowhere.example/v1\nkind: Thing\nmetadata: {name: x}\n"), ApplyOptions{})
	if !errors.Is(err, ErrNoKind) {
		t.Errorf("error is %v", err)
	}
}

// bigCRD is a definition larger than client-side apply can hold.
func bigCRD(plural, kind string, size int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.test.caisson.dev}
spec:
  group: test.caisson.dev
  scope: Namespaced
  names: {plural: %[1]s, singular: %[2]s, kind: %[3]s}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
          spec:
            type: object
            properties:
`, plural, strings.ToLower(kind), kind)
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "              field%d: {type: string, description: %q}\n", i, strings.Repeat("word ", 150))
	}
	return b.String()
}

func TestApplyCRDsAreUsableAtOnce(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	crd := parse(t, bigCRD("bigs", "Big", 400<<10))
	done, err := c.ApplyCRDs(t.Context(), crd, ApplyOptions{Owner: "demo/x"})
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.Apply(t.Context(), parse(t, "apiVersion: test.caisson.dev/v1\nkind: Big\nmetadata: {name: one}\nspec: {field0: a}\n"), ApplyOptions{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Instances(t.Context(), done[0].Object); n != 1 || err != nil {
		t.Errorf("%d instances, %v", n, err)
	}
	if err := c.Delete(t.Context(), []object.Ref{done[0].Object, made[0].Object}); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Instances(t.Context(), done[0].Object); n != 0 || err != nil {
		t.Errorf("%d instances after deletion, %v", n, err)
	}
}

// TestApplyFindsKindsThatCameLater applies an object with a client that looked
// at what the server serves before somebody else defined the object's kind.
func TestApplyFindsKindsThatCameLater(t *testing.T) {
	c, operator := connect(t), connect(t)
	ns := namespace(t, c)
	late := parse(t, "apiVersion: test.caisson.dev/v1\nkind: Late\nmetadata: {name: one}\n")
	if _, err := c.Apply(t.Context(), late, ApplyOptions{Namespace: ns}); !errors.Is(err, ErrNoKind) {
		t.Fatalf("error is %v", err)
	}
	done, err := operator.ApplyCRDs(t.Context(), parse(t, bigCRD("lates", "Late", 0)), ApplyOptions{Owner: "demo/x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(t.Context(), late, ApplyOptions{Namespace: ns}); err != nil {
		t.Error(err)
	}
	if err := operator.Delete(t.Context(), []object.Ref{done[0].Object}); err != nil {
		t.Fatal(err)
	}
}

func TestWaitReady(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	text := `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example.org/web@sha256:` + strings.Repeat("a", 64) + `}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: x}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: broken}
spec: {backoffLimit: 0, template: {metadata: {annotations: {test.caisson.dev/outcome: fail}}, spec: {restartPolicy: Never, containers: [{name: a, image: x}]}}}
`
	done, err := c.Apply(t.Context(), parse(t, text), ApplyOptions{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = c.WaitReady(ctx, []object.Target{{Object: done[0].Object}, {Object: done[0].Object, Condition: "Available"}, {Object: done[1].Object, Completion: true}}, nil)
	if err != nil {
		t.Errorf("waiting: %v", err)
	}
	if err := c.WaitReady(ctx, []object.Target{{Object: done[2].Object, Completion: true}}, nil); !errors.Is(err, ErrFailed) {
		t.Errorf("a failed job gives %v", err)
	}
	short, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	err = c.WaitReady(short, []object.Target{{Object: object.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: ns, Name: "absent"}}}, nil)
	if !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "absent") {
		t.Errorf("waiting for what does not exist gives %v", err)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if err := c.WaitReady(gone, []object.Target{{Object: done[0].Object, Condition: "Never"}}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled waiting gives %v", err)
	}
}

func TestWaitReadySeesAChange(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	pods := c.Core.CoreV1().Pods(ns)
	_, err := pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{NodeName: "nowhere", Containers: []corev1.Container{{Name: "c", Image: "x"}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- c.WaitReady(t.Context(), []object.Target{{Object: object.Ref{APIVersion: "v1", Kind: "Pod", Namespace: ns, Name: "p"}, Condition: "Special"}}, func(_ object.Target, s State) {
			if !s.Ready {
				close(waiting)
			}
		})
	}()
	<-waiting
	began := time.Now()
	patch := `{"status":{"conditions":[{"type":"Special","status":"True"}]}}`
	if _, err := pods.Patch(t.Context(), "p", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > lookAgain/2 {
		t.Errorf("the change was seen after %s: it should be watched, not polled", took)
	}
}

func TestRemoveNamespaceOnlyWhenEmpty(t *testing.T) {
	c := connect(t)
	ns, made, err := c.EnsureNamespace(t.Context(), "leave-me", map[string]string{AnnotationOwner: "demo"})
	if err != nil || !made {
		t.Fatal(made, err)
	}
	if _, made, err := c.EnsureNamespace(t.Context(), "leave-me", nil); err != nil || made {
		t.Fatalf("made again: %v, %v", made, err)
	}
	done, err := c.Apply(t.Context(), parse(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"), ApplyOptions{Namespace: "leave-me"})
	if err != nil {
		t.Fatal(err)
	}
	removed, left, err := c.RemoveNamespace(t.Context(), ns)
	if err != nil || removed || len(left) != 1 || left[0].Name != "a" {
		t.Fatalf("removed %v, left %v, %v", removed, left, err)
	}
	if err := c.Delete(t.Context(), []object.Ref{done[0].Object}); err != nil {
		t.Fatal(err)
	}
	if removed, left, err = c.RemoveNamespace(t.Context(), ns); err != nil || !removed {
		t.Fatalf("removed %v, left %v, %v", removed, left, err)
	}
}

func TestDeleteSparesAnotherIncarnation(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	done, err := c.Apply(t.Context(), parse(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"), ApplyOptions{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	other := done[0].Object
	other.UID = "00000000-0000-0000-0000-000000000000"
	if err := c.Delete(t.Context(), []object.Ref{other}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), done[0].Object); err != nil {
		t.Errorf("another incarnation was deleted: %v", err)
	}
}

// A claim is held by a pod that names it, though the pod has ended: the job goes first,
// wherever it stands in the list.
func TestDeleteTakesClaimsLast(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	done, err := c.Apply(t.Context(), parse(t, `apiVersion: batch/v1
kind: Job
metadata: {name: write}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: x}], volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
`), ApplyOptions{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	objects := []object.Ref{done[0].Object, done[1].Object}
	if got := deletionOrder(objects); got[0].Kind != "Job" {
		t.Errorf("%s goes first", got[0])
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.Delete(ctx, objects); err != nil {
		t.Error(err)
	}
}

func TestRights(t *testing.T) {
	c := connect(t)
	denied, err := c.Denied(t.Context(), []Right{{Verb: "create", Group: "apps", Resource: "deployments", Namespace: "default"}})
	if err != nil || len(denied) != 0 {
		t.Errorf("an administrator lacks %q, %v", denied, err)
	}
	inventory, err := c.Inventory(t.Context())
	if err != nil || len(inventory.Platforms) != 1 || inventory.DefaultClass == "" {
		t.Errorf("%+v, %v", inventory, err)
	}
}
