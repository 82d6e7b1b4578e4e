package install

import (
	"context"
	"fmt"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/client/archive"
)

// onlyStack is the one stack that the cluster has. Where several have a journal, those
// count of which something is there, or should be; the history of one that is gone
// wants its name.
func (s *session) onlyStack(ctx context.Context) (string, error) {
	stacks, err := s.store.Stacks(ctx)
	if err != nil {
		return "", err
	}
	if len(stacks) == 1 {
		return stacks[0], nil
	}
	there, err := s.presentStacks(ctx, stacks)
	if err != nil {
		return "", err
	}
	switch {
	case len(there) == 1:
		return there[0], nil
	case len(there) > 1:
		return "", fmt.Errorf("looking for installed stacks: %w: %q", ErrManyStacks, there)
	case s.verb == "history" && len(stacks) > 1:
		return "", fmt.Errorf("looking for the history: %w: of %q journals are kept", ErrManyStacks, stacks)
	}
	return "", fmt.Errorf("looking for installed stacks: %w", journal.ErrNone)
}

func (s *session) presentStacks(ctx context.Context, stacks []string) (out []string, _ error) {
	store := archive.Open(s.cluster, s.uid, "") // s.store remembers the journal that it read last
	for _, name := range stacks {
		j, err := store.Load(ctx, name)
		if err != nil {
			return nil, err
		}
		last := j.Last()
		if len(j.Installed) > 0 || last != nil && last.Verb == journal.Install && last.State != journal.Done {
			out = append(out, name)
		}
	}
	return out, nil
}
