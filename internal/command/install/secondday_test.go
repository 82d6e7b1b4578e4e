package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

// applyFile applies text as an administrator does, until the test ends.
func (l *lab) applyFile(text string) {
	l.t.Helper()
	file := filepath.Join(l.t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.cluster.Kubectl(l.t, "apply", "-f", file)
	l.t.Cleanup(func() { l.cluster.Kubectl(l.t, "delete", "--ignore-not-found", "-f", file) })
}

func (l *lab) exists(kind, namespace, name string) bool {
	l.t.Helper()
	return strings.TrimSpace(l.cluster.Kubectl(l.t, "get", kind, name, "-n", namespace, "-o", "name", "--ignore-not-found")) != ""
}

// A plan that is carried out again and fails leaves what was there before.
func TestAFailedRerunLeavesWhatWorked(t *testing.T) {
	l := newLab(t)
	p := l.plan(three("rerun", "1.0.0", 1), "")
	l.install(p)
	g := newGuard(t, "rerun-web")
	g.answers.Store(true)
	l.applyFile(g.config("rerun", "configmaps, deployments"))
	opt := l.options(p)
	opt.Timeout = 3 * time.Second

	for name, heal := range map[string]bool{"and going back is refused too": false, "and going back works": true} {
		t.Run(name, func(t *testing.T) {
			l.cluster.Kubectl(t, "delete", "configmap", "v1-0-0", "-n", "rerun-web")
			g.answers.Store(false)
			r, err := Run(t.Context(), opt, event.Func(func(e event.Event) {
				if heal && strings.Contains(e.Message, "going back") {
					g.answers.Store(true)
				}
			}))
			if !errors.Is(err, ErrComponent) {
				t.Fatalf("%+v, %v", r, err)
			}
			want := journal.Failed
			if heal {
				want = journal.RolledBack
			}
			if r.Components["web"] != want {
				t.Errorf("web is %s, want %s: %v", r.Components["web"], want, err)
			}
			if !l.exists("deployment", "rerun-web", "web") || l.journal().Component("web") == nil {
				t.Fatal("what worked before is gone")
			}
			if _, err := Status(t.Context(), l.target(), event.Discard); !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrDrift) && !errors.Is(err, ErrNotReady) {
				t.Errorf("status says %v", err)
			}
			g.answers.Store(true)
			l.install(p)
			if _, err := Status(t.Context(), l.target(), event.Discard); err != nil {
				t.Errorf("after the next run: %v", err)
			}
		})
	}
	second := l.plan(three("rerun", "1.1.0", 2), "")
	l.install(second)
	if _, err := Rollback(t.Context(), RollbackOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if c := l.journal().Component("web"); c.Version != "1.0.0" || c.Intact != nil {
		t.Errorf("after going back it is %+v", c)
	}
}

// A run over everything stays unfinished until what it left is put right, whatever else is
// done to single components meanwhile.
func TestUnfinishedRunsAreRemembered(t *testing.T) {
	run := func(verb journal.Verb, state journal.State, whole bool, components ...journal.Component) journal.Run {
		return journal.Run{Verb: verb, State: state, Whole: whole && verb != journal.Install, Partial: !whole && verb == journal.Install, Components: components}
	}
	in := func(name string, state journal.State) journal.Component {
		return journal.Component{Name: name, State: state}
	}
	failed := run(journal.Install, journal.Failed, true, in("a", journal.Done), in("b", journal.RolledBack), in("c", journal.Pending))
	for _, c := range []struct {
		name string
		runs []journal.Run
		want bool
	}{
		{"nothing", nil, false},
		{"done", []journal.Run{run(journal.Install, journal.Done, true, in("a", journal.Done))}, false},
		{"failed", []journal.Run{failed}, true},
		{"one of two repaired", []journal.Run{failed, run(journal.Install, journal.Done, false, in("b", journal.Done))}, true},
		{"both repaired", []journal.Run{failed, run(journal.Install, journal.Done, false, in("b", journal.Done)), run(journal.Install, journal.Done, false, in("c", journal.Skipped))}, false},
		{"one taken away", []journal.Run{failed, run(journal.Uninstall, journal.Done, false, in("b", journal.Done))}, true},
		{"a repair that failed", []journal.Run{run(journal.Install, journal.Done, true, in("a", journal.Done)), run(journal.Install, journal.Failed, false, in("a", journal.Failed))}, true},
		{"all went back", []journal.Run{failed, run(journal.Rollback, journal.Done, true, in("a", journal.Done))}, false},
		{"half uninstalled", []journal.Run{run(journal.Uninstall, journal.Failed, true, in("a", journal.Done), in("b", journal.Failed))}, true},
	} {
		s := &session{journal: &journal.Journal{Runs: c.runs}}
		if got := s.unfinished() != nil; got != c.want {
			t.Errorf("%s: unfinished is %v", c.name, got)
		}
	}
}

// A rollback is done when what came back is ready, and goes on with the waiting.
func TestRollbackWaitsUntilReady(t *testing.T) {
	l := newLab(t)
	label := func(value string) { l.cluster.Kubectl(t, "label", "nodes", "--all", "rollback-waits"+value) }
	label("=yes")
	t.Cleanup(func() { label("-") })
	plain := func(version string, sequence int64, more string) stacktest.Stack {
		text := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: plain}\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n" +
			"    metadata: {labels: {a: b}}\n    spec: {" + more + "containers: [{name: main, image: \"ghcr.io/acme/plain:" + version + "\"}]}\n"
		return stacktest.Stack{Version: version, Sequence: sequence, Components: []stacktest.Component{{
			Name: "plain", Namespace: "rollback-waits", Images: []string{"ghcr.io/acme/plain:" + version}, Manifests: map[string]string{"d.yaml": text},
		}}}
	}
	l.install(l.plan(plain("1.0.0", 1, `nodeSelector: {rollback-waits: "yes"}, `), ""))
	l.install(l.plan(plain("1.1.0", 2, ""), ""))
	label("-")
	opt := RollbackOptions{Target: l.target(), Timeout: 3 * time.Second}
	for range 3 {
		_, err := Rollback(t.Context(), opt, event.Discard)
		if !errors.Is(err, kube.ErrNotReady) || !strings.Contains(err.Error(), "cannot be scheduled") {
			t.Fatalf("error is %v", err)
		}
		if c := l.journal().Component("plain"); c.Version != "1.0.0" {
			t.Fatalf("it is %s", c.Version)
		}
	}
	label("=yes")
	opt.Timeout = time.Minute
	if r, err := Rollback(t.Context(), opt, event.Discard); err != nil || r.Components["plain"] != journal.Done {
		t.Errorf("%+v, %v", r, err)
	}
	if c := l.journal().Component("plain"); c.Version != "1.0.0" || l.lastRun().Version != "1.0.0" {
		t.Errorf("it is %s", c.Version)
	}
	if r, err := Rollback(t.Context(), opt, event.Discard); err != nil || r.Components["plain"] != journal.Done || l.journal().Component("plain").Version != "1.1.0" {
		t.Errorf("forward again: %+v, %v", r, err)
	}
}

