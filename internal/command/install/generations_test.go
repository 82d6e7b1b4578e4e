package install

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/clustertest"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

// definition is a custom resource definition with the given versions, the first
// of which is stored.
func definition(group, name string, versions ...string) string {
	var list strings.Builder
	for i, v := range versions {
		fmt.Fprintf(&list, "  - {name: %s, served: true, storage: %v, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}\n", v, i == 0)
	}
	return fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[2]ss.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: %[2]ss, singular: %[2]s, kind: %[3]s}
  versions:
%[4]s`, group, name, strings.ToUpper(name[:1])+name[1:], list.String())
}

// lasting is an inventory without the records of releases, whose revisions count
// on.
func lasting(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return strings.Contains(s, "caisson.release.v1.") })
}

func (l *lab) rollback(component string) Result {
	l.t.Helper()
	r, err := Rollback(l.t.Context(), RollbackOptions{Target: l.target(), Component: component}, event.Discard)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func (l *lab) same(what string, want []string, prefix string) {
	l.t.Helper()
	if got := lasting(l.objects(prefix)); !slices.Equal(got, lasting(want)) {
		l.t.Errorf("%s there is not what there was:\n%s", what, diff(lasting(want), got))
	}
}

// Upgrade, back as a whole, forward again, a failed upgrade that goes back by
// itself, back as a whole, away: the same objects, with the same content, are
// there whenever the same generation is.
func TestInventoriesThroughALife(t *testing.T) {
	l := newLab(t)
	const prefix = "through"
	group := prefix + ".caisson.dev"
	before := l.objects(prefix)
	l.install(l.plan(three(prefix, "1.0.0", 1), ""))
	first := l.objects(prefix)

	second := three(prefix, "1.1.0", 2)
	second.Components[2].Charts[0].Files["crds/widget.yaml"] = definition(group, "widget", "v1", "v2")
	second.Components[2].Charts[0].Files["crds/gadget.yaml"] = definition(group, "gadget", "v1")
	l.install(l.plan(second, ""))
	upgraded := l.objects(prefix)
	if text := strings.Join(upgraded, "\n"); !strings.Contains(text, "gadgets.PREFIX") || !strings.Contains(text, `"name":"v2"`) {
		t.Fatalf("the upgrade did not bring its definitions:\n%s", diff(first, upgraded))
	}

	l.rollback("")
	l.same("after going back", first, prefix)
	l.truthful()
	l.rollback("")
	l.same("after going forward again", upgraded, prefix)

	third := three(prefix, "1.2.0", 3)
	third.Components[2].Charts[0].Files["crds/gizmo.yaml"] = definition(group, "gizmo", "v1")
	opt := l.options(l.plan(third, "components: {web: {values: {web: {nodeName: nowhere}}}}\n"))
	opt.Timeout = 4 * time.Second
	if r, err := Run(t.Context(), opt, event.Discard); !errors.Is(err, ErrComponent) || r.Components["web"] != journal.RolledBack {
		t.Fatalf("%+v, %v", r, err)
	}
	web := func(list []string) []string {
		return slices.DeleteFunc(lasting(list), func(s string) bool {
			return !strings.Contains(s, "PREFIX-web") && !strings.Contains(s, group) && !strings.Contains(s, "PREFIX.caisson.dev")
		})
	}
	if got := web(l.objects(prefix)); !slices.Equal(got, web(upgraded)) {
		t.Errorf("the failed component did not go back:\n%s", diff(web(upgraded), got))
	}
	if c := l.journal().Component("web"); c.Version != "1.1.0" || c.Former == nil || c.Former.Version != "1.0.0" {
		t.Errorf("the component that went back is %+v", c)
	}
	l.rollback("")
	l.same("after going back from what had failed", upgraded, prefix)
	l.truthful()

	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if got := l.objects(prefix); !slices.Equal(got, before) {
		t.Errorf("uninstalling left or took something:\n%s", diff(before, got))
	}
}

// A rollback that was cut off goes on; it does not turn round what it had done.
func TestInterruptedRollbackGoesOn(t *testing.T) {
	l := newLab(t)
	const prefix = "halfback"
	l.install(l.plan(three(prefix, "1.0.0", 1), ""))
	first := l.objects(prefix)
	l.install(l.plan(three(prefix, "1.1.0", 2), ""))
	second := l.objects(prefix)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Rollback(ctx, RollbackOptions{Target: l.target()}, event.Func(func(e event.Event) {
		if e.Kind == event.End && e.Item == "web" {
			cancel()
		}
	}))
	cancel()
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	l.rollback("")
	l.same("after the second attempt", first, prefix)
	l.truthful()
	l.rollback("")
	l.same("after going forward again", second, prefix)
}

// A rollback of a generation that changed one component says of the others that they are
// as they were.
func TestRollbackSaysWhatWasAsItWas(t *testing.T) {
	l := newLab(t)
	first, second := three("asitwas", "1.0.0", 1), three("asitwas", "1.1.0", 2)
	copy(second.Components, first.Components[:2])
	l.install(l.plan(first, ""))
	l.install(l.plan(second, ""))
	said := map[string]string{}
	r, err := Rollback(t.Context(), RollbackOptions{Target: l.target()}, event.Func(func(e event.Event) {
		if e.Kind == event.End && e.Item != "" {
			said[e.Item] = e.Message
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	wantStates := map[string]journal.State{"certs": journal.Skipped, "db": journal.Skipped, "web": journal.Done}
	if !maps.Equal(r.Components, wantStates) {
		t.Errorf("components are %v, want %v", r.Components, wantStates)
	}
	wantSaid := map[string]string{"certs": "as it was already", "db": "as it was already", "web": "went back"}
	if !maps.Equal(said, wantSaid) {
		t.Errorf("it said %q, want %q", said, wantSaid)
	}
	l.truthful()
}

// What depends on a component begins only once its webhook answers.
func TestWebhookAnswersBeforeAnythingDependsOnIt(t *testing.T) {
	l := newLab(t)
	g := newGuard(t, "webhooked-hook", "webhooked-user")
	p := l.plan(stacktest.Stack{Components: []stacktest.Component{
		{Name: "hook", Namespace: "webhooked-hook", Charts: []stacktest.Chart{{Release: "hook", Files: map[string]string{"templates/w.yaml": g.config("webhooked", "configmaps")}}}},
		{Name: "user", Namespace: "webhooked-user", Needs: []string{"hook"}, Manifests: map[string]string{"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: dependent}\n"}},
	}}, "")
	var said []string
	_, err := Run(t.Context(), l.options(p), event.Func(func(e event.Event) {
		if strings.Contains(e.Message, "webhook guard.webhooked.caisson.dev") {
			said = append(said, e.Message)
			g.answers.Store(true)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if g.refused("dependent") || len(said) == 0 || !strings.Contains(said[0], "failed calling webhook") {
		t.Errorf("an object came before the webhook answered, or nothing was said: %q", said)
	}
	g.answers.Store(false)
	opt := l.options(p)
	opt.Timeout = 2 * time.Second
	if _, err := Run(t.Context(), opt, event.Discard); !errors.Is(err, kube.ErrWebhook) {
		t.Errorf("with a webhook that is silent the error is %v", err)
	}
	g.answers.Store(true)
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Error(err)
	}
}

func TestStatusNamesEachChangedField(t *testing.T) {
	l := newLab(t)
	stack := three("field", "1.0.0", 1)
	stack.Components[2].Manifests["secret.yaml"] = "apiVersion: v1\nkind: Secret\nmetadata: {name: token}\nstringData: {key: planted-original}\n"
	p := l.plan(stack, "")
	l.install(p)
	if s, err := Status(t.Context(), l.target(), event.Discard); err != nil {
		t.Fatalf("%+v, %v", s, err)
	}
	const ns = "field-web"
	l.cluster.Kubectl(t, "scale", "deployment/web", "-n", ns, "--replicas=5")
	l.cluster.Kubectl(t, "set", "image", "deployment/web", "-n", ns, "main=docker.io/library/nginx:1")
	l.cluster.Kubectl(t, "patch", "secret", "token", "-n", ns, "--type=merge", "-p", `{"stringData":{"key":"planted-changed"}}`)
	l.cluster.Kubectl(t, "delete", "deployment", "db", "-n", "field-db")
	l.cluster.Kubectl(t, "label", "deployment/web", "-n", ns, "somebodys=label") // not ours to mind
	l.cluster.Kubectl(t, "run", "stranger", "-n", ns, "--image=quay.io/elsewhere/thing:2", `--overrides={"spec":{"nodeSelector":{"none":"such"}}}`)
	l.cluster.Kubectl(t, "patch", "pod", "stranger", "-n", ns, "--subresource=status", "--type=merge", "-p",
		`{"status":{"containerStatuses":[{"name":"stranger","image":"quay.io/elsewhere/thing:2","imageID":"","ready":false,"restartCount":0,"state":{"waiting":{"reason":"ImagePullBackOff","message":"no such host"}}}]}}`)
	s, err := Status(t.Context(), l.target(), event.Discard)
	if !errors.Is(err, ErrDrift) {
		t.Errorf("error is %v", err)
	}
	why := map[string]string{}
	for _, c := range s.Components {
		why[c.Name] = strings.Join(c.Why, "\n")
	}
	for _, want := range []string{
		"Deployment field-web/web: spec.replicas is 5, applied was 2",
		`spec.template.spec.containers[main].image is "docker.io/library/nginx:1"`,
		"Secret field-web/token: data.key was changed",
		"Pod field-web/stranger: container stranger runs quay.io/elsewhere/thing:2, which is not in the bundle",
		"Pod field-web/stranger: the image of container stranger cannot be pulled: ImagePullBackOff: no such host",
	} {
		if !strings.Contains(why["web"], want) {
			t.Errorf("status does not say %q but\n%s", want, why["web"])
		}
	}
	if !strings.Contains(why["db"], "Deployment field-db/db does not exist") || why["certs"] != "" {
		t.Errorf("of db status says %q, of certs %q", why["db"], why["certs"])
	}
	if strings.Contains(why["web"], "planted") || strings.Contains(why["web"], "somebodys") {
		t.Errorf("status says too much:\n%s", why["web"])
	}
	// Installing again puts it right; the stranger is somebody else's.
	l.cluster.Kubectl(t, "delete", "pod", "stranger", "-n", ns, "--now")
	l.install(p)
	if s, err := Status(t.Context(), l.target(), event.Discard); err != nil {
		t.Errorf("after putting it right: %+v, %v", s, err)
	}
}

// A registry that is away before the first change forbids it; one that goes
// away while pods pull fails the component, which says so.
func TestRegistryStopsMidInstall(t *testing.T) {
	l := newLab(t)
	var away atomic.Bool
	l.site.Registry.Fault = func(w http.ResponseWriter, _ *http.Request) bool {
		if away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return away.Load()
	}
	const prefix = "regstop"
	stack := three(prefix, "1.0.0", 1)
	d := stack.Components[2].Charts[0].Files["templates/d.yaml"]
	stack.Components[2].Charts[0].Files["templates/d.yaml"] = strings.Replace(d, "      containers:", "      nodeSelector: {"+prefix+": pulls}\n      containers:", 1)
	p := l.plan(stack, "")
	before := l.objects(prefix)
	away.Store(true)
	if _, err := Run(t.Context(), l.options(p), event.Discard); err == nil || errors.Is(err, ErrComponent) {
		t.Errorf("without a registry the error is %v", err)
	}
	if got := l.objects(prefix); !slices.Equal(got, before) || l.lastRun() != nil {
		t.Errorf("an installation that may not begin changed something:\n%s", diff(before, got))
	}
	away.Store(false)

	opt := l.options(p)
	opt.Timeout = 15 * time.Second
	var once atomic.Bool
	_, err := Run(t.Context(), opt, event.Func(func(e event.Event) {
		if e.Kind == event.Progress && e.Item == "web" && strings.Contains(e.Message, "Deployment") && !once.Swap(true) {
			away.Store(true)
			l.stuck(prefix + "-web")
		}
	}))
	if !errors.Is(err, ErrPull) || !errors.Is(err, ErrComponent) || !strings.Contains(err.Error(), "connection refused") {
		t.Fatalf("with pods that cannot pull the error is %v", err)
	}
	if run := l.journal().Last(); run.State != journal.Failed || !strings.Contains(run.Error, "cannot be pulled") {
		t.Errorf("the journal says %s: %s", run.State, run.Error)
	}
	away.Store(false)
	node := strings.Fields(l.cluster.Kubectl(t, "get", "nodes", "-o", "name"))[0]
	l.cluster.Kubectl(t, "label", node, prefix+"=pulls")
	defer l.cluster.Kubectl(t, "label", node, prefix+"-")
	l.install(p)
	l.truthful()
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if got := l.objects(prefix); !slices.Equal(got, before) {
		t.Errorf("uninstalling left or took something:\n%s", diff(before, got))
	}
}

// stuck has every pod of a namespace say that its image does not come.
func (l *lab) stuck(namespace string) {
	l.cluster.Kubectl(l.t, "wait", "--for=jsonpath={.status.phase}=Pending", "pods", "--all", "-n", namespace, "--timeout=30s")
	for _, pod := range strings.Fields(l.cluster.Kubectl(l.t, "get", "pods", "-n", namespace, "-o", "name")) {
		l.cluster.Kubectl(l.t, "patch", pod, "-n", namespace, "--subresource=status", "--type=merge", "-p",
			`{"status":{"containerStatuses":[{"name":"main","image":"x","imageID":"","ready":false,"restartCount":0,"state":{"waiting":{"reason":"ImagePullBackOff","message":"dial tcp: connection refused"}}}]}}`)
	}
}

// The API server goes away and comes back at seeded moments; what comes of it is
// what an undisturbed installation makes.
func TestAPIServerRestartsAnywhere(t *testing.T) {
	l := newLab(t)
	l.cluster = clustertest.Fresh(t)
	client, err := kube.Connect(t.Context(), kube.Options{Kubeconfig: l.cluster.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	l.client = client
	l.name = "restart-clean"
	l.install(l.plan(three("restartclean", "1.0.0", 1), ""))
	want := l.objects("restartclean")
	random := rand.New(rand.NewPCG(3, 2))
	for i := range 2 {
		l.name = fmt.Sprintf("restart-%d", i)
		prefix := fmt.Sprintf("restart%d", i)
		p := l.plan(three(prefix, "1.0.0", 1), "")
		l.restartedAfter(p, 1+i*8+random.IntN(8))
		l.truthful()
		if got := l.objects(prefix); !slices.Equal(got, want) {
			t.Errorf("after a restart there is something else than without:\n%s", diff(want, got))
		}
	}
}

// restartedAfter installs, restarting the API server after n events, and again
// if that failed.
func (l *lab) restartedAfter(p string, n int) {
	l.t.Helper()
	restart, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		<-restart
		l.cluster.RestartAPIServer(l.t)
	}()
	var seen atomic.Int64
	opt := l.options(p)
	opt.Timeout = 2 * time.Minute
	_, err := Run(l.t.Context(), opt, event.Func(func(event.Event) {
		if seen.Add(1) == int64(n) {
			close(restart)
		}
	}))
	if seen.Load() < int64(n) {
		close(restart)
		l.t.Errorf("the installation had only %d events, no %dth", seen.Load(), n)
	}
	<-done
	if err != nil {
		l.t.Logf("the installation with a restart ended with %v", err)
		l.install(p)
	}
}

// What nothing can go back to is listed, and removed when asked for; what can be
// gone back to stays.
func TestPruneKeepsWhatCanBeGoneBackTo(t *testing.T) {
	l := newLab(t)
	const prefix = "prune"
	for i, version := range []string{"1.0.0", "1.1.0", "1.2.0", "1.3.0"} {
		l.install(l.plan(three(prefix, version, int64(i+1)), ""))
	}
	first := l.journal().Runs[0]
	r, err := Prune(t.Context(), PruneOptions{Target: l.target()}, event.Discard)
	if err != nil || r.Removed || len(r.Documents) == 0 || r.Documents[0].Digest != first.Plan && r.Documents[0].Digest != first.Lock {
		t.Fatalf("%+v, %v", r, err)
	}
	if images := strings.Join(r.Images, " "); !strings.Contains(images, "/mirror/ghcr.io/acme/web@sha256:") {
		t.Errorf("images no longer needed: %q", r.Images)
	}
	if r, err = Prune(t.Context(), PruneOptions{Target: l.target(), Remove: true}, event.Discard); err != nil || !r.Removed {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err = Prune(t.Context(), PruneOptions{Target: l.target()}, event.Discard); err != nil || len(r.Documents) != 0 {
		t.Errorf("after removing: %+v, %v", r, err)
	}
	l.rollback("")
	l.truthful()
	if c := l.journal().Component("web"); c.Version != "1.2.0" {
		t.Errorf("after pruning and going back web is of %s", c.Version)
	}
}
