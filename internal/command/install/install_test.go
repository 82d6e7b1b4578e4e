package install

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/archive"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/command/report"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

func TestLifeOfAStack(t *testing.T) {
	l := newLab(t)
	before := l.inventory()
	first := l.plan(three("life", "1.0.0", 1), "")
	r := l.install(first)
	if r.Generation != 1 || r.Components["web"] != journal.Done || r.Components["db"] != journal.Done {
		t.Fatalf("%+v", r)
	}
	u, err := l.client.Get(t.Context(), object.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "life-web", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	image := containers[0].(map[string]any)["image"].(string)
	if !strings.HasPrefix(image, l.site.Registry.Host+"/mirror/ghcr.io/acme/web@sha256:") {
		t.Errorf("web runs %s", image)
	}
	if _, err := os.Stat(r.StatePath); err != nil {
		t.Errorf("the journal's copy: %v", err)
	}
	status, err := Status(t.Context(), l.target(), event.Discard)
	if err != nil || len(status.Components) != 3 {
		t.Fatalf("%+v, %v", status, err)
	}
	installed := l.inventory("life-certs", "life-db", "life-web")

	t.Run("again", func(t *testing.T) {
		r, err := Run(t.Context(), l.options(first), event.Discard)
		if err != nil {
			t.Fatal(err)
		}
		for name, state := range r.Components {
			if state != journal.Skipped {
				t.Errorf("component %s is %s the second time", name, state)
			}
		}
		if got := l.inventory("life-certs", "life-db", "life-web"); !slices.Equal(got, installed) {
			t.Errorf("a second run changed the inventory:\n%s", diff(installed, got))
		}
	})

	second := l.plan(three("life", "1.1.0", 2), "")
	planned, err := plan.Read(second)
	if err != nil {
		t.Fatal(err)
	}
	if web, _ := planned.Component("web"); len(web.CRDs) != 1 || !web.CRDs[0].Unchanged {
		t.Errorf("the definition that the first version brought already is planned as %+v", web.CRDs)
	}
	t.Run("upgrade", func(t *testing.T) {
		if r := l.install(second); r.Components["web"] != journal.Done {
			t.Fatalf("%+v", r)
		}
		got := strings.Join(l.inventory("life-web"), "\n")
		if !strings.Contains(got, "configmap/extra-1-1-0") || strings.Contains(got, "extra-1-0-0") || !strings.Contains(got, "configmap/v1-1-0") || strings.Contains(got, "configmap/v1-0-0") {
			t.Errorf("after the upgrade there are\n%s", got)
		}
		if _, err := Status(t.Context(), l.target(), event.Discard); err != nil {
			t.Error(err)
		}
	})

	t.Run("older bundle", func(t *testing.T) {
		if _, err := Run(t.Context(), l.options(first), event.Discard); !errors.Is(err, ErrOlder) {
			t.Errorf("error is %v", err)
		}
	})

	t.Run("rollback one", func(t *testing.T) {
		if _, err := Rollback(t.Context(), RollbackOptions{Target: l.target(), Component: "web"}, event.Discard); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(l.inventory("life-web"), "\n")
		if !strings.Contains(got, "configmap/extra-1-0-0") || strings.Contains(got, "extra-1-1-0") || !strings.Contains(got, "configmap/v1-0-0") {
			t.Errorf("after going back there are\n%s", got)
		}
		if _, err := Status(t.Context(), l.target(), event.Discard); err != nil {
			t.Error(err)
		}
		if c := l.journal().Component("db"); c.Version != "1.1.0" {
			t.Errorf("db went back as well: %+v", c)
		}
	})

	t.Run("report", func(t *testing.T) {
		r, err := report.Run(t.Context(), report.Options{Output: t.TempDir(), Kubeconfig: l.cluster.Kubeconfig, StateDir: l.state, Stack: l.name}, event.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Report.Components) != 3 || len(r.Report.Items) == 0 || r.Report.Source != "the cluster" || len(r.Report.Runs) != 4 || len(r.Report.Trust) == 0 {
			t.Errorf("%+v", r.Report)
		}
	})

	t.Run("drift", func(t *testing.T) {
		l.cluster.Kubectl(t, "delete", "configmap", "extra-1-0-0", "-n", "life-web")
		s, err := Status(t.Context(), l.target(), event.Discard)
		if !errors.Is(err, ErrDrift) || !strings.Contains(strings.Join(s.Components[2].Why, " "), "extra-1-0-0") {
			t.Errorf("%+v, %v", s, err)
		}
	})

	t.Run("uninstall", func(t *testing.T) {
		if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
			t.Fatal(err)
		}
		if got := l.inventory(); !slices.Equal(got, before) {
			t.Errorf("uninstalling left or took something:\n%s", diff(before, got))
		}
		h, err := History(t.Context(), l.target(), event.Discard)
		if err != nil || len(h.Entries) != 5 || h.Entries[4].Verb != journal.Uninstall || h.Entries[4].State != journal.Done {
			t.Errorf("%+v, %v", h, err)
		}
		if _, err := Status(t.Context(), l.target(), event.Discard); !errors.Is(err, journal.ErrNone) {
			t.Errorf("status of nothing: %v", err)
		}
	})
}

