package install

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/stacktest"
)

// oneChart is a stack of one component with one chart and no image.
func oneChart(namespace string, files map[string]string) stacktest.Stack {
	return stacktest.Stack{Components: []stacktest.Component{
		{Name: "web", Namespace: namespace, Charts: []stacktest.Chart{{Release: "web", Files: files}}},
	}}
}

const (
	hiddenBinding = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %s-hidden}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: Group, name: nobody, apiGroup: rbac.authorization.k8s.io}]
`
	shown = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shown}\n"
)

// TestALookupOfTheClusterForbidsThePlan: what hides behind a question about the
// cluster is neither planned nor read.
func TestALookupOfTheClusterForbidsThePlan(t *testing.T) {
	l := newLab(t)
	stack := oneChart("hide-lookup", map[string]string{
		"templates/a.yaml": `{{ if lookup "v1" "Namespace" "" "kube-system" }}` + strings.ReplaceAll(hiddenBinding, "%s", "hide-lookup") + "{{ end }}\n---\n" + shown,
	})
	stack.Name = l.name
	dir := l.site.Pack(t, stack)
	l.site.Load(t, dir)
	var found []string
	_, err := l.planOf(dir, "", event.Func(func(e event.Event) {
		if e.Finding != nil && e.Finding.Code == event.CodeLookup {
			found = append(found, e.Finding.What)
		}
	}))
	if !errors.Is(err, plan.ErrPreflight) || len(found) != 1 || !strings.Contains(found[0], "v1/Namespace kube-system") {
		t.Errorf("%q, %v", found, err)
	}
}

// TestWhatMovedSinceThePlanIsRefused: the answer about an object of the
// component's namespace moves after the plan was made, and with it what the chart
// renders. Nothing is changed then.
func TestWhatMovedSinceThePlanIsRefused(t *testing.T) {
	l := newLab(t)
	l.cluster.Kubectl(t, "create", "namespace", "hide-moved")
	p := l.plan(oneChart("hide-moved", map[string]string{
		"templates/a.yaml": `{{ if lookup "v1" "ConfigMap" "hide-moved" "trigger" }}` + strings.ReplaceAll(hiddenBinding, "%s", "hide-moved") + "{{ end }}\n---\n" + shown,
	}), "")
	l.cluster.Kubectl(t, "create", "configmap", "trigger", "-n", "hide-moved")
	_, err := Run(t.Context(), l.options(p), event.Discard)
	if !errors.Is(err, ErrRendering) || !strings.Contains(err.Error(), "v1/ConfigMap hide-moved/trigger") || !strings.Contains(err.Error(), "ClusterRoleBinding hide-moved-hidden is not in the plan") {
		t.Errorf("error is %v", err)
	}
	for _, line := range l.inventory("hide-moved") {
		if strings.Contains(line, "hidden") || strings.Contains(line, "shown") {
			t.Errorf("%s was made", line)
		}
	}
}

// TestChanceIsAllowedWhereThePlanListsIt: passwords, certificates and times are
// others at each rendering; they install, their values are in no plan, and
// installing again leaves them.
func TestChanceIsAllowedWhereThePlanListsIt(t *testing.T) {
	l := newLab(t)
	files := map[string]string{
		"templates/a.yaml": `apiVersion: v1
kind: Secret
metadata: {name: pw, annotations: {checksum: "{{ randAlphaNum 20 | sha256sum }}"}}
stringData:
  fixed: hunter2
  {{- with (lookup "v1" "Secret" .Release.Namespace "pw").data }}
  password: {{ .password | b64dec | quote }}
  {{- else }}
  password: {{ randAlphaNum 20 | quote }}
  {{- end }}
  day: {{ now | date "2006-01-02" | quote }}
