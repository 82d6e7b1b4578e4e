package lint

import "strings"

// scanCommands takes a script apart as far as telling which words begin a command
// needs it: quotes, comments, substitutions, here-documents. Anything is a script;
// what is no shell gives odd commands.
func scanCommands(script string) []command {
	p := &scanner{s: script, line: 1}
	p.list(0, 0)
	p.flush()
	for i := range p.out {
		p.out[i].text = strings.Join(p.out[i].words, " ")
	}
	return p.out
}

// scanner reads what no parser takes.
type scanner struct {
	s       string
	pos     int
	line    int
	out     []command
	cur     command
	pending []pendingBody
}

type pendingBody struct {
	delimiter string
	tabs      bool
	command   int
}

func (p *scanner) more() bool { return p.pos < len(p.s) && len(p.out) < maxCommands }

func (p *scanner) flush() {
	if len(p.cur.words) > 0 {
		p.out = append(p.out, p.cur)
	}
	p.cur = command{}
}

// list reads commands up to end: ')', '`' or, for 0, the end of the text.
func (p *scanner) list(end byte, depth int) {
	for p.more() {
		switch c := p.s[p.pos]; c {
		case '\n':
			p.pos++
			p.flush()
			p.line++
			p.bodies()
		case ' ', '\t', '\r':
			p.pos++
		case '#':
			p.comment()
		case '\\':
			if strings.HasPrefix(p.s[p.pos:], "\\\n") {
				p.pos += 2
				p.line++
			} else {
				p.word(end, depth)
			}
		case '<':
			p.redirect()
		case '>':
			p.pos++
			p.duplicate()
		case ';', '&', '|', '(', '{', '}':
			p.pos++
			p.flush()
		case ')', '`':
			p.pos++
			if c == end {
				return
			}
			p.flush()
			if c == '`' && depth < maxNesting {
				p.nested('`', depth)
			}
		default:
			p.word(end, depth)
		}
	}
}

// nested reads a substitution as commands of their own.
func (p *scanner) nested(end byte, depth int) {
	outer := p.cur
	p.cur = command{}
	p.list(end, depth+1)
	p.flush()
	p.cur = outer
}

func (p *scanner) comment() {
	if i := strings.IndexByte(p.s[p.pos:], '\n'); i >= 0 {
		p.pos += i
	} else {
		p.pos = len(p.s)
	}
}

