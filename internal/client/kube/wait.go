package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caisson/caisson/internal/api/object"
)

const (
	whyAfter = 5 * time.Second  // of waiting, before it is asked why
	whyEvery = 10 * time.Second // again
)

// pace says when something that is asked now and then is due again.
type pace struct{ next time.Time }

func newPace() *pace { return &pace{time.Now().Add(whyAfter)} }

// isDue says whether it is time to ask, and then counts from now.
func (p *pace) isDue() bool {
	if time.Now().Before(p.next) {
		return false
	}
	p.next = time.Now().Add(whyEvery)
	return true
}

// left is the time until it is due.
func (p *pace) left() time.Duration { return max(time.Until(p.next), 0) }

// wait is the wait for one target.
type wait struct {
	*Client
	target object.Target
	report func(object.Target, State)
	asks   *pace  // for why
	bare   string // the state's own message
	why    string // what was found besides
	told   string
}

func (w *wait) untilReady(ctx context.Context) error {
	for {
		s, err := w.Look(ctx, w.target)
		switch {
		case ctx.Err() != nil:
			return w.notReady(ctx)
		case err != nil:
			s = State{Message: err.Error()}
		case s.Ready:
			w.report(w.target, s)
			return nil
		case s.Failed:
			w.note(s)
			w.askWhy(ctx)
			return fmt.Errorf("%s: %w: %s", w.target.Object, ErrFailed, w.message())
		}
		w.note(s)
		if w.asks.isDue() {
			w.askWhy(ctx)
		}
		w.tell(s)
		w.awaitChange(ctx, w.target.Object, s.version, w.asks.left())
	}
}

// note keeps what the state says of itself. What was found besides speaks of the
// state before.
func (w *wait) note(s State) {
	if bare := strings.TrimSpace(s.Message); bare != w.bare {
		w.bare, w.why = bare, ""
	}
}

// askWhy looks for a deeper reason than the target's own.
func (w *wait) askWhy(ctx context.Context) {
	if w.why = w.Why(ctx, w.target.Object); strings.Contains(w.bare, w.why) {
		w.why = ""
	}
}

func (w *wait) message() string {
	return strings.TrimPrefix(strings.TrimSuffix(w.bare+": "+w.why, ": "), ": ")
}

func (w *wait) tell(s State) {
	if s.Message = w.message(); s.Message != w.told {
		w.told = s.Message
		w.report(w.target, s)
	}
}

// notReady is the error of a wait that ended with ctx. Where the time is up, it is
// asked once more why.
func (w *wait) notReady(ctx context.Context) error {
	cause := context.Cause(ctx)
	if !errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %s: %w", w.target.Object, w.message(), cause)
	}
	if why := w.Why(context.WithoutCancel(ctx), w.target.Object); why != "" && !strings.Contains(w.bare, why) {
		w.why = why
	}
	return fmt.Errorf("%s: %w: %s", w.target.Object, ErrNotReady, w.message())
}
