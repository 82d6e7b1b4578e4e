package decide

import (
	"strings"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
)

// CarriedModels are the models of a lock that a hub is asked for by name: OWNER/NAME
// in lower case.
func CarriedModels(l *lock.Lock) []string {
	var out []string
	for i := range l.Items {
		if m, ok := lock.As[*lock.HubModel](&l.Items[i]); ok {
			out = append(out, strings.ToLower(m.Repository))
		}
	}
	return out
}

// Holds says of references whether an image item of a lock is what they mean (holds),
// and whether an operator that adds to their tag comes to one (extends).
func Holds(l *lock.Lock) (holds, extends func(ref imageref.Ref) bool) {
	set := newImageSet(l)
	holds = func(ref imageref.Ref) bool {
		it, _ := set.findItem(ref)
		return it != nil
	}
	return holds, set.hasExtended
}
