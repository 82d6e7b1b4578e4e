package resolve

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/event"
)

// TestUpgradesAndLookupsHideNothing: images that only an upgrade names are
// carried, and a lookup of what is not the component's own has to be settled.
func TestUpgradesAndLookupsHideNothing(t *testing.T) {
	s, h := shelfSite(t)
	h.tag("base", h.image("linux/amd64"))
	h.tag("later", h.image("linux/amd64"))
	h.chart("1.0.0", packChart(t, "web", "1.0.0", map[string]string{
		"templates/a.yaml": "kind: Pod\nspec: {containers: [{image: \"reg.example/a/b:{{ if .Release.IsUpgrade }}later{{ else }}base{{ end }}\"}]}\n" +
			"# {{ lookup \"v1\" \"Namespace\" \"\" \"kube-system\" }} {{ lookup \"v1\" \"Secret\" .Release.Namespace \"own\" }}\n",
	}))
	stack := chartStack(`{name: rel, source: "oci://reg.example/charts/web", version: 1.0.0}`)
	s.write("stack.yaml", stack)
	_, err := s.resolve(s.options("l.yaml"))
	if !errors.Is(err, ErrLookup) || errors.Is(err, ErrEgress) || !strings.Contains(err.Error(), "1 of the findings") {
		t.Errorf("error is %v", err)
	}
	s.write("stack.yaml", stack+"    allow: [{code: lookup, match: v1/Namespace kube-system, reason: its UID names the cluster}]\n")
	r, _ := s.mustResolve(s.options("l.yaml"))
	if got := imagesOf(r.Lock); got != "reg.example/a/b:base by chart rel; reg.example/a/b:later by chart rel" {
		t.Errorf("images %s", got)
	}
}

// TestImagesOfALaterRenderingAreFound: each rendering names another image, and all are
// looked for: of an install and an upgrade for both Kubernetes versions, and of a later
// install.
func TestImagesOfALaterRenderingAreFound(t *testing.T) {
	s, h := shelfSite(t)
	h.chart("1.0.0", packChart(t, "web", "1.0.0", map[string]string{
		"templates/a.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n" +
			"spec: {containers: [{name: c, image: \"reg.example/a/b:t{{ randNumeric 12 }}\"}]}\n",
	}))
	s.write("stack.yaml", chartStack(`{name: rel, source: "oci://reg.example/charts/web", version: 1.0.0}`))
	_, err := s.resolve(s.options("l.yaml"))
	if err == nil {
		t.Fatal("an image that nobody has is no problem")
	}
	names := map[string]bool{}
	for _, name := range regexp.MustCompile(`reg\.example/a/b:t\d{12}`).FindAllString(err.Error(), -1) {
		names[name] = true
	}
	if len(names) != 5 {
		t.Errorf("%d images were looked for: %v", len(names), err)
	}
}

// TestChartsThatCannotBeUpgradedAreTold: some need what an installation left.
func TestChartsThatCannotBeUpgradedAreTold(t *testing.T) {
	s, h := shelfSite(t)
	h.chart("1.0.0", packChart(t, "web", "1.0.0", map[string]string{
		"templates/a.yaml": `{{ if .Release.IsUpgrade }}{{ fail "the password of before is missing" }}{{ end }}`,
	}))
	s.write("stack.yaml", chartStack(`{name: rel, source: "oci://reg.example/charts/web", version: 1.0.0}`))
	s.mustResolve(s.options("l.yaml"))
	warned := slices.ContainsFunc(s.events.Events(), func(e event.Event) bool {
		return e.Kind == event.Warning && strings.Contains(e.Message, "the password of before is missing")
	})
	if !warned {
		t.Error("nobody spoke of the upgrade")
	}
}
