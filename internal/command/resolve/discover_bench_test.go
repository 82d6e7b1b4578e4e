package resolve

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/rules/document"
)

// BenchmarkDiscoverImages finds the images of a chart. Its time per image must not
// depend on how many there are.
func BenchmarkDiscoverImages(b *testing.B) {
	for _, images := range []int{150, 1000} {
		docs := deployments(b, images)
		b.Run(fmt.Sprintf("images=%d", images), func(b *testing.B) {
			for b.Loop() {
				s := &session{found: collection{images: map[imageref.Ref]*wantedImage{}}}
				s.discoverImages(docs, "web", "chart web", stackField{what: "chart web"})
				if len(s.found.images) != images {
					b.Fatalf("found %d images", len(s.found.images))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*images), "ns/image")
		})
	}
}

// deployments are objects that name n images.
func deployments(b *testing.B, n int) []document.Document {
	b.Helper()
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d%d}\nspec:\n  template:\n    spec:\n      containers:\n", i)
		fmt.Fprintf(&text, "      - {name: c, image: \"ghcr.io/acme/web%d:1\", args: [--port=80, --log=info], env: [{name: A, value: b}]}\n", i)
	}
	docs, err := document.Split("web/templates/all.yaml", text.String())
	if err != nil {
		b.Fatal(err)
	}
	return docs
}
