package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/inventory"
	nodefiles "github.com/caisson/caisson/internal/client/host"
	"github.com/caisson/caisson/internal/rules/gpu"
)

// checkProbe asks the nodes' own files through pods, compares with this host's,
// and wants nothing left of it.
func (r *road) checkProbe(t *testing.T) {
	t.Helper()
	before := r.inventory(t)
	r.caisson(t, "nodes", "export", "--probe", "--site", "site.yaml", "-o", "nodes.yaml")
	v, err := inventory.Read(filepath.Join(r.dir, "nodes.yaml"))
	check(t, err)
	c, err := gpu.Read()
	check(t, err)
	root, err := os.OpenRoot("/")
	check(t, err)
	defer root.Close()
	want := nodefiles.ReadTree(c, root, "")
	if len(v.Nodes) != len(nodes) {
		t.Errorf("the probe found %d nodes of %d", len(v.Nodes), len(nodes))
	}
	for _, n := range v.Nodes {
		if !slices.Contains(n.Sources, inventory.FromProbe) || n.Kernel != want.Kernel || n.OS.ID != want.OS.ID || n.OS.Version != want.OS.Version ||
			n.Cgroup != want.Cgroup || len(n.GPUs) != len(want.GPUs) || !strings.HasPrefix(n.Runtime, "containerd") {
			t.Errorf("the probe says\n%+v\nof a node on\n%+v", n, want)
		}
	}
	r.waitFor(t, time.Minute, "the probe to be gone", func() error { return same(before, r.inventory(t)) })
}
