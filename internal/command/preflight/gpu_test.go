package preflight

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/caisson/caisson/internal/api/inventory"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/testkit/clustertest"
)

func writeInventory(t *testing.T, hashed bool, nodes ...inventory.Node) string {
	t.Helper()
	text, err := inventory.New(nodes, hashed, "salt").Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "site-nodes.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An inventory adds to what labels say, and says of no node that is not there.
func TestGPUFactsWithInventory(t *testing.T) {
	c := clustertest.Start(t)
	client, err := kube.Connect(t.Context(), kube.Options{Kubeconfig: c.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	there := inventory.Node{Name: "gpu-1", SecureBoot: "on", Switches: 4}
	f, err := gpuFacts(t.Context(), client, "demo", writeInventory(t, false, there, inventory.Node{Name: "gone"}))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(f.Nodes, func(n inventory.Node) bool { return n.Name == "gpu-1" })
	if i < 0 || f.Nodes[i].SecureBoot != "on" || f.Nodes[i].Switches != 4 || len(f.Nodes[i].GPUs) != 1 || f.Nodes[i].GPUs[0].Count != 8 {
		t.Fatalf("%+v", f.Nodes)
	}
	if slices.ContainsFunc(f.Nodes, func(n inventory.Node) bool { return n.Name == "gone" }) || !slices.ContainsFunc(f.Found, func(x event.Finding) bool { return x.Code == event.CodeGPUPolicyNode && x.Severity == event.Warn }) {
		t.Errorf("a node that is not there: %+v", f.Found)
	}
	if f, err = gpuFacts(t.Context(), client, "demo", writeInventory(t, true, there)); err != nil || !decide.HasErrors(f.Found) {
		t.Errorf("hashed names: %+v, %v", f.Found, err)
	}
	if _, err := gpuFacts(t.Context(), client, "demo", "absent.yaml"); err == nil {
		t.Error("an inventory that is not there is no error")
	}
}
