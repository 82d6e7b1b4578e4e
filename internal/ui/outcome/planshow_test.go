package outcome

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/ui/output"
)

func TestPlanShowsWhatGoesOntoNodes(t *testing.T) {
	n := &plan.NodeChange{Strategy: plan.Mirror, Hosts: []string{"ghcr.io"}, Files: []plan.NodeFile{{Path: "/etc/containerd/certs.d/ghcr.io/hosts.toml"}}}
	for ca, want := range map[digest.Digest]bool{"": false, "sha256:abc": true} {
		var p output.Page
		n.CA = ca
		addNodeChange(&p, n)
		shown := p.Text(output.Style{}, 100)
		text := strings.Join(strings.Fields(shown), " ")
		if !strings.Contains(text, "write /etc/containerd/certs.d/ghcr.io/hosts.toml") || strings.Contains(text, "put the CA of the registry beside them") != want || strings.Contains(text, "sha256:abc") != want {
			t.Errorf("with the CA %q it shows\n%s", ca, shown)
		}
	}
}
