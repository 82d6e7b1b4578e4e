package output

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caisson/caisson/internal/event"
)

const (
	settled      = 2 * time.Second  // a reason that stands so long is told, without a terminal
	repeatedWait = 30 * time.Second // and again after this
	longWait     = 15 * time.Second // a reason that stands so long is told in full on a terminal
	turn         = 4 * time.Second  // that each of several waiting items has on the live line
)

// waits is what items wait for, in the order in which they began to.
type waits []*itemWait

// itemWait is the wait of one item for one or more things.
type itemWait struct {
	item    string
	since   time.Time
	reasons []event.Wait
	changed time.Time  // the first reason
	told    event.Wait // the first reason when it was told last
	toldAt  time.Time
}

// note takes in what an item waits for, or no longer.
func (ws *waits) note(item string, w event.Wait, now time.Time) {
	at := ws.index(item)
	if w == (event.Wait{}) {
		ws.drop(item)
		return
	}
	if w.Why == "" {
		if at >= 0 && (*ws)[at].forget(w.For, now) {
			*ws = slices.Delete(*ws, at, at+1)
		}
		return
	}
	if at < 0 {
		*ws, at = append(*ws, &itemWait{item: item, since: now, changed: now}), len(*ws)
	}
	(*ws)[at].note(w, now)
}

func (ws waits) index(item string) int {
	return slices.IndexFunc(ws, func(w *itemWait) bool { return w.item == item })
}

// drop forgets an item that has ended.
func (ws *waits) drop(item string) {
	*ws = slices.DeleteFunc(*ws, func(w *itemWait) bool { return w.item == item })
}

func (ws waits) isEmpty() bool { return len(ws) == 0 }

// current is the item whose turn it is to be shown, or nil.
func (ws waits) current(now time.Time) *itemWait {
	if len(ws) == 0 {
		return nil
	}
	return ws[int(now.Unix()/int64(turn/time.Second))%len(ws)]
}

func (w *itemWait) note(e event.Wait, now time.Time) {
	before := w.reasons
	at := slices.IndexFunc(before, func(r event.Wait) bool { return r.For == e.For })
	if at < 0 {
		w.reasons = append(w.reasons, e)
		return
	}
	if at == 0 && before[0] != e {
		w.changed = now
	}
	w.reasons[at] = e
}

// forget takes out one thing, and says whether nothing is left.
func (w *itemWait) forget(what string, now time.Time) (empty bool) {
	at := slices.IndexFunc(w.reasons, func(r event.Wait) bool { return r.For == what })
	if at >= 0 {
		w.reasons = slices.Delete(w.reasons, at, at+1)
	}
	if at == 0 {
		w.changed = now
	}
	return len(w.reasons) == 0
}

// words reads "web waits for Deployment web/front: Available: 0/1 (and 2 more)".
func (w *itemWait) words() string {
	r := w.reasons[0]
	text := "waiting for " + r.For + ": " + r.Why
	if w.item != "" {
		text = w.item + ": " + text
	}
	if more := len(w.reasons) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return strings.Join(strings.Fields(Clean(text)), " ")
}

// isDue says whether the wait should be told, and takes note that it is.
func (w *itemWait) isDue(terminal bool, now time.Time) bool {
	first, standing := w.reasons[0], now.Sub(w.changed)
	switch {
	case terminal && (first == w.told || standing < longWait):
		return false
	case !terminal && first == w.told && now.Sub(w.toldAt) < repeatedWait:
		return false
	case !terminal && first != w.told && standing < settled:
		return false
	}
	w.told, w.toldAt = first, now
	return true
}

// tellWaits writes what items wait for: without a terminal when it has changed and every
// half minute, on one where the live line is too short for what lasts.
func (t *Text) tellWaits() {
	now := t.opt.Now()
	for _, w := range t.waits {
		if w.isDue(t.opt.Terminal, now) {
			t.sayWrapped("", 0, fmt.Sprintf("%s (%s)", w.words(), Duration(now.Sub(w.since))))
		}
	}
}
