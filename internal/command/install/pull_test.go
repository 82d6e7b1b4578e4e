package install

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

func TestPullSecretReachesEveryPod(t *testing.T) {
	l := newLab(t)
	stack := three("pull", "1.0.0", 1)
	dir := l.site.Pack(t, stack)
	site := strings.Replace("registry: {mode: external, address: ADDRESS, prefix: mirror, plainHTTP: true, pullSecretRef: {name: creds, namespace: default}}\n", "ADDRESS", l.site.Registry.Host, 1)
	var found []event.Finding
	_, err := l.planWith(dir, site, event.Func(func(e event.Event) {
		if e.Finding != nil {
			found = append(found, *e.Finding)
		}
	}))
	if !errors.Is(err, plan.ErrPreflight) || found[0].Code != "pull-secret" && found[len(found)-1].Code != "pull-secret" {
		t.Fatalf("%+v, %v", found, err)
	}
	l.cluster.Kubectl(t, "create", "secret", "docker-registry", "creds", "-n", "default", "--docker-server="+l.site.Registry.Host, "--docker-username=u", "--docker-password=p")
	t.Cleanup(func() { l.cluster.Kubectl(t, "delete", "secret", "creds", "-n", "default") })
	l.site.Load(t, dir)
	path, err := l.planWith(dir, site, event.Discard)
	if err != nil {
		t.Fatal(err)
	}
	l.name = "demo"
	l.install(path)
	u, err := l.client.Get(t.Context(), object.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "pull-web", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	secrets, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "imagePullSecrets")
	if fmt.Sprint(secrets) != "[map[name:creds]]" {
		t.Errorf("pull secrets are %v", secrets)
	}
	if _, err := l.client.PullSecret(t.Context(), "pull-web", "creds"); err != nil {
		t.Error(err)
	}
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := l.client.PullSecret(t.Context(), "default", "creds"); err != nil {
		t.Errorf("the site's own secret is gone: %v", err)
	}
}

// A release whose record is over one mebibyte, with a definition that no
// client-side apply could hold.
func TestLargeReleaseAndDefinition(t *testing.T) {
	l := newLab(t)
	var crd strings.Builder
	crd.WriteString(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: bigs.large.caisson.dev}
spec:
  group: large.caisson.dev
  scope: Namespaced
  names: {plural: bigs, singular: big, kind: Big}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
`)
	for i := range 600 {
		fmt.Fprintf(&crd, "          field%d: {type: string, description: %q}\n", i, strings.Repeat("word ", 120))
	}
	if crd.Len() < 300<<10 {
		t.Fatalf("the definition has only %d bytes", crd.Len())
	}
	files := map[string]string{"crds/big.yaml": crd.String(), "templates/b.yaml": "apiVersion: large.caisson.dev/v1\nkind: Big\nmetadata: {name: one}\n"}
	for i := range 5 {
		files[fmt.Sprintf("templates/c%d.yaml", i)] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\ndata: {k: %q}\n", i, stacktest.Incompressible(i, 400<<10))
	}
	p := l.plan(stacktest.Stack{Components: []stacktest.Component{{Name: "large", Namespace: "large", Charts: []stacktest.Chart{{Release: "large", Files: files}}}}}, "")
	l.install(p)
	names, err := l.client.Records("large").Names(t.Context(), map[string]string{"name": "large", "status": "deployed"})
	if err != nil || len(names) != 1 {
		t.Errorf("%q, %v", names, err)
	}
	chunks := l.cluster.Kubectl(t, "get", "secrets", "-n", "large", "-l", "caisson.dev/part=chunk", "-o", "name")
	if strings.Count(chunks, "\n") < 2 {
		t.Errorf("the release is kept in %q: the test proves nothing", chunks)
	}
	if _, err := Status(t.Context(), l.target(), event.Discard); err != nil {
		t.Error(err)
	}
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(l.inventory(), "\n"); strings.Contains(got, "large") {
		t.Errorf("after uninstalling there is\n%s", got)
	}
}

// What others made of our definitions, and put into our namespaces, stays.
func TestUninstallSparesWhatOthersMade(t *testing.T) {
	l := newLab(t)
	l.install(l.plan(three("spare", "1.0.0", 1), ""))
	_, err := l.client.Apply(t.Context(), mustParse(t, "apiVersion: spare.caisson.dev/v1\nkind: Widget\nmetadata: {name: theirs, namespace: default}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs, namespace: spare-db}\n"), kube.ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var warnings []string
	_, err = Uninstall(t.Context(), UninstallOptions{Target: l.target(), UserObjectsChoice: UserObjectsChoice{LeaveUserObjects: true}}, event.Func(func(e event.Event) {
		if e.Kind == event.Warning {
			warnings = append(warnings, e.Message)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	told := strings.Join(warnings, "\n")
	if !strings.Contains(told, "widgets.spare.caisson.dev stays") || !strings.Contains(told, "namespace spare-db stays") || !strings.Contains(told, "ConfigMap spare-db/theirs") {
		t.Errorf("the operator is told %q", told)
	}
	got := strings.Join(l.inventory(), "\n")
	if !strings.Contains(got, "widgets.spare.caisson.dev") || !strings.Contains(got, "namespace/spare-db") || strings.Contains(got, "spare-web") {
		t.Errorf("there is\n%s", got)
	}
	// Once they are gone, uninstalling again finishes.
	l.cluster.Kubectl(t, "delete", "widgets.spare.caisson.dev", "theirs", "-n", "default")
	l.cluster.Kubectl(t, "delete", "configmap", "theirs", "-n", "spare-db")
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(l.inventory(), "\n"); strings.Contains(got, "spare") {
		t.Errorf("after the second time there is\n%s", got)
	}
}

func mustParse(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := kube.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestRemovingOneComponent(t *testing.T) {
	l := newLab(t)
	l.install(l.plan(three("one", "1.0.0", 1), ""))
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target(), Component: "certs"}, event.Discard); !errors.Is(err, ErrNeeded) {
		t.Errorf("removing what others need: %v", err)
	}
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target(), Component: "db"}, event.Discard); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(l.inventory("one-web"), "\n")
	if strings.Contains(got, "namespace/one-db") || !strings.Contains(got, "namespace/one-web") || !strings.Contains(got, "one-web/deployment.apps/web") {
		t.Errorf("there is\n%s", got)
	}
	if s, err := Status(t.Context(), l.target(), event.Discard); err != nil || len(s.Components) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
}

// Going back altogether removes what had not existed and can be undone.
func TestRollbackOfTheWholeGeneration(t *testing.T) {
	l := newLab(t)
	one := three("gen", "1.0.0", 1)
	one.Components = one.Components[:2] // without web
	l.install(l.plan(one, ""))
	l.install(l.plan(three("gen", "1.1.0", 2), ""))
	if _, err := Rollback(t.Context(), RollbackOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	j := l.journal()
	if len(j.Installed) != 2 || j.Component("web") != nil || j.Component("db").Version != "1.0.0" {
		t.Errorf("%+v", j.Installed)
	}
	if _, err := Status(t.Context(), l.target(), event.Discard); err != nil {
		t.Error(err)
	}
	if _, err := Rollback(t.Context(), RollbackOptions{Target: l.target(), Component: "nothing"}, event.Discard); !errors.Is(err, ErrNothingFormer) {
		t.Errorf("rolling back what is not there: %v", err)
	}
}
