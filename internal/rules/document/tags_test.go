package document

import (
	"fmt"
	"strings"
	"testing"
)

// Of several names of tags that go with an image the first counts, as a list is read.
func TestTagsOfAnImage(t *testing.T) {
	known := tags{}
	for i, name := range []string{"OTHER_TAG", "CACHE_IMAGE_TAG", "cacheTag", "VERSION", "CACHE_PORT"} {
		known.add(i, name, name)
	}
	for image, want := range map[string]string{
		"CACHE_IMAGE": "CACHE_IMAGE_TAG", "cacheImageName": "CACHE_IMAGE_TAG", "cache": "CACHE_IMAGE_TAG",
		"image": "VERSION", "imageName": "VERSION", "other-image": "OTHER_TAG", "cachePort": "",
	} {
		if got := known.of(image); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}

// BenchmarkManyVariables lists images that stand in variables without tags: the time for
// each may not grow with their number.
func BenchmarkManyVariables(b *testing.B) {
	for _, n := range []int{500, 4000} {
		var text strings.Builder
		text.WriteString("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    env:\n")
		for i := range n {
			fmt.Fprintf(&text, "    - {name: A%d_IMAGE, value: gcr.io/a/b%d}\n", i, i)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				w := &walker{nodes: 1 << 20, manifest: true}
				if err := w.document(Document{Source: text.String()}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/variable")
		})
	}
}
