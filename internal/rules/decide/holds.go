package decide

import (
	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
)

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
