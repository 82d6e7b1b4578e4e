package outcome

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/rules/decide"
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

// TestPlanShowsWhatTemplatesDo: what they look up, what chance decides and what
// runs as a hook is counted, and listed where all is asked for.
func TestPlanShowsWhatTemplatesDo(t *testing.T) {
	p := &plan.Plan{Index: digest.FromString("index"), Components: []plan.Component{{Name: "web", Namespace: "front", Releases: []plan.Release{{
		Name: "web", Action: plan.Install, Rendering: &plan.Rendering{
			Lookups: []plan.Lookup{{Question: plan.Question{APIVersion: "v1", Kind: "Secret", Namespace: "front", Name: "own"}}},
			Objects: []plan.RenderedObject{
				{Ref: object.Ref{APIVersion: "v1", Kind: "Secret", Name: "own"}, Chance: []string{"/data/password"}},
				{Ref: object.Ref{APIVersion: "batch/v1", Kind: "Job", Name: "setup"}, Hook: "pre-install"},
			},
		},
	}}}}}
	short, long := planText(t, p, false), planText(t, p, true)
	for _, want := range []string{"looks up 1 object in the cluster", "makes up 1 field anew when it is installed", "runs 1 hook"} {
		if !strings.Contains(short, want) || !strings.Contains(long, want) {
			t.Errorf("%q is not shown:\n%s", want, long)
		}
	}
	for _, want := range []string{"v1/Secret front/own", "Secret own /data/password", "Job setup at pre-install"} {
		if strings.Contains(short, want) || !strings.Contains(long, want) {
			t.Errorf("%q is for who asks for all:\n%s\n%s", want, short, long)
		}
	}
}

func planText(t *testing.T, p *plan.Plan, objects bool) string {
	t.Helper()
	page := Plan(p, decide.Estimate{}, "plan.json", objects)
	return strings.Join(strings.Fields(page.Text(output.Style{}, 100)), " ")
}

// TestPlanShowsDefinitionsThatChange: what stays as it is is counted, in one line.
func TestPlanShowsDefinitionsThatChange(t *testing.T) {
	c := plan.Component{Name: "web", Namespace: "front"}
	for _, d := range []plan.CRD{{Name: "new.x"}, {Name: "old.x", Exists: true}, {Name: "a.x", Exists: true, Unchanged: true}, {Name: "b.x", Exists: true, Unchanged: true}} {
		d.Source = "release web"
		c.CRDs = append(c.CRDs, d)
	}
	shown := planText(t, &plan.Plan{Index: digest.FromString("index"), Components: []plan.Component{c}}, false)
	if !strings.Contains(shown, "define new.x (from release web) update definition old.x (from release web) keep 2 definitions as they are") || strings.Contains(shown, "a.x") {
		t.Errorf("it shows\n%s", shown)
	}
}

func TestAStackWithoutAVersion(t *testing.T) {
	for version, want := range map[string]string{"": "real, generation 12\n", "1.0.0": "real 1.0.0, generation 12\n"} {
		var p output.Page
		if addStack(&p, "real", version, 12); p.Text(output.Style{}, 80) != want {
			t.Errorf("it shows %q", p.Text(output.Style{}, 80))
		}
	}
}

func TestPlanShowsHowNodesLogIn(t *testing.T) {
	files := []plan.NodeFile{{Path: "/etc/containerd/certs.d/ghcr.io/hosts.toml", Login: true}, {Path: "/etc/other"}}
	n := &plan.NodeChange{Strategy: plan.Mirror, Hosts: []string{"ghcr.io"}, Runtimes: []string{"containerd"}, Login: "site-login", Files: files}
	var p output.Page
	addNodeChange(&p, n)
	text := strings.Join(strings.Fields(p.Text(output.Style{}, 100)), " ")
	for _, want := range []string{
		"log in to the registry by Secret site-login, also for namespaces that come later",
		"ghcr.io/hosts.toml, with the login", "write /etc/other log in",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
	if text := describeNodeChange(n); !strings.Contains(text, "nodes log in to the registry by Secret site-login, also for namespaces that come later") {
		t.Error(text)
	}
}
