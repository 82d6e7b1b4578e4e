package resolve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
)

const trapTemplate = `kind: Job
metadata: {annotations: {helm.sh/hook: post-install}}
spec:
  template:
    spec:
      containers:
      - image: reg.example/a/b:base
        imagePullPolicy: Always
        command: [sh, -c, "apk add kubectl"]
      - image: reg.example/a/b:base
        command: [sh, -c, "apk add kubectl"]
        args: ["--sidecar-image=reg.example/a/sidecar:1"]
{{ if semverCompare ">=1.35-0" .Capabilities.KubeVersion.Version }}
      - image: reg.example/a/b:base
        command: [pip, install, x]
{{ end }}
---
kind: ConfigMap
data:
  agent: '{"image": "reg.example/a/agent:1"}'
`

// spoken are the findings of a session as SEVERITY PLACE CODE. What brings images
// is said once for a component, as lines to paste.
func spoken(s *site) string {
	var out []string
	for _, e := range s.events.Events() {
		if f := e.Finding; f != nil && strings.HasPrefix(f.Code, "egress/") {
			_, rest, _ := strings.Cut(f.What, "component c: ")
			place, _, _ := strings.Cut(rest, ": ")
			out = append(out, fmt.Sprintf("%s %s %s", f.Severity, place, f.Code))
			byList := f.Code == event.CodeEgressImage && f.Severity == event.Error
			if (f.Why == "" && f.Paste == "" || f.Hint == "") && !byList || (e.Kind == event.Warning) != (f.Severity == event.Warn) {
				out = append(out, "incomplete")
			}
		}
	}
	return strings.Join(out, "\n")
}

// pasted are the lines of a session that are made to be pasted.
func pasted(s *site) (out string) {
	for _, e := range s.events.Events() {
		if e.Finding != nil {
			out += e.Finding.Paste
		}
	}
	return out
}

func TestEgressIsSettledOrFails(t *testing.T) {
	s, h := shelfSite(t)
	h.tag("base", h.image("linux/amd64"))
	h.chart("1.0.0", packChart(t, "web", "1.0.0", map[string]string{"templates/a.yaml": trapTemplate}))
	stack := chartStack(`{name: rel, source: "oci://reg.example/charts/web", version: 1.0.0}`, `{name: again, source: "oci://reg.example/charts/web", version: 1.0.0}`)
	s.write("stack.yaml", stack)
	_, err := s.resolve(s.options("l.yaml"))
	if !errors.Is(err, ErrEgress) || !strings.Contains(err.Error(), "stack.yaml:7: component c: would call out of a closed site: 5 of the findings") {
		t.Errorf("error is %v", err)
	}
	want := strings.Join([]string{
		string(event.Warn) + " web/templates/a.yaml:8 egress/pull-always", "error web/templates/a.yaml:9 egress/download", "error web/templates/a.yaml:11 egress/download",
		"error web/templates/a.yaml:12 egress/image", "error web/templates/a.yaml:15 egress/download", "error web/templates/a.yaml:17 egress/image",
		"notice these lines bring the 2 images that are named and not carried egress/image",
	}, "\n")
	if got := spoken(s); got != want {
		t.Errorf("found\n%s\nwant\n%s", got, want)
	}
	if got, want := pasted(s), "    images:\n      - reg.example/a/agent:1\n      - reg.example/a/sidecar:1\n"; got != want {
		t.Errorf("to paste:\n%s\nwant\n%s", got, want)
	}
	s.events = event.Recorder{}
	s.write("stack.yaml", stack+`    allow:
      - {code: egress/download, match: "apk add*", reason: a mirror of the site answers}
      - {code: egress/download, match: "pip install x", reason: likewise}
      - {code: egress/image, match: "*/sidecar:1", reason: off by default}
      - {code: egress/image, match: "reg.example/a/agent:*", reason: off by default}
      - {code: egress/remote, match: "*", reason: nothing}
`)
	s.mustResolve(s.options("l.yaml"))
	if !told(s, `"apk add kubectl": apk add downloads Alpine packages; allowed: a mirror of the site answers`) {
		t.Error("nobody said what is allowed, and why")
	}
	if !warned(s, `allow of egress/remote for "*" matches nothing`) {
		t.Error("nobody warned of the rule that matches nothing")
	}
}

// marked reads a chart of testdata and its marks: TEMPLATE:LINE CODE.
func marked(t *testing.T, name string) (files map[string]string, marks []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "charts", name, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	files = map[string]string{}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		template := "templates/" + filepath.Base(p)
		files[template] = string(data)
		for i, line := range strings.Split(string(data), "\n") {
			if m := regexp.MustCompile(`TRAP ([a-z-]+)`).FindStringSubmatch(line); m != nil {
				marks = append(marks, fmt.Sprintf("web/%s:%d egress/%s", template, i+1, m[1]))
			}
		}
	}
	slices.Sort(marks)
	return files, marks
}

// TestEveryTrapOfAChartIsNamed: all of them, with file and line, and nothing
// else; a chart of what only looks like traps stays quiet.
func TestEveryTrapOfAChartIsNamed(t *testing.T) {
	for _, name := range []string{"traps", "quiet"} {
		s, h := shelfSite(t)
		h.tag("base", h.image("linux/amd64"))
		files, want := marked(t, name)
		h.chart("1.0.0", packChart(t, "web", "1.0.0", files))
		s.write("stack.yaml", chartStack(`{name: rel, source: "oci://reg.example/charts/web", version: 1.0.0}`))
		if _, err := s.resolve(s.options("l.yaml")); (err != nil) != (len(want) > 0) || err != nil && !errors.Is(err, ErrEgress) {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for line := range strings.SplitSeq(spoken(s), "\n") {
			if _, rest, ok := strings.Cut(line, " "); ok && !strings.Contains(rest, "these lines bring") {
				got = append(got, rest)
			}
		}
		slices.Sort(got)
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: found\n  %s\nwant\n  %s", name, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
	}
}

// TestPodsOfTestsAreCarriedOnDemand: no installation runs them.
func TestPodsOfTestsAreCarriedOnDemand(t *testing.T) {
	s, h := shelfSite(t)
	h.tag("base", h.image("linux/amd64"))
	pod := "kind: Pod\nmetadata: {name: t, annotations: {helm.sh/hook: test}}\nspec: {containers: [{image: \"reg.example/a/b:base\"}]}\n"
	h.chart("1.0.0", packChart(t, "web", "1.0.0", map[string]string{"templates/a.yaml": pod}))
	s.write("stack.yaml", chartStack(`{name: rel, source: "oci://reg.example/charts/web", version: 1.0.0}`))
	for _, withTests := range []bool{false, true} {
		opt := s.options("l.yaml")
		opt.WithTests = withTests
		result, _ := s.mustResolve(opt)
		if n := result.Counts[lock.Image]; (n == 1) != withTests {
			t.Errorf("with tests %v: %d images", withTests, n)
		}
	}
}
