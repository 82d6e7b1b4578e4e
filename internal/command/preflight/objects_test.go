package preflight_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/command/install"
	"github.com/caisson/caisson/internal/command/preflight"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/clustertest"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

const settings = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {size: "%SIZE"}
---
apiVersion: v1
kind: Service
metadata: {name: front, labels: {size: "%SIZE"}}
spec: {selector: {app: front}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: same}
spec: {selector: {app: front}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: only-%SIZE}
---
{{- if eq .Chart.Version "1.0.0" }}
apiVersion: v1
kind: ServiceAccount
metadata: {name: outlives, annotations: {helm.sh/resource-policy: keep}}
{{- end }}
`

// changing is a stack whose release and manifest hold objects that come, change
// and go with its version.
func changing(version string, sequence int64) stacktest.Stack {
	text := strings.ReplaceAll(settings, "%SIZE", version)
	plain, _, _ := strings.Cut(text, "---\n{{")
	plain = strings.NewReplacer("settings", "plain-settings", "front", "plain-front", "same", "plain-same", "only-", "plain-only-").Replace(plain)
	return stacktest.Stack{Name: "changing", Version: version + ".0.0", Sequence: sequence, Components: []stacktest.Component{{
		Name: "web", Namespace: "changing", Charts: []stacktest.Chart{{Release: "web", Version: version + ".0.0", Files: map[string]string{"templates/s.yaml": text}}},
		Manifests: map[string]string{"p.yaml": plain},
	}}}
}

// lines are changes as people read them.
func lines(list []plan.ObjectChange) []string {
	var out []string
	for _, c := range list {
		out = append(out, strings.TrimSpace(c.Action+" "+c.Object+" "+strings.Join(c.Fields, ", ")))
	}
	return out
}

func TestPlanTellsWhatBecomesOfObjects(t *testing.T) {
	c := clustertest.Start(t)
	s := stacktest.NewSite(t, true)
	made := func(stack stacktest.Stack) (*plan.Plan, string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "plan.json")
		dir := s.Pack(t, stack)
		p, err := preflight.Run(t.Context(), preflight.Options{Paths: []string{dir}, Keys: []string{s.KeyFile}, Site: s.File(t, ""), Output: file, Kubeconfig: c.Kubeconfig}, event.Discard)
		if err != nil {
			t.Fatal(err)
		}
		return p, file
	}
	want := func(p *plan.Plan, release, plain []string) {
		t.Helper()
		if got := lines(p.Components[0].Releases[0].ObjectChanges); !slices.Equal(got, release) {
			t.Errorf("release:\n%s", strings.Join(got, "\n"))
		}
		if got := lines(p.Components[0].Objects); !slices.Equal(got, plain) {
			t.Errorf("manifests:\n%s", strings.Join(got, "\n"))
		}
	}
	first, file := made(changing("1", 1))
	want(first, []string{"add ConfigMap changing/settings", "add Service changing/front", "add Service changing/same", "add ServiceAccount changing/only-1", "add ServiceAccount changing/outlives"},
		[]string{"add ConfigMap changing/plain-settings", "add Service changing/plain-front", "add Service changing/plain-same", "add ServiceAccount changing/plain-only-1"})
	if _, err := install.Run(t.Context(), install.Options{Plan: file, Target: install.Target{Kubeconfig: c.Kubeconfig, StateDir: t.TempDir()}}, event.Discard); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(first.Site.References, []string{plan.Rewrite}) || first.Site.ReferencesWhy == "" {
		t.Errorf("references are %q, %q", first.Site.References, first.Site.ReferencesWhy)
	}
	again, _ := made(changing("1", 1))
	want(again, nil, nil)
	second, _ := made(changing("2", 2))
	want(second,
		[]string{"change ConfigMap changing/settings data.size: (not shown)", "change Service changing/front metadata.labels.size: \"1\" > \"2\"", "remove ServiceAccount changing/only-1", "add ServiceAccount changing/only-2"},
		[]string{"change ConfigMap changing/plain-settings data.size: (not shown)", "change Service changing/plain-front metadata.labels.size: \"1\" > \"2\"", "remove ServiceAccount changing/plain-only-1", "add ServiceAccount changing/plain-only-2"})
}
