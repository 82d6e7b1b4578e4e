package output

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/event"
)

func waiting(item, what, why string) event.Event {
	return event.Event{Verb: "install", Kind: event.Progress, Item: item, Wait: &event.Wait{For: what, Why: why}}
}

// watch runs a sink on a clock for some seconds, and calls at for each of them.
func watch(opt TextOptions, seconds int, at func(sink *Text, second int)) string {
	c := &clock{at: time.Unix(0, 0)}
	opt.Now = c.now
	var o, e bytes.Buffer
	sink := NewText(&o, &e, opt)
	sink.mu.Lock()
	sink.paused = true // the test draws
	sink.mu.Unlock()
	for i := range seconds {
		at(sink, i)
		c.move(time.Second)
		sink.mu.Lock()
		sink.paused = false
		sink.showProgress()
		sink.paused = true
		sink.mu.Unlock()
	}
	sink.Close()
	return e.String()
}

// TestWaitingIsToldInLines: without a terminal there is a line when the reason changed,
// and one every half minute while it stands.
func TestWaitingIsToldInLines(t *testing.T) {
	got := watch(TextOptions{}, 120, func(sink *Text, second int) {
		switch second {
		case 0:
			sink.Emit(event.Event{Verb: "install", Kind: event.Start, Item: "web"})
			sink.Emit(waiting("web", "Deployment web/front", "Available: 0/1"))
			sink.Emit(waiting("web", "Deployment web/back", "Available: 0/1"))
		case 10:
			sink.Emit(waiting("web", "Deployment web/front", "Available: 0/1: Pod web/front-1 cannot be scheduled:\nno node"))
		case 80:
			sink.Emit(waiting("web", "Deployment web/front", ""))
		case 90:
			sink.Emit(waiting("web", "Deployment web/back", ""))
		}
	})
	want := []string{
		"web: waiting for Deployment web/front: Available: 0/1 (and 1 more) (2.0 s)",
		"web: waiting for Deployment web/front: Available: 0/1: Pod web/front-1 cannot be scheduled: no node (and 1 more) (12 s)",
		"web: waiting for Deployment web/front: Available: 0/1: Pod web/front-1 cannot be scheduled: no node (and 1 more) (42 s)",
		"web: waiting for Deployment web/front: Available: 0/1: Pod web/front-1 cannot be scheduled: no node (and 1 more) (1 min 12 s)",
		"web: waiting for Deployment web/back: Available: 0/1 (1 min 22 s)",
	}
	lines := strings.Split(strings.TrimSpace(got), "\n")
	if len(lines) < len(want) || strings.Join(lines[:len(want)], "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", got)
	}
	for _, line := range lines[len(want):] {
		if line != "install  still at work: web" {
			t.Errorf("after the wait there is %q", line)
		}
	}
}

// TestWaitingOnTheLiveLine: a terminal shows in turn what each item waits for, and in
// full what lasts.
func TestWaitingOnTheLiveLine(t *testing.T) {
	long := "Available: 0/1: Pod web/front-1 cannot be scheduled: " + strings.Repeat("0/2 nodes are available ", 5)
	got := watch(TextOptions{Terminal: true}, 30, func(sink *Text, second int) {
		if second == 0 {
			sink.Emit(waiting("web", "Deployment web/front", long))
			sink.Emit(waiting("db", "StatefulSet db/db", "Ready: 0/1"))
		}
	})
	if strings.Contains(got, "0 B") || strings.Contains(got, "no data") {
		t.Errorf("bytes are counted where there are none:\n%q", got)
	}
	for _, part := range []string{"install  1.0 s  web: waiting for Deployment", "db: waiting for StatefulSet db/db: Ready: 0/1", "install  20 s  "} {
		if !strings.Contains(got, part) {
			t.Errorf("%q is missing in\n%q", part, got)
		}
	}
	if n := strings.Count(strings.ReplaceAll(got, "\n", " "), "db: waiting for StatefulSet db/db: Ready: 0/1 (15 s)"); n != 1 {
		t.Errorf("what lasts is told %d times:\n%q", n, got)
	}
}

// TestAnEndedItemWaitsNoMore, whether or not it was said.
func TestAnEndedItemWaitsNoMore(t *testing.T) {
	sink := NewText(&bytes.Buffer{}, &bytes.Buffer{}, TextOptions{Quiet: true})
	for i := range 5 {
		item := fmt.Sprint(i)
		sink.Emit(waiting(item, "Pod a/b", "soon"))
		sink.Emit(event.Event{Kind: event.End, Item: item})
	}
	sink.Emit(waiting("", "the probe", "soon"))
	sink.Emit(event.Event{Kind: event.End})
	sink.Close()
	if len(sink.waits) != 0 {
		t.Errorf("%d are kept", len(sink.waits))
	}
}

// TestNothingOfAnItemIsWaitedFor: an item whose change failed has other things to do than
// to wait for what the change lacked.
func TestNothingOfAnItemIsWaitedFor(t *testing.T) {
	got := watch(TextOptions{}, 20, func(sink *Text, second int) {
		switch second {
		case 0:
			sink.Emit(waiting("web", "Deployment web/front", "Available: 0/1"))
			sink.Emit(waiting("web", "Deployment web/back", "Available: 0/1"))
			sink.Emit(waiting("db", "StatefulSet db/db", "Ready: 0/1"))
		case 5:
			sink.Emit(waiting("web", "", ""))
			sink.Emit(waiting("web", "what it was before", "the change failed and is taken back"))
		}
	})
	want := []string{
		"web: waiting for Deployment web/front: Available: 0/1 (and 1 more) (2.0 s)",
		"db: waiting for StatefulSet db/db: Ready: 0/1 (2.0 s)",
		"web: waiting for what it was before: the change failed and is taken back (2.0 s)",
	}
	if text := strings.TrimSpace(got); text != strings.Join(want, "\n") {
		t.Errorf("got\n%s", text)
	}
}

func TestQuietSaysNothingOfWaiting(t *testing.T) {
	got := watch(TextOptions{Quiet: true}, 60, func(sink *Text, _ int) { sink.Emit(waiting("web", "Pod a/b", "soon")) })
	if got != "" {
		t.Errorf("%q", got)
	}
}
