package output

import (
	"fmt"
	"strings"
	"time"

	"github.com/caisson/caisson/internal/bytesize"
)

const (
	window     = 8 * time.Second  // over which a rate is taken
	stallAfter = 10 * time.Second // without a byte
)

// meter follows one count of bytes: how far, how fast, since when not.
type meter struct {
	done, total int64
	samples     []sample // of the last window, oldest first
	moved       time.Time
}

type sample struct {
	at   time.Time
	done int64
}

// set notes a new count. The number of samples is bounded by taking at most one
// in a hundredth of the window.
func (m *meter) set(done, total int64, now time.Time) {
	if done != m.done || m.moved.IsZero() {
		m.moved = now
	}
	m.done, m.total = done, total
	if n := len(m.samples); n == 0 || now.Sub(m.samples[n-1].at) >= window/100 {
		m.samples = append(m.samples, sample{now, done})
	}
	m.trim(now)
}

func (m *meter) trim(now time.Time) {
	old := 0
	for old < len(m.samples)-1 && now.Sub(m.samples[old+1].at) > window {
		old++
	}
	m.samples = append(m.samples[:0], m.samples[old:]...)
}

// rate is bytes per second over the window; zero while too little is known.
func (m *meter) rate(now time.Time) float64 {
	if len(m.samples) == 0 {
		return 0
	}
	first := m.samples[0]
	span := now.Sub(first.at).Seconds()
	if span < 0.5 || m.done <= first.done {
		return 0
	}
	return float64(m.done-first.done) / span
}

func (m *meter) stalled(now time.Time) (time.Duration, bool) {
	if m.moved.IsZero() || (m.total > 0 && m.done >= m.total) {
		return 0, false
	}
	still := now.Sub(m.moved)
	return still, still >= stallAfter
}

// counts says whether there is a number to show.
func (m *meter) counts() bool { return m.total > 0 || m.done > 0 }

// words describes the meter: 43 %  1.20 GiB of 2.80 GiB  310 MiB/s  5 s left.
func (m *meter) words(now time.Time) string {
	var parts []string
	if m.total > 0 {
		parts = append(parts, fmt.Sprintf("%2d %%", min(100*m.done/m.total, 100)), bytesize.Text(m.done)+" of "+bytesize.Text(m.total))
	} else {
		parts = append(parts, bytesize.Text(m.done))
	}
	if still, ok := m.stalled(now); ok {
		return strings.Join(append(parts, "no data for "+Duration(still)), "  ")
	}
	if r := m.rate(now); r > 0 {
		parts = append(parts, bytesize.Text(int64(r))+"/s")
		if m.total > m.done {
			parts = append(parts, Duration(time.Duration(float64(m.total-m.done)/r*float64(time.Second)))+" left")
		}
	}
	return strings.Join(parts, "  ")
}