// diff shows what only one of two sorted lists has.
func diff(want, got []string) string {
	var b strings.Builder
	for _, s := range want {
		if !slices.Contains(got, s) {
			b.WriteString("- " + s + "\n")
		}
	}
	for _, s := range got {
		if !slices.Contains(want, s) {
			b.WriteString("+ " + s + "\n")
		}
	}
	return b.String()
}

// waitsOf keeps what one item waits for.
type waitsOf struct {
	item string

	mu        sync.Mutex
	open      []string
	goingBack bool // it once waited for what it was before, and for nothing else
}

// Emit implements event.Sink.
func (w *waitsOf) Emit(e event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case e.Item != w.item || e.Wait == nil:
		return
	case *e.Wait == (event.Wait{}):
		w.open = nil
	default:
		w.open = slices.DeleteFunc(w.open, func(what string) bool { return what == e.Wait.For })
		if e.Wait.Why != "" {
			w.open = append(w.open, e.Wait.For)
		}
	}
	w.goingBack = w.goingBack || slices.Equal(w.open, []string{"what it was before"})
}

func TestFailedFirstInstallIsRemoved(t *testing.T) {
	l := newLab(t)
	p := l.plan(three("ffi", "1.0.0", 1), "components: {web: {values: {web: {nodeName: nowhere}}}}\n")
	opt := l.options(p)
	opt.Timeout = 4 * time.Second
	said := &waitsOf{item: "web"}
	r, err := Run(t.Context(), opt, said)
	var failed *ComponentError
	if !errors.Is(err, ErrComponent) || !errors.As(err, &failed) || failed.Component != "web" || failed.State != journal.RolledBack || !errors.Is(err, kube.ErrNotReady) {
		t.Fatalf("%+v, %v", r, err)
	}
	if r.Components["db"] != journal.Done || r.Components["web"] != journal.RolledBack {
		t.Errorf("%+v", r.Components)
	}
	if !said.goingBack || len(said.open) > 0 {
		t.Errorf("it said that it goes back: %v; at the end it waits for %q", said.goingBack, said.open)
	}
	for name, want := range map[string]bool{"namespace/ffi-web": false, "namespace/ffi-db": true} {
		if slices.Contains(l.inventory(), name) != want {
			t.Errorf("after going back, that there is %s is %v", name, !want)
		}
	}
	if got := l.inventory("ffi-web"); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "ffi-web/deployment") }) {
		t.Errorf("of the failed component there is\n%s", strings.Join(got, "\n"))
	}
	if !strings.Contains(err.Error(), "cannot be scheduled: 0/2 nodes") {
		t.Errorf("the error does not say why the pod does not run: %v", err)
	}
	run := l.journal().Last()
	if run.State != journal.Failed || !strings.Contains(run.Error, "web") {
		t.Errorf("the journal says %+v", run)
	}
	again := l.plan(three("ffi", "1.0.1", 2), "")
	if r := l.install(again); r.Components["web"] != journal.Done {
		t.Errorf("%+v", r)
	}
}

