package output

import (
	"fmt"
	"strings"

	"github.com/caisson/caisson/internal/event"
)

// Finding writes a finding as lines of at most width columns: what was found,
// then where, why and what to do.
func Finding(f event.Finding, s Style, width int) []string {
	head := s.Dim("note:")
	plain := len("note: ")
	switch f.Severity {
	case event.Error:
		head, plain = s.Red("error:"), len("error: ")
	case event.Warn:
		head, plain = s.Yellow("warning:"), len("warning: ")
	}
	var lines []string
	for i, part := range Wrap(Clean(f.What), width-plain) {
		if i == 0 {
			lines = append(lines, head+" "+part)
		} else {
			lines = append(lines, strings.Repeat(" ", plain)+part)
		}
	}
	return append(lines, detailLines(f, width, true)...)
}

// detailLines are the lines below a finding's head.
func detailLines(f event.Finding, width int, whatShown bool) []string {
	var lines []string
	add := func(label, text string) {
		if text == "" {
			return
		}
		for i, part := range Wrap(Clean(text), width-labelColumn) {
			if i > 0 {
				label = ""
			}
			lines = append(lines, fmt.Sprintf("  %-*s%s", labelColumn-2, label, part))
		}
	}
	if !whatShown {
		add("found", f.What)
	}
	add("item", f.Item)
	add("blob", f.Blob)
	add("where", volumeRange(f))
	add("why", f.Why)
	add("do", f.Hint)
	return append(lines, pasteLines(f.Paste)...)
}

// pasteLines are lines to be copied: nothing is added to them, and none is broken.
func pasteLines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimRight(Clean(text), "\n"), "\n")
}

func volumeRange(f event.Finding) string {
	switch {
	case f.Volume == "":
		return ""
	case f.Length > 0:
		return fmt.Sprintf("%s, %d bytes at offset %d", f.Volume, f.Length, f.Offset)
	}
	return f.Volume
}
