package resolve

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// task resolves one thing and reports to its session what goes wrong.
type task func(context.Context)

type tasks []task

func (t *tasks) add(more ...task) { *t = append(*t, more...) }

// run runs all tasks, at most limit side by side. Its only error is the
// context's.
func (t tasks) run(ctx context.Context, limit int) error {
	var group errgroup.Group
	group.SetLimit(limit)
	for _, do := range t {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			do(ctx)
			return ctx.Err()
		})
	}
	return group.Wait()
}

// memo remembers what was worked out for a key; who asks while it is being
// worked out waits. The zero value works.
type memo[V any] struct {
	mu    sync.Mutex
	calls map[string]func() (V, error)
}

func (m *memo[V]) do(key string, work func() (V, error)) (V, error) {
	m.mu.Lock()
	if m.calls == nil {
		m.calls = map[string]func() (V, error){}
	}
	call, ok := m.calls[key]
	if !ok {
		call = sync.OnceValues(work)
		m.calls[key] = call
	}
	m.mu.Unlock()
	return call()
}
