package cli

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/caisson/caisson/internal/ui/output"
)

// page is the text of an outcome.
type page struct {
	b     strings.Builder
	style output.Style
	width int
}

func (p *page) String() string { return p.b.String() }

// line writes one line.
func (p *page) line(format string, args ...any) {
	p.b.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

func (p *page) blank() { p.b.WriteString("\n") }

// facts writes label and value pairs in two columns; pairs without a value are
// left out.
func (p *page) facts(pairs ...[2]string) {
	longest := 0
	for _, f := range pairs {
		if f[1] != "" {
			longest = max(longest, utf8.RuneCountInString(f[0]))
		}
	}
	for _, f := range pairs {
		if f[1] != "" {
			p.line("  %-*s  %s", longest, f[0], output.Clean(f[1]))
		}
	}
}

// table writes rows in columns, two spaces apart. The first column gives way
// where a row is wider than the page; the columns named right are aligned right.
func (p *page) table(rows [][]string, right ...int) {
	if len(rows) == 0 {
		return
	}
	widths := p.columns(rows)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = pad(output.Fit(output.Clean(c), widths[i]), widths[i], contains(right, i))
		}
		p.line("  %s", strings.Join(cells, "  "))
	}
}

func (p *page) columns(rows [][]string) []int {
	widths := make([]int, len(rows[0]))
	total := 2 * len(widths)
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, w := range widths {
		total += w
	}
	if over := total - p.width; over > 0 {
		widths[0] = max(widths[0]-over, 16)
	}
	return widths
}

func pad(s string, width int, right bool) string {
	space := strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
	if right {
		return space + s
	}
	return s + space
}

func contains(list []int, n int) bool {
	for _, x := range list {
		if x == n {
			return true
		}
	}
	return false
}
