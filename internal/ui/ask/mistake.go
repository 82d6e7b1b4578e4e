package ask

import "strings"

// Mistake is one answer that cannot be used, or one that is missing.
type Mistake struct {
	Field   string // its name; empty for arguments, and where it is about several
	Missing string // what must be said, where nothing was
	Text    string // else what is wrong
}

// Error lists every mistake in what was said to a command.
type Error struct{ Mistakes []Mistake }

// Error gives one line to what is missing and one to each other mistake.
func (e *Error) Error() string {
	var missing, lines []string
	for _, m := range e.Mistakes {
		if m.Missing != "" {
			missing = append(missing, m.Missing)
		} else {
			lines = append(lines, m.Text)
		}
	}
	if len(missing) > 0 {
		lines = append([]string{NeedsPrefix + strings.Join(missing, " and ")}, lines...)
	}
	return strings.Join(lines, "\n")
}

// NeedsPrefix begins the line of what is missing; the command's name fits before it.
const NeedsPrefix = "needs "

// checked collects what is wrong with answers.
type checked struct {
	mistakes []Mistake
	err      error // of the environment
}

// checkForm holds every answer against its field.
func checkForm(f Form) *checked {
	c := new(checked)
	if f.Arguments.count() < f.Arguments.Least {
		c.mistakes = append(c.mistakes, Mistake{Missing: f.Arguments.Words})
	}
	for _, field := range f.Fields {
		said, ok := field.Said()
		if field.Required && !ok {
			c.mistakes = append(c.mistakes, Mistake{Field: field.Name, Missing: field.Label()})
		}
		for _, text := range said {
			if field.check == nil {
				continue
			}
			if err := field.check(text); err != nil {
				c.refuse(field.Name, "--"+field.Name+": "+err.Error())
			}
		}
	}
	return c
}

// refuse notes a mistake.
func (c *checked) refuse(field, text string) {
	c.mistakes = append(c.mistakes, Mistake{Field: field, Text: text})
}

// refuseIf notes a mistake where it is one.
func (c *checked) refuseIf(wrong bool, field, text string) {
	if wrong {
		c.refuse(field, text)
	}
}

// finish returns the options, or every mistake, or else what is wrong with the
// environment.
func finish[T any](c *checked, options T) (T, error) {
	var none T
	switch {
	case len(c.mistakes) > 0:
		return none, &Error{c.mistakes}
	case c.err != nil:
		return none, c.err
	}
	return options, nil
}
