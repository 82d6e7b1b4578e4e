package lint

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// command is one simple command of a shell script.
type command struct {
	words []string // with the shell's own words before it: if, then, !
	text  string   // words, and the files that it is redirected to
	line  int      // within the script, from 1
	body  string   // of its here-document
	at    int      // line of the body's first line
}

// Bounds of what is parsed: the parser and the walk call themselves for what is
// nested, and Go ends a program that does so too often.
const (
	maxCommands = 200_000
	maxNesting  = 40 // of what is scanned
	maxScript   = 128 << 10
	maxParens   = 500  // in one another
	maxChain    = 5000 // pipes and && of a script
)

// readCommands takes a script of a POSIX-like shell apart. From where it cannot be
// parsed on it is scanned, as is what is too large or too deep to be parsed.
func readCommands(script string) []command {
	if !isParsable(script) {
		return scanCommands(script)
	}
	out, end, err := parseCommands(script)
	if err == nil {
		return out
	}
	lines := strings.Count(script[:end], "\n")
	for _, c := range scanCommands(script[end:]) {
		c.line, c.at = c.line+lines, c.at+lines
		out = append(out, c)
	}
	return out
}

// isParsable says whether a script is within the bounds of the parser.
func isParsable(script string) bool {
	if len(script) > maxScript || strings.Count(script, "|")+strings.Count(script, "&") > maxChain {
		return false
	}
	depth := 0
	for i := range len(script) {
		switch script[i] {
		case '(', '{':
			depth++
		case ')', '}':
			depth = max(depth-1, 0)
		}
		if depth > maxParens {
			return false
		}
	}
	return true
}

var errPanicked = errors.New("the parser panicked")

// parseCommands gives the commands of a script as far as it can be parsed, and
// where that ends.
func parseCommands(script string) (out []command, end int, err error) {
	p := &parsed{script: script}
	defer func() {
		if recover() != nil {
			out, end, err = p.out, p.end, errPanicked
		}
	}()
	parser := syntax.NewParser(syntax.Variant(syntax.LangBash))
	err = parser.Stmts(strings.NewReader(script), func(s *syntax.Stmt) bool {
		syntax.Walk(s, p.visit)
		p.end = min(int(s.End().Offset()), len(script))
		return len(p.out) < maxCommands
	})
	return p.out, p.end, err
}

// parsed gathers the commands of a parsed script.
type parsed struct {
	script string
	out    []command
	end    int // of the last whole statement
}

// visit is called for every node.
func (p *parsed) visit(n syntax.Node) bool {
	if s, ok := n.(*syntax.Stmt); ok {
		if call, ok := s.Cmd.(*syntax.CallExpr); ok {
			p.addCommand(s, call)
		}
	}
	return true
}

// token is a word of a command and where it stands.
type token struct {
	text string
	at   uint
	line uint
	file bool // that the command is redirected to
}

func (p *parsed) addCommand(s *syntax.Stmt, call *syntax.CallExpr) {
	var tokens []token
	for _, a := range call.Assigns {
		tokens = append(tokens, p.assignToken(a))
	}
	for _, w := range call.Args {
		tokens = append(tokens, token{text: p.textOf(w.Parts), at: w.Pos().Offset(), line: w.Pos().Line()})
	}
	if len(tokens) == 0 {
		return
	}
	for _, r := range s.Redirs {
		tokens = append(tokens, p.fileTokens(r)...)
	}
	slices.SortFunc(tokens, func(a, b token) int { return cmp.Compare(a.at, b.at) })
	c := command{words: p.wordsBefore(int(tokens[0].at)), line: int(tokens[0].line)}
	all := slices.Clone(c.words)
	for _, t := range tokens {
		all = append(all, t.text)
		if !t.file {
			c.words = append(c.words, t.text)
		}
	}
	c.text = strings.Join(all, " ")
	c.body, c.at = p.bodyOf(s)
	p.out = append(p.out, c)
}

func (p *parsed) assignToken(a *syntax.Assign) token {
	text := p.source(a)
	if a.Name != nil && a.Value != nil {
		text = a.Name.Value + "=" + p.textOf(a.Value.Parts)
	}
	return token{text: text, at: a.Pos().Offset(), line: a.Pos().Line()}
}

// fileTokens are the file that a redirection names, and the descriptor before it.
func (p *parsed) fileTokens(r *syntax.Redirect) (out []token) {
	switch r.Op {
	case syntax.RdrOut, syntax.AppOut, syntax.RdrIn, syntax.RdrInOut, syntax.ClbOut, syntax.RdrAll, syntax.AppAll:
	default:
		return nil
	}
	if r.N != nil {
		out = append(out, token{text: r.N.Value, at: r.N.Pos().Offset(), line: r.Pos().Line(), file: true})
	}
	if r.Word != nil {
		out = append(out, token{text: p.textOf(r.Word.Parts), at: r.Word.Pos().Offset(), line: r.Word.Pos().Line(), file: true})
	}
	return out
}

// bodyOf is what a command reads from a here-document or a here-string, and the
// line where it begins.
func (p *parsed) bodyOf(s *syntax.Stmt) (body string, line int) {
	for _, r := range s.Redirs {
		switch {
		case r.Op == syntax.WordHdoc && r.Word != nil:
			return p.textOf(r.Word.Parts), int(r.Word.Pos().Line())
		case r.Hdoc != nil:
			return p.source(r.Hdoc), int(r.Hdoc.Pos().Line())
		}
	}
	return "", 0
}

// keywords are the shell's words before a command that belong to what people read
// as the command.
var keywords = []string{"if", "then", "else", "elif", "while", "until", "do", "!", "time"}

// wordsBefore are the keywords on the line before a command.
func (p *parsed) wordsBefore(at int) []string {
	from := strings.LastIndexAny(p.script[:at], "\n;&|(){}`") + 1
	words := strings.Fields(p.script[from:at])
	i := len(words)
	for i > 0 && slices.Contains(keywords, words[i-1]) {
		i--
	}
	return words[i:]
}

// source is a node as it stands in the script.
func (p *parsed) source(n syntax.Node) string {
	from, to := int(n.Pos().Offset()), int(n.End().Offset())
	if !n.Pos().IsValid() || from > to || to > len(p.script) {
		return ""
	}
	return p.script[from:to]
}

// textOf is a word without its quotes. A substitution leaves a '$', so that nobody
// takes the word for known.
func (p *parsed) textOf(parts []syntax.WordPart) string {
	var b strings.Builder
	for _, part := range parts {
		switch part := part.(type) {
		case *syntax.Lit:
			b.WriteString(unescape(part.Value))
		case *syntax.SglQuoted:
			b.WriteString(part.Value)
		case *syntax.DblQuoted:
			b.WriteString(p.textOf(part.Parts))
		case *syntax.CmdSubst, *syntax.ArithmExp, *syntax.ProcSubst:
			b.WriteByte('$')
		default:
			b.WriteString(p.source(part))
		}
	}
	return b.String()
}

// unescape drops backslashes, and a line's end after one.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			if i++; i >= len(s) || s[i] == '\n' {
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
