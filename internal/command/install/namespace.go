package install

import (
	"context"
	"slices"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
)

// takeBackNamespace removes the namespace of a component that is no more, if the product
// made it, nothing is left in it and no other component uses it. That it stays is told,
// and keeps nothing from ending well.
func (s *session) takeBackNamespace(ctx context.Context, name string) {
	var gone []object.Ref
	s.readJournal(func(j *journal.Journal) {
		gone = slices.DeleteFunc(leftovers(slices.Clone(j.Made), j.Installed), func(o object.Ref) bool {
			return !kube.IsNamespace(o) || o.Name != name
		})
	})
	if err := s.removeShared(ctx, gone); err != nil {
		s.warn("", "namespace %s stays: %v", name, err)
	}
}
