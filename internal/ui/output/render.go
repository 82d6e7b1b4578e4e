// Package output turns the events of any verb into text for people or JSON
// lines for programs.
//
// It holds the two sinks and the words for durations and counts. It never knows
// what a verb does, drops nothing but progress, and keeps no more of a stream
// than what it draws.
package output

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Duration writes a duration as a person would say it: 0.4 s, 12 s, 3 min 5 s,
// 2 h 10 min.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// Count writes a number with the right form of a noun: 1 image, 2 images.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Fit shortens s to width columns by taking out its middle, where names are
// least telling.
func Fit(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	if width < 4 {
		return string(r[:max(width, 0)])
	}
	head := (width - 3) / 2
	return string(r[:head]) + "..." + string(r[len(r)-(width-3-head):])
}

// Clean makes foreign text safe for a terminal: control characters, escape
// sequences among them, and bytes that are not UTF-8 become '?'. Line ends stay.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return '?'
		}
		return r
	}, s)
}

// Wrap breaks text into lines of at most width columns at its spaces. A word
// that is longer has a line of its own.
func Wrap(text string, width int) []string {
	var lines []string
	for _, paragraph := range strings.Split(text, "\n") {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
				lines = append(lines, line)
				line = ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		lines = append(lines, line)
	}
	return lines
}
