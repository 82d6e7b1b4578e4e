package decide

import (
	"slices"

	"github.com/caisson/caisson/internal/api/plan"
)

// mirrorSets are the definitions that the strategy idms needs.
var mirrorSets = []string{"imagedigestmirrorsets.config.openshift.io", "imagetagmirrorsets.config.openshift.io"}

// Strategies are those of a site whose file names none, and why: on OpenShift
// mirror sets are written beside the rewriting of images, unless lacking names
// rights to them that the operator does not have.
func Strategies(definitions, lacking []string) (list []string, why string) {
	for _, d := range mirrorSets {
		if !slices.Contains(definitions, d) {
			return []string{plan.Rewrite}, "the default"
		}
	}
	if len(lacking) > 0 {
		return []string{plan.Rewrite}, "the operator may not write OpenShift's mirror sets"
	}
	return []string{plan.IDMS, plan.Rewrite}, "the default for OpenShift"
}

// SetReferences settles the strategies where the site file names none.
func (s *Selection) SetReferences(list []string, why string) {
	s.site.References, s.site.ReferencesWhy = list, why
}
