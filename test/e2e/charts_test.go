package e2e

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/caisson/caisson/internal/testkit/missiontest"
)

// moreCharts are those of make e2e-controllers alone.
var moreCharts = []missiontest.Chart{
	{Module: "sigs.k8s.io/node-feature-discovery", Dir: "deployment/helm/node-feature-discovery", Repository: "registry.k8s.io/nfd/charts", Version: "0.19.0"},
	{Module: "github.com/rancher/local-path-provisioner", Dir: "deploy/chart/local-path-provisioner", Repository: "ghcr.io/rancher/charts"},
}

// packCharts packs the charts of real controllers into dir.
func packCharts(t *testing.T, dir string) {
	t.Helper()
	charts := slices.Concat(missiontest.Charts, moreCharts)
	check(t, missiontest.PackCharts(filepath.Join("..", "controllers"), dir, charts))
}
