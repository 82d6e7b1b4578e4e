package cli

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/plan"
)

func TestPlanShowsWhatGoesOntoNodes(t *testing.T) {
	n := &plan.NodeChange{Strategy: plan.Mirror, Hosts: []string{"ghcr.io"}, Files: []plan.NodeFile{{Path: "/etc/containerd/certs.d/ghcr.io/hosts.toml"}}}
	for ca, want := range map[digest.Digest]bool{"": false, "sha256:abc": true} {
		p := &page{width: 100}
		n.CA = ca
		p.nodeChange(n)
		text := strings.Join(strings.Fields(p.String()), " ")
		if !strings.Contains(text, "write /etc/containerd/certs.d/ghcr.io/hosts.toml") || strings.Contains(text, "put the CA of the registry beside them") != want || strings.Contains(text, "sha256:abc") != want {
			t.Errorf("with the CA %q it shows\n%s", ca, p)
		}
	}
}
