package output

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caisson/caisson/internal/event"
)

// Page is what came of a verb, for people: blocks from top to bottom. It holds
// words and no layout, so that a terminal, a file or a wizard can each show it
// in its own way. The zero value is empty.
type Page struct{ Blocks []Block }

// Block is a part of a page: Line, Facts, Table, Paragraph, Found or Next.
type Block interface {
	// write adds the block's lines of at most width columns, where it can be broken.
	write(b *strings.Builder, s Style, width int)
}

// Look says how a piece of text stands out.
type Look int

const (
	Plain   Look = iota
	Strong       // names and headings
	Good         // what was proven or done
	Bad          // what went wrong, and checks that were skipped
	Caution      // what needs a look
)

// Span is a piece of a line.
type Span struct {
	Text string
	Look Look
}

// Say makes a plain span.
func Say(format string, args ...any) Span { return Span{Text: fmt.Sprintf(format, args...)} }

// Name makes a span of a name or a heading.
func Name(text string) Span { return Span{text, Strong} }

// Line is one line, which is never broken. Without a span it is empty.
type Line []Span

// Facts are label and value pairs in two columns; pairs without a value are left
// out.
type Facts []Fact

// Fact is one of Facts.
type Fact struct{ Label, Value string }

// Table is rows in columns. The first column gives way where a row is wider than
// the page; the columns that Right counts are aligned right.
type Table struct {
	Rows  [][]string
	Right []int
}

// Paragraph is text that may take several lines. First and Rest stand before its
// first line and before the others.
type Paragraph struct {
	First, Rest string
	Text        string
	Cut         bool // a word that is longer than a line loses its middle
}

// Found shows findings, indented.
type Found []event.Finding

// Next is the command that usually follows.
type Next string

// Add appends blocks.
func (p *Page) Add(blocks ...Block) { p.Blocks = append(p.Blocks, blocks...) }

// Line appends a line of spans.
func (p *Page) Line(spans ...Span) { p.Add(Line(spans)) }

// Say appends a plain line.
func (p *Page) Say(format string, args ...any) { p.Line(Say(format, args...)) }

// Heading appends an empty line and a heading.
func (p *Page) Heading(text string) {
	p.Line()
	p.Line(Name(text))
}

// Next appends the command that usually follows.
func (p *Page) Next(format string, args ...any) { p.Add(Next(fmt.Sprintf(format, args...))) }

// Text lays the page out in lines of at most width columns, as far as they can be
// broken.
func (p *Page) Text(s Style, width int) string {
	var b strings.Builder
	for _, block := range p.Blocks {
		block.write(&b, s, width)
	}
	return b.String()
}

// writeLine ends a line, without spaces before its end.
func writeLine(b *strings.Builder, text string) {
	b.WriteString(strings.TrimRight(text, " ") + "\n")
}

func (l Line) write(b *strings.Builder, s Style, _ int) {
	text := ""
	for _, span := range l {
		text += s.showSpan(span)
	}
	writeLine(b, text)
}

// showSpan colours a span by its look.
func (s Style) showSpan(span Span) string {
	switch span.Look {
	case Strong:
		return s.Bold(span.Text)
	case Good:
		return s.Green(span.Text)
	case Bad:
		return s.Red(span.Text)
	case Caution:
		return s.Yellow(span.Text)
	}
	return span.Text
}

func (f Facts) write(b *strings.Builder, _ Style, _ int) {
	longest := 0
	for _, fact := range f {
		if fact.Value != "" {
			longest = max(longest, utf8.RuneCountInString(fact.Label))
		}
	}
	for _, fact := range f {
		if fact.Value != "" {
			writeLine(b, fmt.Sprintf("  %-*s  %s", longest, fact.Label, Clean(fact.Value)))
		}
	}
}

func (t Table) write(b *strings.Builder, _ Style, width int) {
	if len(t.Rows) == 0 {
		return
	}
	widths := t.columnWidths(width)
	for _, row := range t.Rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = padCell(Fit(Clean(c), widths[i]), widths[i], slices.Contains(t.Right, i))
		}
		writeLine(b, "  "+strings.Join(cells, "  "))
	}
}

func (t Table) columnWidths(page int) []int {
	widths := make([]int, len(t.Rows[0]))
	total := 2 * len(widths)
	for _, row := range t.Rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, w := range widths {
		total += w
	}
	if over := total - page; over > 0 {
		widths[0] = max(widths[0]-over, 16)
	}
	return widths
}

func padCell(s string, width int, right bool) string {
	space := strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
	if right {
		return space + s
	}
	return s + space
}

func (p Paragraph) write(b *strings.Builder, _ Style, width int) {
	room, before := width-utf8.RuneCountInString(p.Rest), p.First
	for _, part := range Wrap(Clean(p.Text), room) {
		if p.Cut {
			part = Fit(part, room)
		}
		writeLine(b, before+part)
		before = p.Rest
	}
}

func (f Found) write(b *strings.Builder, s Style, width int) {
	for _, one := range f {
		for _, line := range Finding(one, s, width-2) {
			writeLine(b, "  "+line)
		}
	}
}

func (n Next) write(b *strings.Builder, s Style, _ int) {
	writeLine(b, s.Bold("next:")+" "+string(n))
}
