package output

// Style colours text, or leaves it alone.
type Style struct{ On bool }

func (s Style) paint(code, text string) string {
	if !s.On || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Red is for what went wrong, and for checks that were skipped.
func (s Style) Red(text string) string { return s.paint("31;1", text) }

// Yellow is for what needs a look.
func (s Style) Yellow(text string) string { return s.paint("33;1", text) }

// Green is for what was proven or done.
func (s Style) Green(text string) string { return s.paint("32", text) }

// Bold is for names and headings.
func (s Style) Bold(text string) string { return s.paint("1", text) }

// Dim is for what matters least.
func (s Style) Dim(text string) string { return s.paint("2", text) }
