package serve

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/cli"
	helmregistry "helm.sh/helm/v3/pkg/registry"

	"github.com/caisson/caisson/internal/testkit/bundletest"
)

// TestStockHelmPulls: Helm's own pull takes charts from both faces.
func TestStockHelmPulls(t *testing.T) {
	t.Setenv("HELM_CACHE_HOME", t.TempDir())
	t.Setenv("HELM_CONFIG_HOME", t.TempDir())
	t.Setenv("HELM_DATA_HOME", t.TempDir())
	b := bundletest.Make(t, bundletest.Options{})
	s := newSite(t, b)
	client, err := helmregistry.NewClient(helmregistry.ClientOptPlainHTTP())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ chart, repository, version, file string }{
		{"old", s.url + "/helm", "", "old-0.9.0.tgz"},
		{"web", s.url + "/helm", "1.2.3", "web-1.2.3.tgz"},
		{"oci://" + s.host + "/ghcr.io/acme/charts/web", "", "1.2.3", "web-1.2.3.tgz"},
		{"oci://" + s.host + "/charts.acme.example/stable/old", "", "0.9.0", "old-0.9.0.tgz"},
	} {
		pull := action.NewPullWithOpts(action.WithConfig(&action.Configuration{RegistryClient: client}))
		pull.Settings, pull.RepoURL, pull.Version, pull.PlainHTTP, pull.DestDir = cli.New(), c.repository, c.version, true, t.TempDir()
		if out, err := pull.Run(c.chart); err != nil {
			t.Errorf("%s: %v %s", c.chart, err, out)
			continue
		}
		got, err := os.ReadFile(filepath.Join(pull.DestDir, c.file))
		if err != nil {
			t.Errorf("%s: %v", c.chart, err)
			continue
		}
		known := false
		for _, content := range b.Content {
			known = known || bytes.Equal(content, got)
		}
		if !known {
			t.Errorf("%s: pulled other bytes", c.chart)
		}
	}
	index := string(s.get("/helm/index.yaml").body)
	if strings.Contains(index, "created") {
		t.Errorf("a time in\n%s", index)
	}
}
