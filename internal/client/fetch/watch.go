package fetch

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// watch cuts a try whose body brings nothing for too long. Waiting for the
// answer's head is the transport's to bound, so that waiting for a free
// connection does not count.
type watch struct {
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
	ctx    context.Context
}

func newWatch(ctx context.Context, limit time.Duration) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watch{limit: limit, cancel: cancel, ctx: ctx}
}

func (w *watch) start() {
	w.timer = time.AfterFunc(w.limit, func() { w.cancel(ErrStalled) })
}

func (w *watch) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
	w.cancel(nil)
}

// explainStall puts the stall in place of the cancellation that it caused.
func (w *watch) explainStall(err error) error {
	if err == nil {
		return nil
	}
	if context.Cause(w.ctx) == ErrStalled || strings.Contains(err.Error(), "timeout awaiting response headers") {
		return fmt.Errorf("%w (%s)", ErrStalled, w.limit)
	}
	return err
}

// watched is a body under a watch: each read that brings bytes winds it up.
type watched struct {
	body io.Reader
	*watch
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.body.Read(p)
	if n > 0 {
		w.timer.Reset(w.limit)
	}
	return n, err
}
