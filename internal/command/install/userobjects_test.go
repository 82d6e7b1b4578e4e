package install

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
)

// What users made of the stack's kinds is neither stranded nor removed without a word.
func TestUninstallAsksForUsersObjects(t *testing.T) {
	l := newLab(t)
	before := l.inventory()
	p := l.plan(three("users", "1.0.0", 1), "")
	l.install(p)
	const widget = "apiVersion: users.caisson.dev/v1\nkind: Widget\nmetadata: {name: theirs, namespace: default, finalizers: [users.caisson.dev/guard]}\n"
	l.applyFile(widget)
	o := object.Ref{APIVersion: "users.caisson.dev/v1", Kind: "Widget", Namespace: "default", Name: "theirs"}

	r, err := PreviewUninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard)
	if err != nil || len(r.Components) != 3 || r.Components[0].Name != "web" || len(r.Users) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if u := r.Users[0]; u.Component != "web" || u.Definition != "widgets.users.caisson.dev" || u.Guarded != 1 || len(u.Objects) != 1 || u.Objects[0].Name != "theirs" {
		t.Errorf("%+v", u)
	}
	for _, component := range []string{"", "web"} {
		_, err = Uninstall(t.Context(), UninstallOptions{Target: l.target(), Component: component}, event.Discard)
		if !errors.Is(err, ErrUserObjects) || !strings.Contains(err.Error(), "Widget default/theirs") {
			t.Fatalf("without a word it gives %v", err)
		}
	}
	if !l.exists("deployment", "users-web", "web") || l.journal().Last().Verb != "install" {
		t.Fatal("a refusal changed something")
	}

	// Its controller takes the finalizer away, while it is there.
	served := make(chan bool, 1)
	var once sync.Once
	_, err = Uninstall(t.Context(), UninstallOptions{Target: l.target(), UserObjectsChoice: UserObjectsChoice{RemoveUserObjects: true}}, event.Func(func(e event.Event) {
		if e.Kind == event.Info && strings.Contains(e.Message, "removing 1 object") {
			once.Do(func() {
				go func() {
					l.cluster.Kubectl(t, "wait", "-n", "default", "widgets.users.caisson.dev/theirs", "--for=jsonpath={.metadata.deletionTimestamp}", "--timeout=30s")
					served <- l.exists("deployment", "users-web", "web")
					l.cluster.Kubectl(t, "patch", "-n", "default", "widgets.users.caisson.dev", "theirs", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
				}()
			})
		}
	}))
	if err != nil || !<-served {
		t.Fatalf("removing them: %v", err)
	}
	if _, err := l.client.Get(t.Context(), o); !kube.Absent(err) {
		t.Errorf("the object: %v", err)
	}
	if got := l.inventory(); !slices.Equal(got, before) {
		t.Errorf("uninstalling left or took something:\n%s", diff(before, got))
	}

	t.Run("left on purpose", func(t *testing.T) {
		l.install(p)
		l.applyFile(strings.Replace(widget, ", finalizers: [users.caisson.dev/guard]", "", 1))
		var warned bool
		_, err := Uninstall(t.Context(), UninstallOptions{Target: l.target(), UserObjectsChoice: UserObjectsChoice{LeaveUserObjects: true}}, event.Func(func(e event.Event) {
			warned = warned || e.Kind == event.Warning && strings.Contains(e.Message, "Widget default/theirs")
		}))
		if err != nil || !warned {
			t.Errorf("warned is %v, %v", warned, err)
		}
		if !l.exists("widgets.users.caisson.dev", "default", "theirs") {
			t.Error("the object went")
		}
		l.cluster.Kubectl(t, "delete", "crd", "widgets.users.caisson.dev")
	})
}

