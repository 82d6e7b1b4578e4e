package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/testkit/clustertest"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerArgument {
		os.Exit(work())
	}
	os.Exit(clustertest.Main(m))
}

func incompressible(n int) string {
	b := make([]byte, n*3/4)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// packChart makes a chart archive of files by path.
func packChart(t *testing.T, name, version string, files map[string]string) *Chart {
	t.Helper()
	files = maps.Clone(files)
	files["Chart.yaml"] = fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", name, version)
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		_ = w.WriteHeader(&tar.Header{Name: name + "/" + path, Mode: 0o644, Size: int64(len(files[path]))})
		_, _ = w.Write([]byte(files[path]))
	}
	_ = w.Close()
	_ = z.Close()
	c, err := LoadArchive(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas | default 1 }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      {{- with .Values.nodeName }}
      nodeSelector: {kubernetes.io/hostname: {{ . }}}
      {{- end }}
      containers:
      - {name: web, image: {{ .Values.image | default "ghcr.io/acme/web:1" }}}
`

const hook = `apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-hook
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
spec:
  backoffLimit: 0
  template:
    metadata: {annotations: {test.caisson.dev/outcome: {{ .Values.outcome | default "succeed" | quote }}}}
    spec:
      restartPolicy: Never
      containers: [{name: hook, image: "ghcr.io/acme/hook:1", args: ["--image=ghcr.io/acme/web:1", plain]}]
`

const crd = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.%[1]s.caisson.dev}
spec:
  group: %[1]s.caisson.dev
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

// known maps ghcr.io/acme/X:1 to the site.
func known(ref string) (string, bool) {
	if strings.HasPrefix(ref, "site.example/") {
		return ref, true
	}
	if name, ok := strings.CutPrefix(ref, "ghcr.io/acme/"); ok && strings.HasSuffix(name, ":1") {
		return "site.example/ghcr.io/acme/" + strings.TrimSuffix(name, ":1") + "@sha256:" + strings.Repeat("a", 64), true
	}
	return "", false
}

func image(t *testing.T, c *kube.Client, o object.Ref) string {
	t.Helper()
	u, err := c.Get(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	return list[0].(map[string]any)["image"].(string)
}

// rendered is a spec with what a worker renders for it.
func rendered(t *testing.T, namespace string, spec Spec) Spec {
	t.Helper()
	r, err := renderApart(t, spec.Chart, RenderOptions{
		Release: spec.Name, Namespace: namespace, Values: spec.Values, KubeVersion: "1.36",
	})
	if err != nil {
		t.Fatal(err)
	}
	spec.Rendering = r
	return spec
}

func TestEngineFromInstallToUninstall(t *testing.T) {
	c, ns := cluster(t)
	e := NewEngine(c, ns, Pulls{Rewrite: known}, nil)
	chart := packChart(t, "web", "1.0.0", map[string]string{"templates/d.yaml": deployment, "templates/h.yaml": hook})
	spec := Spec{Name: "web", Chart: chart, Values: map[string]any{"replicas": 2}, Labels: map[string]string{LabelChart: "abc"}, Timeout: time.Minute}
	r, err := e.Install(t.Context(), rendered(t, ns, spec))
	if err != nil || r.Revision != 1 || r.Status != "deployed" || len(r.Objects) != 1 || r.Labels[LabelChart] != "abc" {
		t.Fatalf("%+v, %v", r, err)
	}
	deploy := object.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: ns, Name: "web"}
	job := object.Ref{APIVersion: "batch/v1", Kind: "Job", Namespace: ns, Name: "web-hook"}
	for _, o := range []object.Ref{deploy, job} {
		if got := image(t, c, o); !strings.HasPrefix(got, "site.example/ghcr.io/acme/") {
			t.Errorf("%s runs %s", o, got)
		}
	}
	spec.Values = nil // back to the chart's defaults, not the values of before
	if r, err = e.Upgrade(t.Context(), rendered(t, ns, spec)); err != nil || r.Revision != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	u, err := c.Get(t.Context(), deploy)
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas"); n != 1 {
		t.Errorf("%d replicas after an upgrade without values", n)
	}
	if r, err = e.Rollback(t.Context(), "web", 1, time.Minute); err != nil || r.Revision != 3 || r.Status != "deployed" {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := e.Uninstall(t.Context(), "web", time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), deploy); !kube.Absent(err) {
		t.Errorf("after uninstalling: %v", err)
	}
	if _, err := e.Last(t.Context(), "web"); !errors.Is(err, ErrNoRelease) {
		t.Errorf("after uninstalling: %v", err)
	}
	if err := e.Uninstall(t.Context(), "web", time.Minute); err != nil {
		t.Errorf("uninstalling nothing: %v", err)
	}
}

func TestEngineRefusesUnknownImages(t *testing.T) {
	c, ns := cluster(t)
	e := NewEngine(c, ns, Pulls{Rewrite: known}, nil)
	chart := packChart(t, "web", "1.0.0", map[string]string{"templates/d.yaml": deployment})
	_, err := e.Install(t.Context(), rendered(t, ns, Spec{Name: "web", Chart: chart, Values: map[string]any{"image": "docker.io/evil/x:9"}, Timeout: time.Minute}))
	if !errors.Is(err, ErrUnknownImage) || !strings.Contains(err.Error(), "docker.io/evil/x:9") {
		t.Fatalf("error is %v", err)
	}
	chart = packChart(t, "web", "1.0.0", map[string]string{"templates/h.yaml": strings.ReplaceAll(hook, "ghcr.io/acme/hook:1", "docker.io/evil/hook:9")})
	_, err = e.Install(t.Context(), rendered(t, ns, Spec{Name: "hooked", Chart: chart, Timeout: time.Minute}))
	if err == nil || !strings.Contains(err.Error(), "docker.io/evil/hook:9") {
		t.Fatalf("a hook with an unknown image: %v", err)
	}
	_, err = c.Get(t.Context(), object.Ref{APIVersion: "batch/v1", Kind: "Job", Namespace: ns, Name: "hooked-hook"})
	if !kube.Absent(err) {
		t.Errorf("the hook reached the cluster: %v", err)
	}
}

func TestEngineKeepsDefinitionsOutOfReleases(t *testing.T) {
	c, ns := cluster(t)
	e := NewEngine(c, ns, Pulls{Rewrite: known}, nil)
	chart := packChart(t, "web", "1.0.0", map[string]string{
		"crds/a.yaml":      fmt.Sprintf(crd, "inside"),
		"templates/b.yaml": fmt.Sprintf(crd, "templated"),
		"templates/w.yaml": "apiVersion: templated.caisson.dev/v1\nkind: Widget\nmetadata: {name: w}\n---\napiVersion: inside.caisson.dev/v1\nkind: Widget\nmetadata: {name: w}\n",
	})
	spec := Spec{Name: "web", Chart: chart, Timeout: time.Minute}
	crds, err := rendered(t, ns, spec).Rendering.Definitions()
	if err != nil || len(crds) != 2 {
		t.Fatalf("%d definitions, %v", len(crds), err)
	}
	done, err := c.ApplyCRDs(t.Context(), crds, kube.ApplyOptions{Owner: "demo/web"})
	if err != nil {
		t.Fatal(err)
	}
	unplanned := Spec{Name: "unplanned", Chart: chart, Timeout: time.Minute}
	if _, err := e.Install(t.Context(), rendered(t, ns, unplanned)); !errors.Is(err, ErrUnplannedCRD) {
		t.Errorf("error is %v", err)
	}
	spec.CRDs = []string{"widgets.inside.caisson.dev", "widgets.templated.caisson.dev"}
	r, err := e.Install(t.Context(), rendered(t, ns, spec))
	if err != nil || len(r.Objects) != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := e.Uninstall(t.Context(), "web", time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, a := range done {
		if _, err := c.Get(t.Context(), a.Object); err != nil {
			t.Errorf("uninstalling the release took %s with it: %v", a.Object, err)
		}
	}
	var objects []object.Ref
	for _, a := range done {
		objects = append(objects, a.Object)
	}
	if err := c.Delete(t.Context(), objects); err != nil {
		t.Error(err)
	}
}

func TestEngineFailuresAreWrittenDown(t *testing.T) {
	c, ns := cluster(t)
	e := NewEngine(c, ns, Pulls{Rewrite: known}, nil)
	chart := packChart(t, "web", "1.0.0", map[string]string{"templates/d.yaml": deployment, "templates/h.yaml": hook})
	spec := Spec{Name: "web", Chart: chart, Timeout: 3 * time.Second}
	if _, err := e.Install(t.Context(), rendered(t, ns, spec)); err != nil {
		t.Fatal(err)
	}
	spec.Values = map[string]any{"nodeName": "nowhere"}
	if _, err := e.Upgrade(t.Context(), rendered(t, ns, spec)); !errors.Is(err, kube.ErrNotReady) {
		t.Fatalf("pods that never start: %v", err)
	}
	last, err := e.Last(t.Context(), "web")
	if err != nil || last.Revision != 2 || last.Status != "failed" {
		t.Fatalf("%+v, %v", last, err)
	}
	if good, err := e.Deployed(t.Context(), "web"); err != nil || good.Revision != 1 {
		t.Fatalf("%+v, %v", good, err)
	}
	if _, err := e.Rollback(t.Context(), "web", 1, time.Minute); err != nil {
		t.Fatal(err)
	}
	spec.Values = map[string]any{"outcome": "fail"}
	if _, err := e.Upgrade(t.Context(), rendered(t, ns, spec)); err == nil || !strings.Contains(err.Error(), "pre-upgrade") {
		t.Fatalf("a failing hook: %v", err)
	}
}

func TestEngineStopsWithItsContext(t *testing.T) {
	c, ns := cluster(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	e := NewEngine(c, ns, Pulls{Rewrite: known}, func(object.Ref, string) { cancel(reason) })
	chart := packChart(t, "web", "1.0.0", map[string]string{"templates/d.yaml": deployment})
	_, err := e.Install(ctx, rendered(t, ns, Spec{Name: "web", Chart: chart, Values: map[string]any{"nodeName": "nowhere"}, Timeout: time.Minute}))
	if !errors.Is(err, reason) {
		t.Fatalf("error is %v", err)
	}
	last, err := e.Last(t.Context(), "web")
	if err != nil || last.Status != "failed" {
		t.Errorf("%+v, %v: a cancelled install must be written down before the call returns", last, err)
	}
}

func TestSettleEndsWhatNeverEnded(t *testing.T) {
	c, ns := cluster(t)
	e := NewEngine(c, ns, Pulls{Rewrite: known}, nil)
	if _, err := e.Settle(t.Context(), "web"); !errors.Is(err, ErrNoRelease) {
		t.Errorf("settling nothing: %v", err)
	}
	if err := NewDriver(c.Records(ns)).Create(key("web", 1), stub("web", ns, 1, "pending-install")); err != nil {
		t.Fatal(err)
	}
	r, err := e.Settle(t.Context(), "web")
	if err != nil || r.Status != "failed" {
		t.Errorf("%+v, %v", r, err)
	}
}
