package decide

import (
	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
)

// Holds says of references whether an image item of a lock is what
// they mean.
func Holds(l *lock.Lock) func(ref imageref.Ref) bool {
	set := newImageSet(l)
	return func(ref imageref.Ref) bool {
		it, _ := set.findItem(ref)
		return it != nil
	}
}
