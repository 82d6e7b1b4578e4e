package preflight

import (
	"slices"
	"testing"

	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/rules/document"
)

// TestTheOtherRenderingAddsWhatIsMoreCertain: an argument only looks like an image's
// name. Where the other rendering names the image for certain, it counts as such, and
// nothing counts twice.
func TestTheOtherRenderingAddsWhatIsMoreCertain(t *testing.T) {
	const head = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: ["
	rendering := func(containers string) []document.Document {
		return []document.Document{{Template: "web/templates/a.yaml", Line: 1, Source: head + containers + "]}\n"}}
	}
	likely := rendering(`{name: c, image: "reg.example/c:1", args: ["--sidecar-image=reg.example/s:1"]}`)
	certain := rendering(`{name: c, image: "reg.example/c:1"}, {name: s, image: "reg.example/s:1"}`)
	for name, test := range map[string]struct {
		first, second []document.Document
		certain       int
		all           int
	}{
		"more certain":      {likely, certain, 2, 3},
		"less certain":      {certain, likely, 2, 2},
		"the same":          {likely, likely, 1, 2},
		"certain and twice": {certain, certain, 2, 2},
	} {
		var r decide.Rendered
		if err := readSites(&r, test.first); err != nil {
			t.Fatal(err)
		}
		if err := readOther(&r, test.second); err != nil {
			t.Fatal(err)
		}
		isLess := func(s document.Site) bool { return s.Certainty != document.Certain }
		if found := slices.DeleteFunc(slices.Clone(r.Images), isLess); len(found) != test.certain || len(r.Images) != test.all {
			t.Errorf("%s: %d images, %d of them certain: %+v", name, len(r.Images), len(found), r.Images)
		}
	}
}
