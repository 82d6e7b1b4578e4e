package charts_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caisson/caisson/charts"
	"github.com/caisson/caisson/internal/testkit/clustertest"
)

func TestMain(m *testing.M) { os.Exit(clustertest.Main(m)) }

// definition is what an upstream project brings: files of its module, in the version that a
// nested module of test builds, or else at its own.
type definition struct {
	from, module string
	files        []string
}

// definitions are what upstream projects bring before the charts.
var definitions = []definition{
	{"controllers", "sigs.k8s.io/kueue", []string{
		"config/components/crd/bases/kueue.x-k8s.io_clusterqueues.yaml",
		"config/components/crd/bases/kueue.x-k8s.io_cohorts.yaml",
		"config/components/crd/bases/kueue.x-k8s.io_localqueues.yaml",
		"config/components/crd/bases/kueue.x-k8s.io_resourceflavors.yaml",
	}},
	{"controllers", "github.com/kubeflow/trainer/v2", []string{
		"manifests/base/crds/trainer.kubeflow.org_clustertrainingruntimes.yaml",
	}},
	{"controllers/kserve", "github.com/kserve/kserve", []string{
		"config/crd/full/serving.kserve.io_clusterservingruntimes.yaml",
		"config/crd/full/serving.kserve.io_inferenceservices.yaml",
		"config/crd/full/clusterstoragecontainer/serving.kserve.io_clusterstoragecontainers.yaml",
	}},
}

// stock is stock Helm and kubectl at a cluster.
type stock struct {
	helm    string
	dir     string // of the charts' folders
	cluster *clustertest.Cluster
}

func newStock(t *testing.T) *stock {
	t.Helper()
	bin := os.Getenv("CAISSON_TEST_TOOLS_BIN")
	if bin == "" && os.Getenv(clustertest.EnvRequire) == "" {
		t.Skip("helm is not built: set CAISSON_TEST_TOOLS_BIN to what test/build.sh tools prints")
	} else if bin == "" {
		t.Fatal("CAISSON_TEST_TOOLS_BIN is not set: run test/build.sh tools")
	}
	s := &stock{helm: filepath.Join(bin, "helm"), dir: t.TempDir(), cluster: clustertest.Start(t)}
	for _, name := range charts.Names() {
		folder, _ := charts.FS(name)
		if err := os.CopyFS(filepath.Join(s.dir, name), folder); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// run runs Helm as the administrator.
func (s *stock) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	command := exec.Command(s.helm, args...)
	home := t.TempDir()
	command.Env = append(os.Environ(), "KUBECONFIG="+s.cluster.Kubeconfig,
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := command.CombinedOutput()
	return string(out), err
}

// applyDefinitions brings the upstream projects' definitions.
func applyDefinitions(t *testing.T, c *clustertest.Cluster, list []definition) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "crds", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		dir := moduleDir(t, d.from, d.module)
		for _, f := range d.files {
			paths = append(paths, filepath.Join(dir, f))
		}
	}
	for _, p := range paths {
		c.Kubectl(t, "apply", "--server-side", "-f", p)
	}
	// A definition that is a moment old has no conditions at all, in which neither
	// --for=condition nor a filter can look.
	const conditions = "jsonpath={.status.conditions}"
	const established = `jsonpath={.status.conditions[?(@.type=="Established")].status}=True`
	for _, state := range []string{conditions, established} {
		c.Kubectl(t, "wait", "--for="+state, "--timeout=60s", "crd", "--all")
	}
}

// moduleDir is where the module cache has a module, in the version that a nested module
// builds.
func moduleDir(t *testing.T, from, module string) string {
	t.Helper()
	command := exec.Command("go", "mod", "download", "-json", module)
	command.Dir = filepath.Join("..", "test", filepath.FromSlash(from))
	command.Env = append(os.Environ(), "GOWORK=off")
	out, err := command.Output()
	if err != nil {
		t.Fatalf("looking for module %s: %v: %s", module, err, out)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatal(err)
	}
	return found.Dir
}

// needs says of a chart which kind it cannot do without, and who brings it.
var needs = map[string]string{
	"feature-store":     `FeatureStore`,
	"gpu-queues":        `ClusterQueue`,
	"model-serving":     `ClusterServingRuntime`,
	"training-runtimes": `ClusterTrainingRuntime`,
}

// TestStockHelm installs every chart with stock Helm into a real API server: first where
// nothing of upstream is there, and Helm says what is missing; then with the upstream
// projects' own definitions, which refuse fields that they do not know.
func TestStockHelm(t *testing.T) {
	s := newStock(t)
	for name, kind := range needs {
		out, err := s.run(t, "install", "early", filepath.Join(s.dir, name))
		if err == nil || !strings.Contains(out, `no matches for kind "`+kind+`"`) {
			t.Errorf("%s without what it needs: %v: %s", name, err, out)
		}
	}
	applyDefinitions(t, s.cluster, definitions)
	for _, u := range uses(t) {
		t.Run(u.chart+"/"+u.name, func(t *testing.T) { s.tryUse(t, u) })
	}
}

// tryUse installs a chart as somebody would, holds its objects strictly against what the
// API server knows, installs it once more and removes it.
func (s *stock) tryUse(t *testing.T, u use) {
	args := []string{"trial", filepath.Join(s.dir, u.chart)}
	if u.values != nil {
		args = append(args, "--values", filepath.Join("testdata", "values", u.chart, u.name+".yaml"))
	}
	s.mustRun(t, append([]string{"install"}, args...)...)
	t.Cleanup(func() { s.mustRun(t, "uninstall", "trial") })
	rendered := s.mustRun(t, "get", "manifest", "trial")
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(rendered), 0o600); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(rendered, "kind:") {
		s.cluster.Kubectl(t, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", file)
	}
	s.mustRun(t, append([]string{"upgrade"}, args...)...)
}

func (s *stock) mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.run(t, args...)
	if err != nil {
		t.Fatalf("helm %s: %v: %s", args[0], err, out)
	}
	return out
}
