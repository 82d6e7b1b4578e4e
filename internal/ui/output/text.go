package output

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/caisson/caisson/internal/bytesize"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/listing"
)

const (
	redraw      = 200 * time.Millisecond // of the live line
	plainEvery  = 10 * time.Second       // progress lines without a terminal
	plainWidth  = 80
	labelColumn = 9 // of findings: "  where  "
)

// TextOptions say how text is written; the zero value is plain and complete.
type TextOptions struct {
	Verb     string           // of events that name none
	Terminal bool             // the progress writer is one: a live line is drawn
	Width    func() int       // columns of it; nil: 80
	Style    Style            // of the progress writer
	OutStyle Style            // of the result writer
	Quiet    bool             // findings, warnings and results only
	Now      func() time.Time // nil: time.Now
}

// Text writes events for people: progress and remarks to one writer, findings
// to another. It is safe for concurrent use. Close ends the live line.
type Text struct {
	out, err io.Writer
	opt      TextOptions

	mu     sync.Mutex
	all    meter             // the verb as a whole
	whole  bool              // the verb counts as a whole
	items  map[string]*meter // open items that count
	open   []string          // items begun and not ended, oldest first
	waits  waits             // what items wait for
	drawn  bool              // a live line is on the screen
	paused bool
	spoke  time.Time // last plain progress line
	verb   string
	stop   chan struct{}
	done   chan struct{}
}

// NewText makes a sink. Results and findings go to out, everything else to err.
func NewText(out, err io.Writer, opt TextOptions) *Text {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Width == nil {
		opt.Width = func() int { return plainWidth }
	}
	t := &Text{out: out, err: err, opt: opt, items: map[string]*meter{}, verb: opt.Verb,
		stop: make(chan struct{}), done: make(chan struct{}), spoke: opt.Now()}
	go t.redrawUntilClosed()
	return t
}

// redrawUntilClosed redraws while nothing happens, so that a stall shows.
func (t *Text) redrawUntilClosed() {
	defer close(t.done)
	ticker := time.NewTicker(redraw)
	defer ticker.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-ticker.C:
			t.mu.Lock()
			t.showProgress()
			t.mu.Unlock()
		}
	}
}

// Close removes the live line and stops drawing. Events may still come; they
// are written as lines.
func (t *Text) Close() {
	t.mu.Lock()
	select {
	case <-t.stop:
		t.mu.Unlock()
		return
	default:
	}
	close(t.stop)
	t.clearLine()
	t.paused = true
	t.mu.Unlock()
	<-t.done
}

// Pause calls f while nothing is drawn, for a question to the operator.
func (t *Text) Pause(f func()) {
	t.mu.Lock()
	t.clearLine()
	was := t.paused
	t.paused = true
	t.mu.Unlock()
	f()
	t.mu.Lock()
	t.paused = was
	t.mu.Unlock()
}

// Emit writes e.
func (t *Text) Emit(e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e = completeEvent(e, t.opt.Verb)
	t.verb = e.Verb
	switch e.Kind {
	case event.Start:
		t.showStart(e)
	case event.Progress:
		t.showState(e)
	case event.Info:
		t.showInfo(e)
	case event.Warning:
		t.showWarning(e)
	case event.Retry:
		t.sayWrapped(t.opt.Style.Yellow("retry:")+" ", len("retry: "), describeEvent(e))
	case event.FindingKind:
		t.showFinding(e)
	case event.End:
		t.showEnd(e)
	}
}

func (t *Text) showStart(e event.Event) {
	if e.Item == "" {
		if e.Message != "" {
			t.sayUnlessQuiet(t.opt.Style.Bold(e.Verb) + "  " + Clean(e.Message))
		}
		return
	}
	t.open = append(t.open, e.Item)
	if e.Total > 0 {
		t.items[e.Item] = &meter{total: e.Total, moved: t.opt.Now()}
	}
}

func (t *Text) showEnd(e event.Event) {
	t.waits.drop(e.Item)
	if e.Item == "" {
		t.clearLine()
		return
	}
	t.closeItem(e.Item)
	size := ""
	if e.Bytes > 0 {
		size = bytesize.Text(e.Bytes)
	}
	note := Clean(e.Message)
	if note != "" {
		note = "  " + note
	}
	width := t.lineWidth() - len(size) - len([]rune(note)) - 5
	t.sayUnlessQuiet(strings.TrimRight(fmt.Sprintf("  %-*s%s  %s", max(width, 20), Fit(Clean(e.Item), max(width, 20)), note, size), " "))
}

func (t *Text) closeItem(item string) {
	delete(t.items, item)
	for i, open := range t.open {
		if open == item {
			t.open = append(t.open[:i], t.open[i+1:]...)
			return
		}
	}
}

// showState notes how far something has come.
func (t *Text) showState(e event.Event) {
	if e.Wait != nil {
		t.waits.note(e.Item, *e.Wait, t.opt.Now())
		return
	}
	t.countBytes(e)
}