// An object that a webhook guards waits until the webhook answers.
func TestASilentWebhookIsOutwaited(t *testing.T) {
	l := newLab(t)
	g := newGuard(t, "outwait-certs", "outwait-web")
	l.applyFile(g.config("outwait", "deployments, configmaps"))
	p := l.plan(three("outwait", "1.0.0", 1), "")
	var mu sync.Mutex
	var said []string
	r, err := Run(t.Context(), l.options(p), event.Func(func(e event.Event) {
		if e.Kind == event.Progress && strings.Contains(e.Message, "guard.outwait.caisson.dev") {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, e.Message)
			g.answers.Store(true)
		}
	}))
	if err != nil || r.Components["web"] != journal.Done || len(said) == 0 {
		t.Errorf("%+v, %v; said was %q", r, err, said)
	}
}

// Status and installing again speak of what is, not of what was.
func TestStatusAsksWebhooks(t *testing.T) {
	l := newLab(t)
	g := newGuard(t, "asked-user")
	g.answers.Store(true)
	p := l.plan(stacktest.Stack{Components: []stacktest.Component{
		{Name: "user", Namespace: "asked-user", Manifests: map[string]string{"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: dependent}\n"}},
		{Name: "hook", Namespace: "asked-hook", Needs: []string{"user"}, Charts: []stacktest.Chart{{Release: "hook", Files: map[string]string{"templates/w.yaml": g.config("asked", "configmaps")}}}},
	}}, "")
	l.install(p)
	if _, err := Status(t.Context(), l.target(), event.Discard); err != nil {
		t.Fatal(err)
	}
	hooks := broughtWebhooks(l.journal().Component("hook"))
	for what, look := range map[string]func() error{
		"comparing": func() error {
			dependent := mustParse(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: dependent}\n")[0]
			_, err := l.client.NewComparer().Compare(t.Context(), dependent, kube.ApplyOptions{Namespace: "asked-user"})
			return err
		},
		"asking": func() error {
			list, err := l.client.UnansweredWebhooks(t.Context(), hooks, "asked-hook")
			if len(list) > 0 {
				err = errors.New(list[0].String())
			}
			return err
		},
		"status": func() error { _, err := Status(t.Context(), l.target(), event.Discard); return err },
	} {
		before := g.unanswered()
		g.lapses.Store(1)
		if err := look(); err != nil {
			t.Errorf("%s, a webhook that is silent once: %v", what, err)
		}
		if n := g.unanswered() - before; n != 1 {
			t.Errorf("%s: it was silent %d times", what, n)
		}
	}
	g.answers.Store(false)
	s, err := Status(t.Context(), l.target(), event.Discard)
	if !errors.Is(err, ErrNotReady) || len(s.Components) != 2 || s.Components[0].Ready || s.Components[1].Ready || !strings.Contains(strings.Join(s.Components[0].Why, " "), "webhook guard.asked.caisson.dev does not answer: 1 object") || !strings.Contains(s.Components[1].Why[0], "failed calling webhook") {
		t.Errorf("%+v, %v", s, err)
	}

	t.Run("the server is not kept waiting for every object", func(t *testing.T) {
		before, live := g.unanswered(), l.client.NewComparer()
		dependent := mustParse(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: dependent}\n")[0]
		for range 3 {
			_, err := live.Compare(t.Context(), dependent, kube.ApplyOptions{Namespace: "asked-user"})
			if _, silent := kube.SilentWebhook(err); !silent {
				t.Errorf("it answers: %v", err)
			}
		}
		if n := g.unanswered() - before; n != 2 {
			t.Errorf("it was asked %d times; want once, and once more", n)
		}
	})

	t.Run("what is broken goes first", func(t *testing.T) {
		l.cluster.Kubectl(t, "delete", "configmap", "dependent", "-n", "asked-user")
		var order []string
		var mu sync.Mutex
		_, err := Run(t.Context(), l.options(p), event.Func(func(e event.Event) {
			if e.Kind == event.Start && e.Item != "" {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, e.Item)
				if e.Item == "hook" {
					g.answers.Store(true)
				}
			}
		}))
		if err != nil || !slices.Equal(order, []string{"hook", "user"}) {
			t.Errorf("order is %q, %v", order, err)
		}
	})

	t.Run("one component alone", func(t *testing.T) {
		opt := l.options(p)
		opt.Components = []string{"hook"}
		r, err := Run(t.Context(), opt, event.Discard)
		if err != nil || len(r.Components) != 1 || r.Components["hook"] != journal.Skipped {
			t.Errorf("%+v, %v", r, err)
		}
		if _, err := Status(t.Context(), l.target(), event.Discard); err != nil {
			t.Errorf("after it: %v", err)
		}
		opt.Components = []string{"nothing"}
		if _, err := Run(t.Context(), opt, event.Discard); !errors.Is(err, ErrNoComponent) || !strings.Contains(err.Error(), `"hook"`) {
			t.Errorf("a name that is no component's: %v", err)
		}
		if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
			t.Fatal(err)
		}
		opt.Components = []string{"hook"}
		if _, err := Run(t.Context(), opt, event.Discard); !errors.Is(err, ErrNoComponent) || !strings.Contains(err.Error(), "needs user") {
			t.Errorf("one whose needs are not there: %v", err)
		}
	})
}

