package kube

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/testkit/clustertest"
)

func TestMain(m *testing.M) { os.Exit(clustertest.Main(m)) }

func connect(t *testing.T) *Client {
	t.Helper()
	c, err := Connect(t.Context(), Options{Kubeconfig: clustertest.Start(t).Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// namespace makes a namespace that goes with the test.
func namespace(t *testing.T, c *Client) string {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	ns, made, err := c.EnsureNamespace(t.Context(), name, nil)
	if err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	t.Cleanup(func() { _ = c.Core.CoreV1().Namespaces().Delete(context.Background(), ns.Name, deleteNow) })
	return name
}
