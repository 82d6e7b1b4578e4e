package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

// TestRealControllers runs TestControllersInside with the charts of real
// controllers, out of their modules.
func TestRealControllers(t *testing.T) {
	if os.Getenv(envControllers) == "" {
		t.Skip("run make e2e-controllers")
	}
	runInside(t, "TestControllersInside", 45*time.Minute, func(state string) {
		packCharts(t, filepath.Join(state, "charts"))
	})
}

// installLimit is for one installation of everything.
const installLimit = 10 * time.Minute

// TestControllersInside brings cert-manager, NFD, JobSet, Kueue, Trainer, KServe
// and local-path-provisioner onto two nodes that reach nothing, by their own
// charts and with nothing but caisson, and uses them.
func TestControllersInside(t *testing.T) {
	state := os.Getenv(envState)
	if state == "" {
		t.Skip("runs inside TestRealControllers")
	}
	step := startPhases(t)
	memory := watchMemory(t)
	r, model := startRoad(t, state, "controllers", step)
	before, files := r.bring(t, step)

	r.checkCertificate(t)
	r.checkTraining(t)
	r.checkModel(t, model)
	r.checkLabels(t)
	r.checkVisibility(t)
	step("everything is seen to work")
	r.checkSettled(t)
	step("status and a second installation find nothing to do")

	r.checkQuiet(t)

	r.checkHandChange(t)
	step("a change by hand is put right, and Kueue, which was away")
	r.checkHanging(t)
	step("a webhook that hung was waited for")
	r.checkFailingVersion(t)
	step("a version that cannot run went back")
	r.checkUserObjects(t)
	r.checkUninstall(t, before, "--remove-user-objects")
	check(t, same(files, r.mirrors(t)))
	step("uninstalled, objects of users too")
	r.checkRoughInstall(t)
	r.checkTraining(t)
	step("installed again, with faults in the middle")
	r.checkUninstall(t, before)
	check(t, same(files, r.mirrors(t)))
	step("uninstalled")
	r.checkNames(t)
	r.checkCounting(t)
	t.Logf("memory, all processes at the peak: %d MiB", memory())
}

// startRoad starts the connected side, and nodes that reach nothing, for the stack of a
// folder.
func startRoad(t *testing.T, state, folder string, step func(string)) (*road, *upstreamtest.Upstream) {
	t.Helper()
	l := newLab(t, state)
	model := upstreamtest.New(t, upstreamtest.Options{})
	upstream := startControllerUpstream(t, state)
	step("images and charts are upstream")
	l.startControlPlane(t)
	l.startNodes(t)
	l.routeServices(t)
	l.names.ask(l.findService)
	step("nodes are ready")
	r := &road{lab: l, endpoint: plainRegistry, strategy: "mirror", dir: filepath.Join(state, folder)}
	writeStackOf(t, folder, r.dir, upstream, model)
	return r, model
}

// bring carries the stack in and installs it. It returns the cluster's objects and the
// nodes' mirrors as they were before.
func (r *road) bring(t *testing.T, step func(string), resolve ...string) (objects, mirrors []string) {
	t.Helper()
	r.pack(t, resolve...)
	step("resolved, packed and verified")
	startSiteRegistry(t, filepath.Join(r.state, "site"))
	r.caisson(t, "load", "out", "--key", "keys/caisson.pub", "--registry", siteRegistry, "--plain-http")
	step("loaded")
	objects, mirrors = r.inventory(t), r.mirrors(t)
	if out, err := r.plan(t); err != nil {
		t.Fatalf("planning: %v\n%s", err, out)
	}
	step("planned")
	r.mustCaisson(t, installLimit, "install", "plan.json", "--state-dir", "state")
	step("installed")
	return objects, mirrors
}
