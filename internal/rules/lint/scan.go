package lint

import "strings"

// scanCommands takes a script apart as far as telling which words begin a command
// needs it: quotes, comments, substitutions, here-documents. Anything is a script;
// what is no shell gives odd commands.
func scanCommands(script string) []command {
	p := &scanner{s: script, line: 1}
	p.readList(0, 0)
	p.flushCommand()
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

func (p *scanner) hasMore() bool { return p.pos < len(p.s) && len(p.out) < maxCommands }

func (p *scanner) flushCommand() {
	if len(p.cur.words) > 0 {
		p.out = append(p.out, p.cur)
	}
	p.cur = command{}
}

// readList reads commands up to end: ')', '`' or, for 0, the end of the text.
func (p *scanner) readList(end byte, depth int) {
	for p.hasMore() {
		switch c := p.s[p.pos]; c {
		case '\n':
			p.pos++
			p.flushCommand()
			p.line++
			p.readBodies()
		case ' ', '\t', '\r':
			p.pos++
		case '#':
			p.skipComment()
		case '\\':
			if strings.HasPrefix(p.s[p.pos:], "\\\n") {
				p.pos += 2
				p.line++
			} else {
				p.readWord(end, depth)
			}
		case '<':
			p.readRedirect()
		case '>':
			p.pos++
			p.skipDuplicate()
		case ';', '&', '|', '(', '{', '}':
			p.pos++
			p.flushCommand()
		case ')', '`':
			p.pos++
			if c == end {
				return
			}
			p.flushCommand()
			if c == '`' && depth < maxNesting {
				p.readNested('`', depth)
			}
		default:
			p.readWord(end, depth)
		}
	}
}

// readNested reads a substitution as commands of their own.
func (p *scanner) readNested(end byte, depth int) {
	outer := p.cur
	p.cur = command{}
	p.readList(end, depth+1)
	p.flushCommand()
	p.cur = outer
}

func (p *scanner) skipComment() {
	if i := strings.IndexByte(p.s[p.pos:], '\n'); i >= 0 {
		p.pos += i
	} else {
		p.pos = len(p.s)
	}
}

// skipDuplicate skips what follows the > of 2>&1, and forgets the number before it.
func (p *scanner) skipDuplicate() {
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

// readRedirect handles '<': a here-document, a here-string or a file.
func (p *scanner) readRedirect() {
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
		p.skipDuplicate()
	}
}

// readBodies reads the here-documents that begin on this line.
func (p *scanner) readBodies() {
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
				p.keepBody(b.command, p.s[from:begin], at)
				break
			}
		}
	}
	p.pending = nil
}

func (p *scanner) keepBody(command int, body string, at int) {
	if command < len(p.out) && p.out[command].body == "" {
		p.out[command].body, p.out[command].at = body, at
	}
}

// readWord reads one word and adds it to the command.
func (p *scanner) readWord(end byte, depth int) {
	var b strings.Builder
	line := p.line
	for p.hasMore() {
		c := p.s[p.pos]
		switch {
		case strings.IndexByte(" \t\r\n;&|()<>", c) >= 0 || c == '`' && end == '`':
			p.addWord(b.String(), line)
			return
		case c == '\'':
			p.readSingle(&b)
		case c == '"':
			p.readDouble(&b, depth)
		case c == '\\':
			p.readEscape(&b)
		case c == '$' || c == '`':
			p.readDollar(&b, depth)
		default:
			b.WriteByte(c)
			p.pos++
		}
	}
	p.addWord(b.String(), line)
}

func (p *scanner) addWord(word string, line int) {
	if len(p.cur.words) == 0 {
		p.cur.line = line
	}
	p.cur.words = append(p.cur.words, word)
}

func (p *scanner) readSingle(b *strings.Builder) {
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

func (p *scanner) readDouble(b *strings.Builder, depth int) {
	p.pos++
	for p.hasMore() {
		switch c := p.s[p.pos]; c {
		case '"':
			p.pos++
			return
		case '\\':
			p.readEscape(b)
		case '$', '`':
			p.readDollar(b, depth)
		default:
			if c == '\n' {
				p.line++
			}
			b.WriteByte(c)
			p.pos++
		}
	}
}

// readEscape drops a backslash, and a line's end after one.
func (p *scanner) readEscape(b *strings.Builder) {
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

// readDollar handles what follows '$' or '`': a substitution leaves a '$' in the
// word, so that nobody takes it for known.
func (p *scanner) readDollar(b *strings.Builder, depth int) {
	b.WriteByte('$')
	back := p.s[p.pos] == '`'
	p.pos++
	switch {
	case depth >= maxNesting:
	case back:
		p.readNested('`', depth)
	case p.skipArithmetic():
	case p.pos < len(p.s) && p.s[p.pos] == '(':
		p.pos++
		p.readNested(')', depth)
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
