package lint

import "strings"

// command is one simple command of a shell script.
type command struct {
	words []string
	line  int    // within the script, from 1
	body  string // of its here-documents
	at    int    // line of the body's first line
}

const (
	maxCommands = 200_000
	maxNesting  = 40
)

// commands takes a script of a POSIX-like shell apart, as far as telling which
// words begin a command needs it: quotes, comments, substitutions,
// here-documents. Anything is a script; what is no shell gives odd commands.
func commands(script string) []command {
	p := &parser{s: script, line: 1}
	p.list(0, 0)
	p.flush()
	return p.out
}

type parser struct {
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

func (p *parser) more() bool { return p.pos < len(p.s) && len(p.out) < maxCommands }

func (p *parser) flush() {
	if len(p.cur.words) > 0 {
		p.out = append(p.out, p.cur)
	}
	p.cur = command{}
}

// list reads commands up to end: ')', '`' or, for 0, the end of the text.
func (p *parser) list(end byte, depth int) {
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
		case ';', '&', '|', '(', '>', '{', '}':
			p.pos++
			if c != '>' {
				p.flush()
			}
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
func (p *parser) nested(end byte, depth int) {
	outer := p.cur
	p.cur = command{}
	p.list(end, depth+1)
	p.flush()
	p.cur = outer
}

func (p *parser) comment() {
	if i := strings.IndexByte(p.s[p.pos:], '\n'); i >= 0 {
		p.pos += i
	} else {
		p.pos = len(p.s)
	}
}

// redirect handles '<': a here-document, a here-string or a file.
func (p *parser) redirect() {
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
	}
}

// bodies reads the here-documents that begin on this line.
func (p *parser) bodies() {
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

func (p *parser) keep(command int, body string, at int) {
	if command < len(p.out) && p.out[command].body == "" {
		p.out[command].body, p.out[command].at = body, at
	}
}

// word reads one word and adds it to the command.
func (p *parser) word(end byte, depth int) {
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

func (p *parser) add(word string, line int) {
	if len(p.cur.words) == 0 {
		p.cur.line = line
	}
	p.cur.words = append(p.cur.words, word)
}

func (p *parser) single(b *strings.Builder) {
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

func (p *parser) double(b *strings.Builder, depth int) {
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
func (p *parser) escape(b *strings.Builder) {
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
func (p *parser) dollar(b *strings.Builder, depth int) {
	b.WriteByte('$')
	back := p.s[p.pos] == '`'
	p.pos++
	switch {
	case depth >= maxNesting:
	case back:
		p.nested('`', depth)
	case p.pos < len(p.s) && p.s[p.pos] == '(':
		p.pos++
		p.nested(')', depth)
	}
}
