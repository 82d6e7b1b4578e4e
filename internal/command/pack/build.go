package pack

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/kustomize"
)

// ErrBuiltOtherwise: this program makes something else of the same sources than the one
// that wrote the lock.
var ErrBuiltOtherwise = errors.New("this caisson builds it otherwise than the one that resolved")

// buildManifest makes a manifest again of what the lock names, and of nothing else.
func (a *attempt) buildManifest(ctx context.Context, src lock.Source) error {
	pinned := src.Build
	data, made, err := a.builder.Build(ctx, kustomize.Recipe{
		Build: *pinned,
		Place: func(name string, _ bool) (lock.BuildSource, bool) {
			if r := pinned.Remote(name); r != nil {
				return *r, true
			}
			return lock.BuildSource{}, false
		},
	})
	if differs, ok := errors.AsType[*kustomize.DiffersError](err); ok {
		return &wrongContent{what: differs.URL, want: string(differs.Want), got: string(differs.Got)}
	}
	if err != nil {
		return err
	}
	if got := digest.FromBytes(data); got != src.Digest {
		return fmt.Errorf("%w: with %s it is %s, the lock has %s by %s",
			ErrBuiltOtherwise, made.Builder, got, src.Digest, pinned.Builder)
	}
	return a.rewrite(data)
}

// rewrite makes data the whole content of the slot.
func (a *attempt) rewrite(data []byte) error {
	if err := a.dst.Reset(); err != nil {
		return err
	}
	_, err := a.dst.Write(data)
	return err
}