// What an installation did not bring is said, until somebody takes it away on purpose.
func TestStatusNamesWhatIsAbsent(t *testing.T) {
	l := newLab(t)
	opt := l.options(l.plan(three("absent", "1.0.0", 1), "components: {web: {values: {web: {nodeName: nowhere}}}}\n"))
	opt.Timeout = 4 * time.Second
	if _, err := Run(t.Context(), opt, event.Discard); !errors.Is(err, ErrComponent) {
		t.Fatal(err)
	}
	s, err := Status(t.Context(), l.target(), event.Discard)
	if !errors.Is(err, ErrIncomplete) || s.Unfinished == nil || s.Unfinished.State != journal.Failed {
		t.Errorf("%+v, %v", s, err)
	}
	web := s.Components[len(s.Components)-1]
	if web.Name != "web" || !web.Absent || !strings.Contains(web.Why[0], "rolled-back") {
		t.Errorf("%+v", web)
	}
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := Status(t.Context(), l.target(), event.Discard); !errors.Is(err, journal.ErrNone) {
		t.Errorf("after everything is removed: %v", err)
	}
}

func TestAddedEnvironmentIsDriftAndGoes(t *testing.T) {
	l := newLab(t)
	p := l.plan(three("setenv", "1.0.0", 1), "")
	l.install(p)
	l.cluster.Kubectl(t, "set", "env", "deployment/web", "-n", "setenv-web", "HTTPS_PROXY=http://planted")
	s, err := Status(t.Context(), l.target(), event.Discard)
	if !errors.Is(err, ErrDrift) || !strings.Contains(strings.Join(s.Components[2].Why, " "), "containers[main].env was changed") {
		t.Fatalf("%+v, %v", s, err)
	}
	l.install(p)
	if got := l.cluster.Kubectl(t, "get", "deployment", "web", "-n", "setenv-web", "-o", "jsonpath={.spec.template.spec.containers[0].env}"); strings.Contains(got, "planted") {
		t.Errorf("after installing again there is %s", got)
	}
	if _, err := Status(t.Context(), l.target(), event.Discard); err != nil {
		t.Error(err)
	}
}

