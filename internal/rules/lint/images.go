package lint

import (
	"slices"
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/event"
)

// MergeImages leaves of the findings about one image the first and counts the
// others, which say the same of other places. lacking are the images that the stack
// should name: as they are written, each once, sorted.
func MergeImages(found []Finding) (merged []Finding, lacking []string) {
	first := map[string]int{}
	for _, f := range found {
		if f.Code != event.CodeEgressImage || f.Warning {
			merged = append(merged, f)
			continue
		}
		key := wholeName(f.Text)
		if at, ok := first[key]; ok {
			merged[at].Others++
			continue
		}
		first[key] = len(merged)
		merged = append(merged, f)
		if !f.Computed {
			lacking = append(lacking, f.Text)
		}
	}
	slices.Sort(lacking)
	return merged, lacking
}

// ByList says whether the list of images settles the finding, which then needs no
// advice of its own.
func (f Finding) ByList() bool { return f.Code == event.CodeEgressImage && !f.Warning && !f.Computed }

// wholeName is one name for all ways to write an image's reference.
func wholeName(ref string) string {
	if whole, err := imageref.Parse(ref); err == nil {
		return string(whole)
	}
	return ref
}

// ImageList is images: of a component in a stack file, ready to be pasted.
func ImageList(refs []string) string {
	var b strings.Builder
	b.WriteString("    images:\n")
	for _, ref := range refs {
		b.WriteString("      - " + ref + "\n")
	}
	return b.String()
}
