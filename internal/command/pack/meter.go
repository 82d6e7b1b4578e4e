package pack

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/bytesize"
	"github.com/caisson/caisson/internal/client/fetch"
	"github.com/caisson/caisson/internal/event"
)

const progressEvery = 100 * time.Millisecond

// meter counts bytes and speaks of them: for the verb as a whole and for each
// item, at most ten times a second each. A blob that several items share counts
// for the first of them.
type meter struct {
	sink event.Sink

	mu      sync.Mutex
	all     gauge
	items   map[string]*gauge
	fetched int64
	reused  int64
}

type gauge struct {
	done, total int64
	slots       int // still to be filled
	started     bool
	failed      bool
	spoke       time.Time
}

func newMeter(sink event.Sink, slots []lock.Slot) *meter {
	m := &meter{sink: sink, items: map[string]*gauge{}}
	for _, s := range slots {
		m.all.total += s.Size
		g := m.items[ownerOf(s)]
		if g == nil {
			g = &gauge{}
			m.items[ownerOf(s)] = g
		}
		g.total += s.Size
		g.slots++
	}
	return m
}

func ownerOf(s lock.Slot) string {
	if len(s.Items) == 0 {
		return s.Key
	}
	return string(s.Items[0])
}

// beginItem says that an item is being worked on, once.
func (m *meter) beginItem(item string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g := m.items[item]; !g.started {
		g.started = true
		m.sink.Emit(event.Event{Kind: event.Start, Item: item, Total: g.total})
	}
}

// countPresent counts bytes that are there without being fetched now.
func (m *meter) countPresent(item string, n int64) { m.count(item, n, 0) }

// countFetched counts bytes fetched.
func (m *meter) countFetched(item string, n int64) { m.count(item, n, n) }

// takeBack takes back bytes that were discarded; they stay fetched.
func (m *meter) takeBack(item string, n int64) { m.count(item, -n, 0) }

func (m *meter) count(item string, n, fetched int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fetched += fetched
	now := time.Now()
	m.items[item].add(m.sink, item, n, now)
	m.all.add(m.sink, "", n, now)
}

func (g *gauge) add(sink event.Sink, item string, n int64, now time.Time) {
	g.done += n
	if now.Sub(g.spoke) < progressEvery {
		return
	}
	g.spoke = now
	sink.Emit(event.Event{Kind: event.Progress, Item: item, Bytes: g.done, Total: g.total})
}

// endSlot counts one slot of the item as filled, and closes the item with its last.
func (m *meter) endSlot(item string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.items[item]
	if g.slots--; g.slots == 0 {
		m.sink.Emit(event.Event{Kind: event.End, Item: item, Bytes: g.done, Total: g.total})
	}
}

// markFailed notes that an item could not be filled.
func (m *meter) markFailed(item string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items[item].failed = true
}

// endUnfinished closes the items that were begun and are not complete, and says so of
// each: a row without a word would look like one that is done.
func (m *meter) endUnfinished() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, item := range slices.Sorted(maps.Keys(m.items)) {
		g := m.items[item]
		if !g.started || g.slots == 0 {
			continue
		}
		word := "interrupted"
		if g.failed {
			word = "failed"
		}
		m.sink.Emit(event.Event{
			Kind: event.End, Item: item, Total: g.total,
			Message: fmt.Sprintf("%s at %s of %s", word, bytesize.Text(g.done), bytesize.Text(g.total)),
			Fields:  map[string]any{"done": g.done, "state": word},
		})
		g.started = false
	}
}

// addReused counts bytes that came from an older bundle.
func (m *meter) addReused(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reused += n
}

// reusedBytes is how much payload came from older bundles.
func (m *meter) reusedBytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reused
}

// fetchedBytes is how much payload was fetched, discarded bytes included.
func (m *meter) fetchedBytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fetched
}

// metered is a destination whose bytes are counted. It keeps the error of the
// destination apart from those of the upstream.
type metered struct {
	dst  fetch.Dst
	m    *meter
	item string
	err  error
}

func (d *metered) Offset() int64 { return d.dst.Offset() }

func (d *metered) Write(p []byte) (int, error) {
	n, err := d.dst.Write(p)
	d.m.countFetched(d.item, int64(n))
	if err != nil {
		d.err = err
	}
	return n, err
}

// ReadFrom lets the destination read straight into its own buffers.
func (d *metered) ReadFrom(r io.Reader) (int64, error) {
	to, ok := d.dst.(io.ReaderFrom)
	if !ok {
		return io.Copy(writeOnly{d}, r)
	}
	return to.ReadFrom(counted{r, d})
}

type writeOnly struct{ io.Writer }

type counted struct {
	io.Reader
	*metered
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.m.countFetched(c.item, int64(n))
	return n, err
}

func (d *metered) Reset() error {
	d.m.takeBack(d.item, d.dst.Offset())
	err := d.dst.Reset()
	if err != nil {
		d.err = err
	}
	return err
}
