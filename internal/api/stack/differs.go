package stack

import (
	"errors"
	"fmt"
)

// ErrDiffers: an upstream gives other content than the stack names by its digest. Nobody
// can tell here which of the two is right.
var ErrDiffers = errors.New("the upstream gives other content than the stack says")

// DiffersError says what the stack says and what the upstream gives. It is ErrDiffers.
type DiffersError struct {
	Want string // sha256:… or a commit, as the stack says
	Got  string
}

func (e *DiffersError) Error() string {
	return fmt.Sprintf("the stack says %s, the upstream gives %s: do not use it before asking whoever publishes it", e.Want, e.Got)
}

// Is reports true for ErrDiffers.
func (e *DiffersError) Is(target error) bool { return target == ErrDiffers }