func TestFailedUpgradeGoesBackAlone(t *testing.T) {
	l := newLab(t)
	l.install(l.plan(three("fup", "1.0.0", 1), ""))
	before := l.inventory("fup-web")
	p := l.plan(three("fup", "1.1.0", 2), "components: {web: {values: {web: {nodeName: nowhere}}}}\n")
	opt := l.options(p)
	opt.Timeout = 4 * time.Second
	r, err := Run(t.Context(), opt, event.Discard)
	if !errors.Is(err, ErrComponent) || r.Components["web"] != journal.RolledBack || r.Components["db"] != journal.Done {
		t.Fatalf("%+v, %v", r, err)
	}
	workloads := func(list []string) []string { // pods and replica sets have random names
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool {
			return strings.Contains(s, "/pod/") || strings.Contains(s, "/replicaset") || strings.Contains(s, "/secret/")
		})
	}
	if got := l.inventory("fup-web"); !slices.Equal(workloads(got), workloads(before)) {
		t.Errorf("after going back:\n%s", diff(before, got))
	}
	j := l.journal()
	if web, db := j.Component("web"), j.Component("db"); web.Version != "1.0.0" || db.Version != "1.1.0" || !web.Complete {
		t.Errorf("web is %+v, db %+v", web, db)
	}
	if s, err := Status(t.Context(), l.target(), event.Discard); !errors.Is(err, ErrIncomplete) || !s.Components[2].Ready {
		t.Errorf("%+v, %v", s, err)
	}
	// The repaired plan goes on.
	if r := l.install(l.plan(three("fup", "1.1.1", 3), "")); r.Components["web"] != journal.Done {
		t.Errorf("%+v", r)
	}
}

func TestInterruptedInstallGoesOn(t *testing.T) {
	l := newLab(t)
	before := l.inventory()
	p := l.plan(three("int", "1.0.0", 1), "")
	for _, moment := range []func(event.Event) bool{
		func(e event.Event) bool { return e.Kind == event.Start && e.Item == "certs" },
		func(e event.Event) bool { return e.Kind == event.Info && e.Item == "certs" },
		func(e event.Event) bool { return e.Kind == event.Progress && e.Item == "web" },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Run(ctx, l.options(p), event.Func(func(e event.Event) {
			if moment(e) {
				cancel()
			}
		}))
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("interrupted: %v", err)
		}
		if run := l.journal().Last(); run.State != journal.Cancelled || run.Ended.IsZero() {
			t.Errorf("the journal says %s", run.State)
		}
	}
	l.install(p)
	j := l.journal()
	for _, c := range j.Installed {
		if !c.Complete || len(c.Releases) != 1 || c.Releases[0].Revision != 1 {
			t.Errorf("%+v", c)
		}
	}
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if got := l.inventory(); !slices.Equal(got, before) {
		t.Errorf("interruptions left something behind:\n%s", diff(before, got))
	}
}

func TestUninstallAfterAnInterruption(t *testing.T) {
	l := newLab(t)
	before := l.inventory()
	p := l.plan(three("unint", "1.0.0", 1), "")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Run(ctx, l.options(p), event.Func(func(e event.Event) {
		if e.Kind == event.Progress && e.Item == "web" {
			cancel()
		}
	}))
	cancel()
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target()}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if got := l.inventory(); !slices.Equal(got, before) {
		t.Errorf("an interrupted install left something behind:\n%s", diff(before, got))
	}
}