// duplicate skips what follows the > of 2>&1, and forgets the number before it.
func (p *scanner) duplicate() {
	if p.pos >= len(p.s) || p.s[p.pos] != '&' {
		return
	}
	last := len(p.cur.words) - 1
	if last >= 0 && p.pos >= 2 && isDigit(p.s[p.pos-2]) && strings.Trim(p.cur.words[last], "0123456789") == "" {
		p.cur.words = p.cur.words[:last]
	}
	for p.pos++; p.pos < len(p.s) && (isDigit(p.s[p.pos]) || p.s[p.pos] == '-'); p.pos++ {
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// redirect handles '<': a here-document, a here-string or a file.
func (p *scanner) redirect() {
	rest := p.s[p.pos:]
	switch {
	case strings.HasPrefix(rest, "<<<"):
		p.pos += 3
	case strings.HasPrefix(rest, "<<"):
		p.pos += 2
		tabs := strings.HasPrefix(p.s[p.pos:], "-")
		if tabs {
			p.pos++
		}
		line, _, _ := strings.Cut(p.s[p.pos:], "\n")
		trimmed := strings.TrimLeft(line, " \t")
		word := trimmed
		if i := strings.IndexAny(trimmed, " \t;&|<>)"); i >= 0 {
			word = trimmed[:i]
		}
		p.pos += len(line) - len(trimmed) + len(word)
		if d := strings.Trim(word, `'"\`); d != "" {
			p.pending = append(p.pending, pendingBody{d, tabs, len(p.out)})
		}
	default:
		p.pos++
		p.duplicate()
	}
}

// bodies reads the here-documents that begin on this line.
func (p *scanner) bodies() {
	for _, b := range p.pending {
		from, at := p.pos, p.line
		for p.pos < len(p.s) {
			line, _, _ := strings.Cut(p.s[p.pos:], "\n")
			begin := p.pos
			p.pos = min(p.pos+len(line)+1, len(p.s))
			p.line++
			if b.tabs {
				line = strings.TrimLeft(line, "\t")
			}
			if strings.TrimRight(line, "\r") == b.delimiter {
				p.keep(b.command, p.s[from:begin], at)
				break
			}
		}
	}
	p.pending = nil
}

func (p *scanner) keep(command int, body string, at int) {
	if command < len(p.out) && p.out[command].body == "" {
		p.out[command].body, p.out[command].at = body, at
	}
}

// word reads one word and adds it to the command.
func (p *scanner) word(end byte, depth int) {
	var b strings.Builder
	line := p.line
	for p.more() {
		c := p.s[p.pos]
		switch {
		case strings.IndexByte(" \t\r\n;&|()<>", c) >= 0 || c == '`' && end == '`':
			p.add(b.String(), line)
			return
		case c == '\'':
			p.single(&b)
		case c == '"':
			p.double(&b, depth)
		case c == '\\':
			p.escape(&b)
		case c == '$' || c == '`':
			p.dollar(&b, depth)
		default:
			b.WriteByte(c)
			p.pos++
		}
	}
	p.add(b.String(), line)
}

func (p *scanner) add(word string, line int) {
	if len(p.cur.words) == 0 {
		p.cur.line = line
	}
	p.cur.words = append(p.cur.words, word)
}

func (p *scanner) single(b *strings.Builder) {
	p.pos++
	i := strings.IndexByte(p.s[p.pos:], '\'')
	if i < 0 {
		i = len(p.s) - p.pos
	}
	text := p.s[p.pos : p.pos+i]
	b.WriteString(text)
	p.line += strings.Count(text, "\n")
	p.pos = min(p.pos+i+1, len(p.s))
}

func (p *scanner) double(b *strings.Builder, depth int) {
	p.pos++
	for p.more() {
		switch c := p.s[p.pos]; c {
		case '"':
			p.pos++
			return
		case '\\':
			p.escape(b)
		case '$', '`':
			p.dollar(b, depth)
		default:
			if c == '\n' {
				p.line++
			}
			b.WriteByte(c)
			p.pos++
		}
	}
}

// escape drops a backslash, and a line's end after one.
func (p *scanner) escape(b *strings.Builder) {
	p.pos++
	if p.pos >= len(p.s) {
		return
	}
	if strings.HasPrefix(p.s[p.pos:], "\r\n") {
		p.pos++
	}
	if p.s[p.pos] == '\n' {
		p.line++
	} else {
		b.WriteByte(p.s[p.pos])
	}
	p.pos++
}

// dollar handles what follows '$' or '`': a substitution leaves a '$' in the
// word, so that nobody takes it for known.
func (p *scanner) dollar(b *strings.Builder, depth int) {
	b.WriteByte('$')
	back := p.s[p.pos] == '`'
	p.pos++
	switch {
	case depth >= maxNesting:
	case back:
		p.nested('`', depth)
	case p.skipArithmetic():
	case p.pos < len(p.s) && p.s[p.pos] == '(':
		p.pos++
		p.nested(')', depth)
	}
}

// skipArithmetic skips a sum of numbers: ((4<<30)). One with a command in it is
// read as commands.
func (p *scanner) skipArithmetic() bool {
	rest, ok := strings.CutPrefix(p.s[p.pos:], "((")
	if !ok {
		return false
	}
	end := strings.Index(rest, "))")
	if end < 0 || strings.ContainsAny(rest[:end], "\n`") || strings.Contains(rest[:end], "$(") {
		return false
	}
	p.pos += len("((") + end + len("))")
	return true
}