func (t *Text) countBytes(e event.Event) {
	m := &t.all
	if e.Item != "" {
		if m = t.items[e.Item]; m == nil {
			m = &meter{}
			t.items[e.Item] = m
		}
	} else {
		t.whole = true
	}
	m.set(e.Bytes, e.Total, t.opt.Now())
}

// showInfo writes a fact. A line of an access log stays one line.
func (t *Text) showInfo(e event.Event) {
	switch {
	case t.opt.Quiet:
	case e.Fields["method"] != nil:
		t.sayLine(describeAccess(e))
	default:
		t.sayWrapped("", 0, describeEvent(e))
	}
}

func describeAccess(e event.Event) string {
	line := fmt.Sprintf("%s %v %v %v %s", e.Time.Format(time.TimeOnly), e.Fields["method"], e.Fields["status"], e.Fields["path"], bytesize.Text(e.Bytes))
	return Clean(line)
}

// describeEvent is an event's message, led by its item where the message does not name
// it.
func describeEvent(e event.Event) string {
	if e.Item == "" || strings.Contains(e.Message, e.Item) {
		return Clean(e.Message)
	}
	return Clean(e.Item + ": " + e.Message)
}

func (t *Text) showWarning(e event.Event) {
	t.sayWrapped(t.opt.Style.Yellow("warning:")+" ", len("warning: "), describeEvent(e))
	if f := e.Finding; f != nil {
		for _, line := range detailLines(*f, t.lineWidth(), f.What == e.Message) {
			t.sayLine(line)
		}
	}
}

func (t *Text) showFinding(e event.Event) {
	if e.Finding == nil {
		return
	}
	t.clearLine()
	for _, line := range Finding(*e.Finding, t.opt.OutStyle, t.lineWidth()) {
		fmt.Fprintln(t.out, line)
	}
}

// sayUnlessQuiet writes a line that --quiet leaves out.
func (t *Text) sayUnlessQuiet(line string) {
	if !t.opt.Quiet {
		t.sayLine(line)
	}
}

func (t *Text) sayLine(line string) {
	t.clearLine()
	fmt.Fprintln(t.err, line)
}

// sayWrapped writes text after a head, on a terminal in lines that fit it.
func (t *Text) sayWrapped(head string, indent int, text string) {
	if !t.opt.Terminal {
		t.sayLine(head + text)
		return
	}
	for i, part := range Wrap(text, t.lineWidth()-indent-1) {
		if i > 0 {
			head = strings.Repeat(" ", indent)
		}
		t.sayLine(head + part)
	}
}

// Print writes to the result writer, the live line out of the way.
func (t *Text) Print(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clearLine()
	fmt.Fprint(t.out, text)
}

func (t *Text) lineWidth() int {
	if w := t.opt.Width(); w >= 40 {
		return w
	}
	return plainWidth
}

// showProgress draws the live line, or now and then a plain one.
func (t *Text) showProgress() {
	if t.paused || t.opt.Quiet {
		return
	}
	t.tellWaits()
	line := t.liveLine()
	if line == "" {
		return
	}
	if t.opt.Terminal {
		fmt.Fprint(t.err, "\r\x1b[K"+line)
		t.drawn = true
		return
	}
	if now := t.opt.Now(); now.Sub(t.spoke) >= plainEvery && t.waits.isEmpty() {
		t.spoke = now
		fmt.Fprintln(t.err, t.plainLine(line))
	}
}

// liveLine is the state of the verb in one line: the whole where it is counted, else
// what an item waits for, else the item that has been open longest.
func (t *Text) liveLine() string {
	if w := t.waits.current(t.opt.Now()); w != nil && !(t.whole && t.all.counts()) {
		line := t.verb + "  " + Duration(t.opt.Now().Sub(w.since)) + "  "
		return line + Fit(w.words(), max(t.lineWidth()-1-len([]rune(line)), 0))
	}
	name := ""
	if len(t.open) > 0 {
		name = t.open[0]
	}
	m := t.items[name]
	if t.whole {
		m = &t.all
	}
	if m == nil && name == "" {
		return ""
	}
	line := t.verb
	if m != nil && m.counts() {
		line += "  " + m.words(t.opt.Now())
	}
	if room := t.lineWidth() - 1 - len([]rune(line)) - 2; name != "" && room >= 12 {
		line += "  " + Fit(Clean(name), room)
	}
	return Fit(line, t.lineWidth()-1)
}

// plainLine is what is told now and then without a terminal: all items that are open,
// where nothing is counted.
func (t *Text) plainLine(line string) string {
	if t.whole || len(t.open) == 0 || len(t.items) > 0 {
		return line
	}
	names := make([]string, len(t.open))
	for i, name := range t.open {
		names[i] = Clean(name)
	}
	return t.verb + "  still at work: " + listing.Some(names, 5)
}

func (t *Text) clearLine() {
	if t.drawn {
		fmt.Fprint(t.err, "\r\x1b[K")
		t.drawn = false
	}
}