func TestPlansHoldOnlyWhereTheyWereMade(t *testing.T) {
	l := newLab(t)
	path := l.plan(three("hold", "1.0.0", 1), "")
	p, err := plan.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := *p
	elsewhere.Cluster.UID = "00000000-0000-0000-0000-000000000000"
	elsewhere.Cluster.Digest = plan.Bind(elsewhere.Cluster.UID, elsewhere.Cluster.Version)
	later := *p
	later.Cluster.Version = "v1.0.0"
	later.Cluster.Digest = plan.Bind(later.Cluster.UID, later.Cluster.Version)
	for _, stale := range []*plan.Plan{&elsewhere, &later} {
		bad := path + ".stale"
		if err := plan.Write(bad, stale); err != nil {
			t.Fatal(err)
		}
		if _, err := Run(t.Context(), l.options(bad), event.Discard); !errors.Is(err, ErrPlanStale) {
			t.Errorf("error is %v", err)
		}
	}
	other := l.site.Pack(t, stacktest.Stack{Name: "other", Components: []stacktest.Component{{Name: "a", Manifests: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"}}}})
	opt := l.options(path)
	opt.Bundles = []string{other}
	if _, err := Run(t.Context(), opt, event.Discard); !errors.Is(err, ErrBundleMismatch) {
		t.Errorf("error is %v", err)
	}
}

func TestTwoInstallsExcludeEachOther(t *testing.T) {
	l := newLab(t)
	p := l.plan(three("two", "1.0.0", 1), "")
	_, release, err := l.client.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if _, err := Run(t.Context(), l.options(p), event.Discard); !errors.Is(err, kube.ErrLocked) {
		t.Errorf("error is %v", err)
	}
}

func TestRegistryWithoutIndexes(t *testing.T) {
	l := newLab(t)
	l.site = stacktest.NewSite(t, false)
	path := l.plan(three("child", "1.0.0", 1), "")
	p, err := plan.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range p.Images {
		if i.Platform != "linux/amd64" || !i.Present {
			t.Errorf("%+v", i)
		}
	}
	l.install(path)
}

func TestOptionalComponentsAndSiteValues(t *testing.T) {
	l := newLab(t)
	stack := three("opt", "1.0.0", 1)
	path := l.plan(stack, "components: {db: {enabled: false}, web: {values: {web: {replicas: 3}}}}\n")
	l.install(path)
	u, err := l.client.Get(t.Context(), object.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "opt-web", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas"); n != 3 {
		t.Errorf("%d replicas", n)
	}
	if l.journal().Component("db") != nil {
		t.Error("a component that the site left out was installed")
	}
}

func TestJournalOutlivesTheServerAndTheProcess(t *testing.T) {
	l := newLab(t)
	p := l.plan(three("srv", "1.0.0", 1), "")
	// A process that dies leaves its run open; the next one says so.
	uid, err := l.client.UID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	store := archive.Open(l.client, uid, l.state)
	if _, _, err := l.client.EnsureNamespace(t.Context(), kube.SystemNamespace, nil); err != nil {
		t.Fatal(err)
	}
	j := &journal.Journal{Format: journal.Format, Stack: l.name, Cluster: uid}
	j.Begin(journal.Run{ID: "dead", Verb: journal.Install, Began: time.Now()})
	j.Last().Component("web").State = journal.Running
	if err := store.Save(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	l.install(p)
	got := l.journal()
	if len(got.Runs) != 2 || got.Runs[0].State != journal.Cancelled || got.Runs[0].Components[0].State != journal.Cancelled || got.Runs[1].State != journal.Done {
		t.Errorf("%+v", got.Runs)
	}
	if got.Runs[1].Operator.User == "" || len(got.Runs[1].KeyIDs) != 1 || got.Runs[1].Index == "" || got.Runs[1].Lock == "" {
		t.Errorf("%+v", got.Runs[1])
	}
	for _, c := range got.Installed {
		for _, o := range c.Objects {
			if o.UID == "" {
				t.Errorf("%s has no UID in the journal", o)
			}
		}
	}
	copies, err := archive.ReadCopies(l.state)
	if err != nil || len(copies) != 1 || len(copies[0].Runs) != 2 {
		t.Errorf("%d copies, %v", len(copies), err)
	}
	if err := store.Save(t.Context(), j); !errors.Is(err, journal.ErrChanged) {
		t.Errorf("an old journal overwrote a newer one: %v", err)
	}
}

func TestOlderBundleOnlyWithATrace(t *testing.T) {
	l := newLab(t)
	stack := func(version string, sequence int64) stacktest.Stack {
		return stacktest.Stack{Version: version, Sequence: sequence, Components: []stacktest.Component{{Name: "a", Namespace: "older-a", Manifests: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {version: \"" + version + "\"}\n"}}}}
	}
	first := l.plan(stack("1.0.0", 1), "")
	l.install(first)
	l.install(l.plan(stack("2.0.0", 2), ""))
	// The cluster forgets; the copy on disk does not.
	if _, err := Uninstall(t.Context(), UninstallOptions{Target: l.target(), Purge: true}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), l.options(first), event.Discard); !errors.Is(err, ErrOlder) {
		t.Fatalf("error is %v", err)
	}
	opt := l.options(first)
	opt.AllowOlder = true
	var heard event.Recorder
	if _, err := Run(t.Context(), opt, &heard); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(heard.Events(), func(e event.Event) bool {
		return e.Kind == event.Warning && strings.Contains(e.Message, "--allow-older")
	}) {
		t.Errorf("nothing was said: %+v", heard.Events())
	}
	j := l.journal()
	if !slices.Equal(j.Last().Overrides, []string{"allow-older"}) || j.Newest.Sequence != 2 {
		t.Errorf("newest %+v, run %+v", j.Newest, j.Last())
	}
	h, err := History(t.Context(), l.target(), event.Discard)
	if err != nil || !slices.Equal(h.Entries[len(h.Entries)-1].Overrides, []string{"allow-older"}) {
		t.Errorf("%+v, %v", h, err)
	}
}