`, "templates/n.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: noted}\ndata: {made: {{ (lookup \"v1\" \"Namespace\" \"\" .Release.Namespace).metadata.name | quote }}}\n",
	}
	path := l.plan(oneChart("chance", files), "")
	p, err := plan.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	r := p.Components[0].Releases[0].Rendering
	var chance []string
	for _, o := range r.Objects {
		chance = append(chance, o.Chance...)
	}
	if got := strings.Join(chance, " "); got != "/metadata/annotations/checksum /stringData/password" && got != "/metadata/annotations/checksum /stringData/day /stringData/password" {
		t.Errorf("chance is %s", got)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "hunter2") || len(r.Lookups) != 2 {
		t.Errorf("the plan tells a secret, or %d lookups: %v", len(r.Lookups), err)
	}
	l.install(path)
	l.install(path)
}

// TestAPlanIsNoAuthorityOverWhatIsRendered: an object is taken out of the plan, as
// an older version or somebody else might write it.
func TestAPlanIsNoAuthorityOverWhatIsRendered(t *testing.T) {
	l := newLab(t)
	path := l.plan(oneChart("edited", map[string]string{"templates/a.yaml": shown, "templates/b.yaml": strings.ReplaceAll(shown, "shown", "more")}), "")
	for name, change := range map[string]struct {
		edit func(*plan.Release)
		want error
		text string
	}{
		"no list":         {func(r *plan.Release) { r.Rendering = nil }, plan.ErrInvalid, "make the plan again"},
		"an object less":  {func(r *plan.Release) { r.Rendering.Objects = r.Rendering.Objects[:1] }, ErrRendering, "ConfigMap more is not in the plan"},
		"another content": {func(r *plan.Release) { r.Rendering.Objects[0].Digest = r.ChartDigest }, ErrRendering, "ConfigMap shown"},
	} {
		p, err := plan.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		change.edit(&p.Components[0].Releases[0])
		edited := filepath.Join(t.TempDir(), "plan.json")
		if err := plan.Write(edited, p); err != nil {
			t.Fatal(err)
		}
		if _, err := Run(t.Context(), l.options(edited), event.Discard); !errors.Is(err, change.want) || !strings.Contains(err.Error(), change.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCapabilitiesAreThoseOfThePlan: a component that needs another's definition
// may ask whether it is served: it is, before the other is installed.
func TestCapabilitiesAreThoseOfThePlan(t *testing.T) {
	l := newLab(t)
	stack := three("caps", "1.0.0", 1)
	stack.Components[1].Needs = []string{"web"}
	stack.Components[1].Charts[0].Files["templates/w.yaml"] = `{{ if .Capabilities.APIVersions.Has "caps.caisson.dev/v1/Widget" }}` + "apiVersion: caps.caisson.dev/v1\nkind: Widget\nmetadata: {name: asked}\n{{ end }}"
	stack.Components[2].Charts[0].Files["templates/w.yaml"] = stack.Components[1].Charts[0].Files["templates/w.yaml"]
	l.install(l.plan(stack, ""))
	for _, ns := range []string{"caps-db", "caps-web"} {
		l.cluster.Kubectl(t, "get", "widgets.caps.caisson.dev", "asked", "-n", ns)
	}
}

// TestPlansAreLinear: a plan grows with the objects, not with their size.
func TestPlansAreLinear(t *testing.T) {
	l := newLab(t)
	size := func(namespace, filler string) int {
		path := l.plan(oneChart(namespace, map[string]string{"templates/a.yaml": shown + "data: {x: '" + filler + "'}\n"}), "")
		p, err := plan.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(p.Components)
		if err != nil {
			t.Fatal(err)
		}
		return len(text)
	}
	if small, large := size("linear", "x"), size("linear", strings.Repeat("x", 1<<19)); large > small+100 {
		t.Errorf("%d bytes, and %d with half a MiB in an object", small, large)
	}
}

// TestAnswersThatThePlanItselfMoves: when a plan is carried out again, what it
// installs itself may have changed an answer; nothing else may.
func TestAnswersThatThePlanItselfMoves(t *testing.T) {
	p := &plan.Plan{Components: []plan.Component{{Name: "db", Namespace: "back", Releases: []plan.Release{{
		Rendering: &plan.Rendering{Objects: []plan.RenderedObject{
			{Ref: object.Ref{APIVersion: "v1", Kind: "Service", Name: "db"}},
			{Ref: object.Ref{APIVersion: "v1", Kind: "Secret", Namespace: "shared", Name: "db"}},
		}},
	}}}}}
	for _, test := range []struct {
		question plan.Question
		again    bool
		free     bool
	}{
		{plan.Question{APIVersion: "v1", Kind: "Service", Namespace: "back", Name: "db"}, true, true},
		{plan.Question{APIVersion: "v1", Kind: "Service", Namespace: "back", Name: "db"}, false, false},
		{plan.Question{APIVersion: "v1", Kind: "Service", Namespace: "back"}, true, true},
		{plan.Question{APIVersion: "v1", Kind: "Secret", Namespace: "shared", Name: "db"}, true, true},
		{plan.Question{APIVersion: "v1", Kind: "Secret", Namespace: "back", Name: "db"}, true, false},
		{plan.Question{APIVersion: "v1", Kind: "Service", Namespace: "back", Name: "other"}, true, false},
	} {
		q := test.question
		in := &installer{plan: p, again: test.again}
		planned := &plan.Rendering{Lookups: []plan.Lookup{{Question: q, Answer: "sha256:then"}}}
		moved := in.lookupsMoved(planned, []helm.Asked{{Question: q, Digest: "sha256:now"}})
		if (len(moved) == 0) != test.free {
			t.Errorf("%s, again %v: %q", q, test.again, moved)
		}
	}
}
