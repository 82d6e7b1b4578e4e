package decide

import (
	"github.com/caisson/caisson/internal/api/lock"
)

// Holds says of references, as written, whether an image item of a lock is what
// they mean.
func Holds(l *lock.Lock) func(ref string) bool {
	set := newImageSet(l)
	return func(ref string) bool {
		it, _ := set.findItem(ref)
		return it != nil
	}
}
