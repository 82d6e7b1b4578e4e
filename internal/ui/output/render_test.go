package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caisson/caisson/internal/event"
)

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "0 s", 400 * time.Millisecond: "0.4 s", 12 * time.Second: "12 s", 185 * time.Second: "3 min 5 s", 130 * time.Minute: "2 h 10 min",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestFit(t *testing.T) {
	for width := range 30 {
		got := Fit("ghcr.io/acme/wéb:1.2.3@sha256", width)
		if utf8.RuneCountInString(got) > width || !utf8.ValidString(got) {
			t.Errorf("Fit to %d gives %q", width, got)
		}
	}
	if got := Fit("abcdefghij", 8); got != "ab...hij" {
		t.Errorf("got %q", got)
	}
}

func TestCleanTakesTheTerminalAway(t *testing.T) {
	in := "a\x1b[31mred\x07\u009b2J\u202eevil\r\xff\tend\nnext"
	if got := Clean(in); got != "a?[31mred??2J?evil?? end\nnext" {
		t.Errorf("got %q", got)
	}
}

func TestWrap(t *testing.T) {
	for _, line := range Wrap(strings.Repeat("word and more ", 20), 30) {
		if len(line) > 30 {
			t.Errorf("%q is longer than 30", line)
		}
	}
	if got := Wrap(strings.Repeat("x", 50)+" y", 10); len(got) != 2 {
		t.Errorf("got %q", got)
	}
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func TestMeter(t *testing.T) {
	now := time.Unix(0, 0)
	var m meter
	m.set(0, 1000<<20, now)
	for range 100 {
		now = now.Add(100 * time.Millisecond)
		m.set(m.done+1<<20, m.total, now)
	}
	if got := m.words(now); got != "10 %  100 MiB of 1000 MiB  10.0 MiB/s  1 min 30 s left" {
		t.Errorf("got %q", got)
	}
	if n := len(m.samples); n > 110 {
		t.Errorf("%d samples kept", n)
	}
	now = now.Add(stallAfter)
	if got := m.words(now); got != "10 %  100 MiB of 1000 MiB  no data for 10 s" {
		t.Errorf("got %q", got)
	}
	m.set(m.total, m.total, now)
	if got := m.words(now.Add(time.Hour)); strings.Contains(got, "no data") {
		t.Errorf("done, yet %q", got)
	}
}

func TestMeterWithoutATotal(t *testing.T) {
	var m meter
	m.set(5<<20, 0, time.Unix(0, 0))
	if got := m.words(time.Unix(0, 0)); got != "5.00 MiB" {
		t.Errorf("got %q", got)
	}
}

// text runs events through a sink without a live line.
func text(opt TextOptions, events ...event.Event) (out, err string) {
	var o, e bytes.Buffer
	sink := NewText(&o, &e, opt)
	for _, ev := range events {
		sink.Emit(ev)
	}
	sink.Close()
	return o.String(), e.String()
}

func TestText(t *testing.T) {
	finding := event.Finding{Severity: event.Error, What: "block 3 of 7 differs", Why: "the medium lost bytes", Hint: "copy volume 0 again",
		Item: "ghcr.io/acme/web:1", Volume: "demo.vol-00000.tar", Offset: 4096, Length: 512}
	events := []event.Event{
		{Verb: "verify", Kind: event.Start, Message: "demo"},
		{Kind: event.Start, Item: "a", Total: 10},
		{Kind: event.Progress, Item: "a", Bytes: 5, Total: 10},
		{Kind: event.Info, Message: "something"},
		{Kind: event.Warning, Item: "b", Message: "look at this"},
		{Kind: event.Retry, Item: "c", Message: "again \x1b[2J"},
		{Kind: event.FindingKind, Finding: &finding},
		{Kind: event.End, Item: "a", Bytes: 10},
		{Verb: "verify", Kind: event.End},
		{Kind: event.Result, Message: "not shown"},
	}
	out, err := text(TextOptions{Verb: "verify"}, events...)
	wantOut := "error: block 3 of 7 differs\n" +
		"  item   ghcr.io/acme/web:1\n" +
		"  where  demo.vol-00000.tar, 512 bytes at offset 4096\n" +
		"  why    the medium lost bytes\n" +
		"  do     copy volume 0 again\n"
	if out != wantOut {
		t.Errorf("out:\n%s\nwant:\n%s", out, wantOut)
	}
	wantErr := "verify  demo\nsomething\nwarning: b: look at this\nretry: c: again ?[2J\n  a" + strings.Repeat(" ", 72) + "10 B\n"
	if err != wantErr {
		t.Errorf("err:\n%q\nwant:\n%q", err, wantErr)
	}
	out, err = text(TextOptions{Quiet: true}, events...)
	if out != wantOut || strings.Contains(err, "something") || !strings.Contains(err, "warning: b") {
		t.Errorf("quiet: out %q, err %q", out, err)
	}
}

func TestTextKeepsToTheWidth(t *testing.T) {
	long := strings.Repeat("very-long-name/", 20)
	var o, e bytes.Buffer
	sink := NewText(&o, &e, TextOptions{Terminal: true})
	sink.Emit(event.Event{Verb: "pack", Kind: event.Start, Item: long, Total: 100 << 30})
	sink.Emit(event.Event{Verb: "pack", Kind: event.Progress, Bytes: 1 << 30, Total: 100 << 30})
	sink.mu.Lock()
	sink.showProgress()
	sink.mu.Unlock()
	sink.Emit(event.Event{Verb: "pack", Kind: event.End, Item: long, Bytes: 100 << 30})
	sink.Emit(event.Event{Verb: "pack", Kind: event.Warning, Message: strings.Repeat("some words ", 30)})
	sink.Emit(event.Event{Verb: "pack", Kind: event.Info, Message: strings.Repeat("some words ", 30)})
	sink.Emit(event.Event{Verb: "pack", Kind: event.FindingKind, Finding: &event.Finding{What: strings.Repeat("some words ", 30), Hint: strings.Repeat("some words ", 30)}})
	sink.Close()
	escape := regexp.MustCompile("\r|\x1b\\[K")
	for _, line := range strings.Split(escape.ReplaceAllString(o.String()+e.String(), "\n"), "\n") {
		if utf8.RuneCountInString(line) > 80 {
			t.Errorf("%d columns: %q", utf8.RuneCountInString(line), line)
		}
	}
	if !strings.HasPrefix(e.String(), "\r\x1b[Kpack   1 %  1.00 GiB of 100 GiB") {
		t.Errorf("live line: %q", e.String())
	}
}

func TestPlainProgressIsRare(t *testing.T) {
	c := &clock{at: time.Unix(0, 0)}
	var o, e bytes.Buffer
	sink := NewText(&o, &e, TextOptions{Verb: "pack", Now: c.now})
	for i := range 100 {
		c.move(time.Second)
		sink.Emit(event.Event{Kind: event.Start, Item: "a"})
		sink.Emit(event.Event{Kind: event.Progress, Bytes: int64(i), Total: 100})
		sink.mu.Lock()
		sink.showProgress()
		sink.mu.Unlock()
	}
	sink.Close()
	if n := strings.Count(e.String(), "\n"); n < 9 || n > 11 {
		t.Errorf("%d lines in 100 seconds:\n%s", n, e.String())
	}
}

func TestPlainProgressNamesAllThatIsAtWork(t *testing.T) {
	c := &clock{at: time.Unix(0, 0)}
	var o, e bytes.Buffer
	sink := NewText(&o, &e, TextOptions{Verb: "install", Now: c.now})
	for _, item := range []string{"cert-manager", "jobset", "kserve-crd", "valkey"} {
		sink.Emit(event.Event{Kind: event.Start, Item: item})
	}
	sink.Emit(event.Event{Kind: event.End, Item: "jobset", Message: "ready"})
	c.move(plainEvery)
	sink.mu.Lock()
	sink.showProgress()
	sink.mu.Unlock()
	sink.Close()
	if want := "install  still at work: cert-manager, kserve-crd, valkey\n"; !strings.HasSuffix(e.String(), want) {
		t.Errorf("got %q, want %q at the end", e.String(), want)
	}
}

func TestPauseKeepsTheScreen(t *testing.T) {
	var o, e bytes.Buffer
	sink := NewText(&o, &e, TextOptions{Terminal: true})
	sink.Emit(event.Event{Verb: "pack", Kind: event.Progress, Bytes: 1, Total: 2})
	sink.Emit(event.Event{Verb: "pack", Kind: event.Start, Item: "a"})
	sink.Pause(func() {
		before := e.Len()
		sink.mu.Lock()
		sink.showProgress()
		sink.mu.Unlock()
		if e.Len() != before {
			t.Error("drawn while paused")
		}
	})
	sink.Close()
	sink.Close()
}

func TestTextFromManyGoroutines(t *testing.T) {
	var o, e bytes.Buffer
	sink := NewText(&o, &e, TextOptions{Verb: "pack"})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				item := fmt.Sprint(g, "-", i)
				sink.Emit(event.Event{Kind: event.Start, Item: item, Total: 10})
				sink.Emit(event.Event{Kind: event.Progress, Item: item, Bytes: 5, Total: 10})
				sink.Emit(event.Event{Kind: event.End, Item: item, Bytes: 10})
			}
		})
	}
	wg.Wait()
	sink.Close()
	if n := strings.Count(e.String(), "10 B\n"); n != 800 {
		t.Errorf("%d items ended, want 800", n)
	}
	if len(sink.items) != 0 || len(sink.open) != 0 {
		t.Errorf("kept %d meters and %d names", len(sink.items), len(sink.open))
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	sink := NewJSON(&b, "pack")
	at := time.Unix(1, 0)
	for i := range 50 {
		sink.Emit(event.Event{Time: at.Add(time.Duration(i) * 100 * time.Millisecond), Kind: event.Progress, Item: "a", Bytes: int64(i)})
	}
	sink.Emit(event.Event{Kind: event.FindingKind, Finding: &event.Finding{What: "<x> & y"}})
	sink.Emit(event.Event{Kind: event.End, Item: "a"})
	var kinds []string
	for dec := json.NewDecoder(&b); dec.More(); {
		var e event.Event
		if err := dec.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if e.Verb != "pack" || e.Time.IsZero() {
			t.Errorf("incomplete: %+v", e)
		}
		kinds = append(kinds, string(e.Kind))
	}
	if got := strings.Join(kinds, " "); got != "progress progress progress progress progress finding end" {
		t.Errorf("got %s", got)
	}
	if len(sink.last) != 0 {
		t.Error("an ended item is remembered")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, fmt.Errorf("no") }

func TestJSONRemembersItsFirstError(t *testing.T) {
	sink := NewJSON(broken{}, "x")
	sink.Emit(event.Event{Kind: event.Info})
	if sink.Err() == nil {
		t.Error("no error")
	}
}
