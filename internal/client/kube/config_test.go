package kube

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/journal"
)

const twoContexts = `apiVersion: v1
kind: Config
current-context: north
clusters: [{name: northern, cluster: {server: "http://127.0.0.1:1"}}, {name: southern, cluster: {server: "http://127.0.0.1:2"}}]
users: [{name: op, user: {}}]
contexts:
  - {name: south, context: {cluster: southern, user: op}}
  - {name: north, context: {cluster: northern, user: op}}
`

func kubeconfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestConnectRefusesAKubeconfig: the error names the file and what is in it.
func TestConnectRefusesAKubeconfig(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	for _, tc := range []struct{ name, file, context, want string }{
		{"missing", missing, "", missing},
		{"empty", kubeconfig(t, ""), "", "there is no context in /"},
		{"no YAML", kubeconfig(t, "{"), "", "error loading config file"},
		{"other context", kubeconfig(t, twoContexts), "east", `kubeconfig, which has: north, south`},
		{"no current context", kubeconfig(t, strings.Replace(twoContexts, "current-context: north\n", "", 1)), "", "no current context"},
		{"no cluster", kubeconfig(t, strings.Replace(twoContexts, "{cluster: northern,", "{cluster: lost,", 1)), "", `context "north" in /`},
	} {
		_, err := Connect(t.Context(), Options{Kubeconfig: tc.file, Context: tc.context})
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// TestNoKubeconfigAtAll: neither a file nor the pod's own account.
func TestNoKubeconfigAtAll(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	t.Setenv("KUBECONFIG", missing)
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := Connect(t.Context(), Options{}); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), missing) {
		t.Errorf("error %v", err)
	}
}

// TestIdentityIsThatOfTheContext: the one that was asked for, not the current.
func TestIdentityIsThatOfTheContext(t *testing.T) {
	for context, want := range map[string]journal.Operator{"": {Context: "north", Cluster: "northern"}, "south": {Context: "south", Cluster: "southern"}} {
		c, err := newClient(Options{Kubeconfig: kubeconfig(t, twoContexts), Context: context})
		if err != nil {
			t.Fatal(err)
		}
		if id := c.Identity(); id.Context != want.Context || id.Cluster != want.Cluster || id.AuthInfo != "op" {
			t.Errorf("context %q: %+v", context, id)
		}
	}
}