// A job that did its work is not run again by going back, nor by installing again.
func TestAFinishedJobDoesNotRunAgain(t *testing.T) {
	l := newLab(t)
	const job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: ghcr.io/acme/web:1.0.0}]}}}\n"
	stack := three("onejob", "1.0.0", 1)
	stack.Components[2].Manifests["job.yaml"] = job
	first := l.plan(stack, "")
	l.install(first)
	o := object.Ref{APIVersion: "batch/v1", Kind: "Job", Namespace: "onejob-web", Name: "migrate"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.client.WaitReady(ctx, []object.Target{{Object: o, Completion: true}}, nil); err != nil {
		t.Fatal(err)
	}
	l.install(l.plan(three("onejob", "1.1.0", 2), ""))
	if l.exists("job", "onejob-web", "migrate") {
		t.Fatal("the upgrade left the job")
	}
	if _, err := Rollback(t.Context(), RollbackOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if l.exists("job", "onejob-web", "migrate") {
		t.Error("going back made the job run again")
	}
	if s, err := Status(t.Context(), l.target(), event.Discard); err != nil {
		t.Errorf("%+v, %v", s, err)
	}
	opt := l.options(first)
	opt.AllowOlder = true
	if _, err := Run(t.Context(), opt, event.Discard); err != nil {
		t.Fatal(err)
	}
	if l.exists("job", "onejob-web", "migrate") {
		t.Error("installing again made the job run again")
	}
}

// Upstream manifests bring the namespace that their objects live in.
// A definition that was edited by hand is drift, and goes.
func TestAnEditedDefinitionIsDriftAndGoes(t *testing.T) {
	l := newLab(t)
	p := l.plan(three("editedcrd", "1.0.0", 1), "")
	l.install(p)
	l.cluster.Kubectl(t, "patch", "crd", "widgets.editedcrd.caisson.dev", "--type=json", "-p",
		`[{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": "by hand"}]`)
	s, err := Status(t.Context(), l.target(), event.Discard)
	if !errors.Is(err, ErrDrift) || !strings.Contains(fmt.Sprint(s), "openAPIV3Schema.description") {
		t.Errorf("%+v, %v", s, err)
	}
	l.install(p)
	if s, err := Status(t.Context(), l.target(), event.Discard); err != nil {
		t.Errorf("after installing again: %+v, %v", s, err)
	}
}

func TestAFinishedJobDoesNotRunAgainForward(t *testing.T) {
	l := newLab(t)
	l.install(l.plan(three("forwardjob", "1.0.0", 1), ""))
	stack := three("forwardjob", "1.1.0", 2)
	stack.Components[2].Manifests["job.yaml"] = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: ghcr.io/acme/web:1.1.0}]}}}\n"
	l.install(l.plan(stack, ""))
	o := object.Ref{APIVersion: "batch/v1", Kind: "Job", Namespace: "forwardjob-web", Name: "migrate"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.client.WaitReady(ctx, []object.Target{{Object: o, Completion: true}}, nil); err != nil {
		t.Fatal(err)
	}
	l.rollback("")
	l.rollback("")
	if c := l.journal().Component("web"); c.Version != "1.1.0" || l.exists("job", "forwardjob-web", "migrate") {
		t.Errorf("going forward again to %s made the job run again", c.Version)
	}
}

