package report

import (
	"time"

	"github.com/caisson/caisson/internal/api/journal"
)

// chart is the drawing of one run: a bar for each component.
type chart struct {
	Run    *journal.Run
	Height float64
	Bars   []bar
	Ticks  []tick
}

type bar struct {
	rect
	Component journal.Component
	TextX     float64
}

type tick struct {
	X      float64
	Text   string
	Anchor string // where the text lies about X, in SVG's words
}

// Measures of the drawing, in its own units; it is mapWidth wide.
const (
	barLeft   = 170
	barHeight = 18
	barGap    = 8
	barTop    = 24
)

// lastChange is the newest run that did something to a component, or nil.
func lastChange(runs []journal.Run) *journal.Run {
	for i := len(runs) - 1; i >= 0; i-- {
		for _, c := range runs[i].Components {
			if !c.Began.IsZero() {
				return &runs[i]
			}
		}
	}
	return nil
}

// timeline draws a run; nil for none.
func timeline(r *journal.Run) *chart {
	if r == nil {
		return nil
	}
	end := r.Ended
	for _, c := range r.Components {
		if c.Ended.After(end) {
			end = c.Ended
		}
	}
	span := end.Sub(r.Began).Seconds()
	if span <= 0 {
		return nil
	}
	scale := (mapWidth - barLeft - 10) / span
	c := &chart{Run: r}
	y := float64(barTop)
	for _, k := range r.Components {
		b := bar{Component: k, rect: rect{barLeft, y, 0, barHeight}}
		if !k.Began.IsZero() {
			stop := k.Ended
			if stop.IsZero() {
				stop = end
			}
			b.X += k.Began.Sub(r.Began).Seconds() * scale
			b.W = max(2, stop.Sub(k.Began).Seconds()*scale)
		}
		c.Bars = append(c.Bars, b)
		y += barHeight + barGap
	}
	c.Height = y
	for i := range 5 {
		at := span * float64(i) / 4
		t := tick{barLeft + at*scale, duration(r.Began, r.Began.Add(time.Duration(at*float64(time.Second)))), "middle"}
		if i == 4 {
			t.Anchor = "end"
		}
		c.Ticks = append(c.Ticks, t)
	}
	return c
}
