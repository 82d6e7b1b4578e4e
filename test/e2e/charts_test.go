package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
)

// realChart is a chart of another project. It lies in the module that the
// project's controller is built from.
type realChart struct {
	builtIn    string // directory of the module that requires it
	module     string
	dir        string
	repository string // where it is upstream
	version    string // where only the project's release gives it one
}

var realCharts = []realChart{
	{"controllers", "github.com/cert-manager/cert-manager", "deploy/charts/cert-manager", "quay.io/jetstack/charts", "v1.21.1"},
	{"controllers", "sigs.k8s.io/node-feature-discovery", "deployment/helm/node-feature-discovery", "registry.k8s.io/nfd/charts", "0.19.0"},
	{"controllers", "sigs.k8s.io/jobset", "charts/jobset", "registry.k8s.io/jobset/charts", ""},
	{"controllers", "sigs.k8s.io/kueue", "charts/kueue", "registry.k8s.io/kueue/charts", ""},
	{"controllers", "github.com/kubeflow/trainer/v2", "charts/kubeflow-trainer", "ghcr.io/kubeflow/charts", ""},
	{"controllers", "github.com/rancher/local-path-provisioner", "deploy/chart/local-path-provisioner", "ghcr.io/rancher/charts", ""},
	{"controllers/kserve", "github.com/kserve/kserve", "charts/kserve-crd", "ghcr.io/kserve/charts", ""},
	{"controllers/kserve", "github.com/kserve/kserve", "charts/kserve-resources", "ghcr.io/kserve/charts", ""},
}

// packCharts packs all of them into dir, as helm package does.
func packCharts(t *testing.T, dir string) {
	t.Helper()
	for _, c := range realCharts {
		loaded, err := loader.LoadDir(filepath.Join(moduleDir(t, c.builtIn, c.module), c.dir))
		check(t, err)
		if c.version != "" {
			loaded.Metadata.Version, loaded.Metadata.AppVersion = c.version, "v"+strings.TrimPrefix(c.version, "v")
		}
		// Trainer names JobSet's chart, which the module does not hold and the
		// stack has as a component of its own.
		loaded.Metadata.Dependencies = nil
		_, err = chartutil.Save(loaded, filepath.Join(dir, c.repository))
		check(t, err)
	}
}

// moduleDir is where the module cache has a module, in the version that the
// controllers are built from.
func moduleDir(t *testing.T, from, module string) string {
	t.Helper()
	command := exec.Command("go", "mod", "download", "-json", module)
	command.Dir = filepath.Join("..", from)
	command.Env = append(os.Environ(), "GOWORK=off")
	out, err := command.Output()
	if err != nil {
		t.Fatalf("looking for module %s: %v: %s", module, err, out)
	}
	var found struct{ Dir string }
	check(t, json.Unmarshal(out, &found))
	return found.Dir
}

// pushCharts pushes what packCharts packed.
func pushCharts(t *testing.T, dir, address string) {
	t.Helper()
	for _, c := range realCharts {
		packed, err := filepath.Glob(filepath.Join(dir, c.repository, filepath.Base(c.dir)+"-*.tgz"))
		check(t, err)
		if len(packed) != 1 {
			t.Fatalf("%s was packed as %q", c.dir, packed)
		}
		data, err := os.ReadFile(packed[0])
		check(t, err)
		loaded, err := loader.Load(packed[0])
		check(t, err)
		pushPacked(t, data, address+"/"+c.repository+"/"+loaded.Metadata.Name+":"+loaded.Metadata.Version)
	}
}