// A rollback that removes what was not there before asks for users' objects as uninstall
// does, and for components that need it.
func TestRollbackAsksForUsersObjects(t *testing.T) {
	l := newLab(t)
	l.install(l.plan(three("undone", "1.0.0", 1), ""))
	l.applyFile("apiVersion: undone.caisson.dev/v1\nkind: Widget\nmetadata: {name: theirs, namespace: default}\n")
	_, err := Rollback(t.Context(), RollbackOptions{Target: l.target()}, event.Discard)
	if !errors.Is(err, ErrUserObjects) || !strings.Contains(err.Error(), "Widget default/theirs") {
		t.Fatalf("without a word it gives %v", err)
	}
	if _, err := Rollback(t.Context(), RollbackOptions{Target: l.target(), Component: "certs"}, event.Discard); !errors.Is(err, ErrNeeded) {
		t.Errorf("of what others need it gives %v", err)
	}
	if !l.exists("deployment", "undone-web", "web") || l.journal().Last().Verb != "install" {
		t.Fatal("a refusal changed something")
	}
	opt := RollbackOptions{Target: l.target(), UserObjectsChoice: UserObjectsChoice{RemoveUserObjects: true}}
	if _, err := Rollback(t.Context(), opt, event.Discard); err != nil {
		t.Fatal(err)
	}
	if l.exists("deployment", "undone-web", "web") || l.journal().Component("web") != nil {
		t.Error("it is still there")
	}
}

// What belongs to another object goes with it, unless only a controller can free it; and
// what another installation brought is not a user's to lose.
func TestWhoseUsersObjectsAre(t *testing.T) {
	l := newLab(t)
	l.install(l.plan(three("whose", "1.0.0", 1), ""))
	l.cluster.Kubectl(t, "create", "configmap", "whose-owner", "-n", "default")
	t.Cleanup(func() { l.cluster.Kubectl(t, "delete", "configmap", "whose-owner", "-n", "default") })
	uid := l.cluster.Kubectl(t, "get", "configmap", "whose-owner", "-n", "default", "-o", "jsonpath={.metadata.uid}")
	widget := func(name, more string) string {
		return "apiVersion: whose.caisson.dev/v1\nkind: Widget\nmetadata: {name: " + name + ", namespace: default" + more + "}\n---\n"
	}
	owned := ", ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: whose-owner, uid: " + uid + "}]"
	l.applyFile(widget("owned", owned) + widget("held", owned+", finalizers: [whose.caisson.dev/guard]") +
		widget("released", ", annotations: {meta.helm.sh/release-name: other, meta.helm.sh/release-namespace: default}"))
	defer l.cluster.Kubectl(t, "patch", "-n", "default", "widgets.whose.caisson.dev", "held", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	r, err := PreviewUninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard)
	if err != nil || len(r.Users) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	var names []string
	for _, o := range r.Users[0].Objects {
		names = append(names, o.Name)
	}
	if !slices.Equal(names, []string{"held", "released"}) || len(r.Users[0].Kept) != 1 {
		t.Errorf("%q, %q", names, r.Users[0].Kept)
	}
	_, err = Uninstall(t.Context(), UninstallOptions{Target: l.target(), UserObjectsChoice: UserObjectsChoice{RemoveUserObjects: true}}, event.Discard)
	if !errors.Is(err, ErrUserObjects) || !strings.Contains(err.Error(), "Widget default/released is part of Helm release default/other") {
		t.Errorf("error is %v", err)
	}
}

// A lease of a controller that went does not make the next one wait.
func TestUninstallReleasesLeases(t *testing.T) {
	l := newLab(t)
	l.install(l.plan(three("leases", "1.0.0", 1), ""))
	pod := strings.TrimSpace(l.cluster.Kubectl(t, "get", "pods", "-n", "leases-certs", "-o", "jsonpath={.items[0].metadata.name}"))
	lease := func(name, holder string) string {
		return "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: " + name + ", namespace: default}\nspec: {holderIdentity: " + holder + "}\n---\n"
	}
	l.applyFile(lease("leases-ours", pod+"_1234") + lease("leases-others", "someone-else_1234"))
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if l.exists("lease", "default", "leases-ours") {
		t.Error("the lease of a pod that is gone stays")
	}
	if !l.exists("lease", "default", "leases-others") {
		t.Error("another's lease is gone")
	}
}
