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
	l := newLab(t, state)
	memory := watchMemory(t)
	model := upstreamtest.New(t, upstreamtest.Options{})
	upstream := startControllerUpstream(t, state)
	step("images and charts are upstream")
	l.startControlPlane(t)
	l.startNodes(t)
	l.routeServices(t)
	l.names.ask(l.findService)
	step("nodes are ready")

	r := &road{lab: l, endpoint: plainRegistry, strategy: "mirror", dir: filepath.Join(state, "controllers")}
	writeStackOf(t, "controllers", r.dir, upstream, model)
	r.pack(t)
	step("resolved, packed and verified")
	startSiteRegistry(t, filepath.Join(state, "site"))
	r.caisson(t, "load", "out", "--key", "keys/caisson.pub", "--registry", siteRegistry, "--plain-http")
	step("loaded")
	before, files := l.inventory(t), l.mirrors(t)
	r.writeSite(t)
	r.caisson(t, "plan", "out", "--key", "keys/caisson.pub", "--site", "site.yaml", "-o", "plan.json", "--state-dir", "state")
	step("planned")
	r.mustCaisson(t, installLimit, "install", "plan.json", "--state-dir", "state")
	step("installed")

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
	check(t, same(files, l.mirrors(t)))
	step("uninstalled, objects of users too")
	r.checkRoughInstall(t)
	r.checkTraining(t)
	step("installed again, with faults in the middle")
	r.checkUninstall(t, before)
	check(t, same(files, l.mirrors(t)))
	step("uninstalled")
	r.checkNames(t)
	l.checkCounting(t)
	t.Logf("memory, all processes at the peak: %d MiB", memory())
}