// What is broken may be the new version of what guards the component's own objects: the
// former one comes back before they do.
func TestGoingBackRepairsTheWebhookFirst(t *testing.T) {
	l := newLab(t)
	good, bad := newGuard(t, "turned"), newGuard(t, "turned")
	good.answers.Store(true)
	version := func(version string, sequence int64, g *guard) stacktest.Stack {
		return stacktest.Stack{Version: version, Sequence: sequence, Components: []stacktest.Component{{
			Name: "hook", Namespace: "turned",
			Charts:    []stacktest.Chart{{Release: "hook", Version: version, Files: map[string]string{"templates/w.yaml": g.config("turned", "configmaps")}}},
			Manifests: map[string]string{"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: guarded}\n"},
		}}}
	}
	l.install(l.plan(version("1.0.0", 1, good), ""))
	opt := l.options(l.plan(version("1.1.0", 2, bad), ""))
	opt.Timeout = 3 * time.Second
	r, err := Run(t.Context(), opt, event.Discard)
	if !errors.Is(err, kube.ErrWebhook) || r.Components["hook"] != journal.RolledBack {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Status(t.Context(), l.target(), event.Discard); !errors.Is(err, ErrIncomplete) {
		t.Errorf("status says %v", err)
	}
}

func TestAJobThatNeverRanRuns(t *testing.T) {
	l := newLab(t)
	label := func(value string) { l.cluster.Kubectl(t, "label", "nodes", "--all", "never-ran"+value) }
	web := deployment("ghcr.io/acme/web:1")
	web["templates/d.yaml"] = strings.Replace(web["templates/d.yaml"], "      containers:", "      nodeSelector: {never-ran: \"no\"}\n      containers:", 1)
	job := "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\nspec:\n  ttlSecondsAfterFinished: 3600\n" +
		"  template: {spec: {restartPolicy: Never, containers: [{name: main, image: \"ghcr.io/acme/web:1\"}]}}\n"
	p := l.plan(stacktest.Stack{Components: []stacktest.Component{{
		Name: "web", Namespace: "never-ran", Images: []string{"ghcr.io/acme/web:1"}, Manifests: map[string]string{"job.yaml": job},
		Charts: []stacktest.Chart{{Release: "web", Files: web}},
	}}}, "")
	ctx, interrupt := context.WithCancel(t.Context())
	_, err := Run(ctx, l.options(p), event.Func(func(e event.Event) {
		if strings.Contains(e.Message, "Deployment never-ran/web") {
			interrupt()
		}
	}))
	if !errors.Is(err, context.Canceled) || l.exists("job", "never-ran", "migrate") {
		t.Fatalf("the first run: %v", err)
	}
	label("=no")
	t.Cleanup(func() { label("-") })
	l.install(p)
	if !l.exists("job", "never-ran", "migrate") {
		t.Error("the job was taken for one that had run")
	}
}

func TestAComponentBringsItsOwnNamespace(t *testing.T) {
	l := newLab(t)
	before := l.inventory()
	stack := three("ownns", "1.0.0", 1)
	stack.Components[2].Manifests["ns.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: ownns-web, labels: {pod-security.kubernetes.io/warn: restricted}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ownns-more}\n"
	p := l.plan(stack, "")
	l.install(p)
	if got := l.cluster.Kubectl(t, "get", "namespace", "ownns-web", "-o", "jsonpath={.metadata.labels}"); !strings.Contains(got, "restricted") {
		t.Errorf("the namespace's labels are %s", got)
	}
	if r := l.install(p); r.Components["web"] != journal.Skipped {
		t.Errorf("the second time it is %+v", r.Components)
	}
	if s, err := Status(t.Context(), l.target(), event.Discard); err != nil {
		t.Errorf("%+v, %v", s, err)
	}
	l.cluster.Kubectl(t, "create", "configmap", "theirs", "-n", "ownns-more")
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if !l.exists("configmap", "ownns-more", "theirs") {
		t.Error("a namespace went with what others had in it")
	}
	l.cluster.Kubectl(t, "delete", "namespace", "ownns-more")
	if got := l.inventory(); !slices.Equal(got, before) {
		t.Errorf("uninstalling left or took something:\n%s", diff(before, got))
	}
}
