package missiontest

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	helmregistry "helm.sh/helm/v3/pkg/registry"
	"sigs.k8s.io/yaml"
)

// Chart is a chart of another project. It lies in the module that the project's
// controller is built from.
type Chart struct {
	BuiltIn    string // directory below test/controllers whose go.mod requires the module
	Module     string
	Dir        string         // of the chart in the module
	Repository string         // where it is upstream
	Version    string         // where only the project's release gives it one
	Released   map[string]any // values that only the project's release sets
}

// Charts are those that the profiles minimal and training consist of, beside ours.
var Charts = []Chart{
	{Module: "github.com/cert-manager/cert-manager", Dir: "deploy/charts/cert-manager", Repository: "quay.io/jetstack/charts", Version: "v1.21.1"},
	{Module: "sigs.k8s.io/jobset", Dir: "charts/jobset", Repository: "registry.k8s.io/jobset/charts", Released: map[string]any{
		"image": released("registry.k8s.io/jobset/jobset", "v0.12.0"),
	}},
	{Module: "sigs.k8s.io/kueue", Dir: "charts/kueue", Repository: "registry.k8s.io/kueue/charts", Released: map[string]any{
		"controllerManager": map[string]any{"manager": map[string]any{"image": released("registry.k8s.io/kueue/kueue", "v0.19.2")}},
	}},
	{Module: "github.com/kubeflow/trainer/v2", Dir: "charts/kubeflow-trainer", Repository: "ghcr.io/kubeflow/charts"},
	{BuiltIn: "kserve", Module: "github.com/kserve/kserve", Dir: "charts/kserve-crd", Repository: "ghcr.io/kserve/charts"},
	{BuiltIn: "kserve", Module: "github.com/kserve/kserve", Dir: "charts/kserve-resources", Repository: "ghcr.io/kserve/charts"},
}

// released is the image of a release, where a module's sources name one of a branch.
func released(repository, tag string) map[string]any {
	return map[string]any{"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}
}

// PackCharts packs charts into dir as their projects' releases do, each below its
// repository. controllers is the directory test/controllers. Modules that the module
// cache lacks are downloaded.
func PackCharts(controllers, dir string, charts []Chart) error {
	for _, c := range charts {
		if err := c.pack(controllers, dir); err != nil {
			return fmt.Errorf("packing %s of %s: %w", c.Dir, c.Module, err)
		}
	}
	return nil
}

func (c Chart) pack(controllers, dir string) error {
	module, err := moduleDir(filepath.Join(controllers, c.BuiltIn), c.Module)
	if err != nil {
		return err
	}
	loaded, err := loader.LoadDir(filepath.Join(module, c.Dir))
	if err != nil {
		return err
	}
	if c.Version != "" {
		loaded.Metadata.Version, loaded.Metadata.AppVersion = c.Version, "v"+strings.TrimPrefix(c.Version, "v")
	}
	// Trainer names JobSet's chart, which the module does not hold and the stack has as
	// a component of its own.
	loaded.Metadata.Dependencies = nil
	if err := setValues(loaded, c.Released); err != nil {
		return err
	}
	_, err = chartutil.Save(loaded, filepath.Join(dir, c.Repository))
	return err
}

// setValues changes the values.yaml that a chart is packed with.
func setValues(c *chart.Chart, values map[string]any) error {
	if len(values) == 0 {
		return nil
	}
	all, err := chartutil.CoalesceValues(c, values)
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(all)
	if err != nil {
		return err
	}
	for _, f := range c.Raw {
		if f.Name == chartutil.ValuesfileName {
			f.Data = text
		}
	}
	return nil
}

// moduleDir is where the module cache has a module, in the version that the module in
// directory from requires.
func moduleDir(from, module string) (string, error) {
	command := exec.Command("go", "mod", "download", "-json", module)
	command.Dir, command.Env = from, append(os.Environ(), "GOWORK=off")
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("downloading the module: %w: %s", err, out)
	}
	var found struct{ Dir string }
	return found.Dir, json.Unmarshal(out, &found)
}

// PushCharts pushes what PackCharts packed into the registry at an address.
func PushCharts(dir, address string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		repository, err := filepath.Rel(dir, filepath.Dir(path))
		if err != nil {
			return err
		}
		packed, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		loaded, err := loader.LoadFile(path)
		if err != nil {
			return err
		}
		return PushChart(packed, address+"/"+filepath.ToSlash(repository)+"/"+loaded.Name()+":"+loaded.Metadata.Version)
	})
}

// PushChart pushes a packed chart, without TLS.
func PushChart(packed []byte, ref string) error {
	client, err := helmregistry.NewClient(helmregistry.ClientOptPlainHTTP(),
		helmregistry.ClientOptWriter(io.Discard), helmregistry.ClientOptHTTPClient(http.DefaultClient))
	if err != nil {
		return err
	}
	_, err = client.Push(packed, ref)
	return err
}
