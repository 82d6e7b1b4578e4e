package pack

import (
	"errors"
	"fmt"

	"github.com/caisson/caisson/internal/api/stack"
)

// Sentinels of what stands between a lock and its bundle.
var (
	// ErrUpstreamChanged: an upstream gives other content than when the lock was
	// written. Resolving again gives a lock of what it has now.
	ErrUpstreamChanged = errors.New("the upstream no longer has what the lock says")
	// ErrLocalChanged: a file beside the lock changed since the lock was written.
	ErrLocalChanged = errors.New("the file changed since it was resolved")
	// ErrOtherProgram: the lock was written by another caisson, which brought another chart or
	// manifest of that name.
	ErrOtherProgram = errors.New("this caisson brings another one than the lock names")
	// ErrNoStatement: there is no bundle statement that could be signed.
	ErrNoStatement = errors.New("the bundle's statement cannot be signed")
	// ErrUnproven: there is a statement about the bundle that no key given signed.
	ErrUnproven = errors.New("the bundle's statement is not proven")
)

// UpstreamError says which item's content is not what the lock says, and where
// it was asked for. It is ErrUpstreamChanged.
type UpstreamError struct {
	Item     string // lock reference
	Upstream string // where it was fetched, after rewrites, without secrets
	Blob     string // digest that the lock names; empty for a pending layer
	Size     int64  // length that the lock names
	Stack    bool   // the digest is the stack's own: it is a stack.ErrDiffers as well
	Err      error  // what came instead
}

func (e *UpstreamError) Error() string {
	what := fmt.Sprintf("%d bytes", e.Size)
	if e.Blob != "" {
		what = e.Blob + " (" + what + ")"
	}
	if e.Stack {
		return fmt.Sprintf("packing %s: the stack says %s, %s gives something else: do not use it before asking whoever publishes it: %v",
			e.Item, what, e.Upstream, e.Err)
	}
	return fmt.Sprintf("packing %s: %s does not give %s: %v", e.Item, e.Upstream, what, e.Err)
}

// Unwrap gives what came instead.
func (e *UpstreamError) Unwrap() error { return e.Err }

// Is reports true for ErrUpstreamChanged, and for stack.ErrDiffers where that is so.
func (e *UpstreamError) Is(target error) bool {
	return target == ErrUpstreamChanged || e.Stack && target == stack.ErrDiffers
}

// changedFile is a local file that is not what the lock says. It is
// ErrLocalChanged.
type changedFile struct {
	path, want, got string
}

func (e *changedFile) Error() string {
	return fmt.Sprintf("%v: %s has %s, the lock says %s", ErrLocalChanged, e.path, e.got, e.want)
}

func (e *changedFile) Is(target error) bool { return target == ErrLocalChanged }
