package output

import (
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/event"
)

const wholePage = `demo is here
  size  2 MiB
  key   a b

  a name lo...n the page   1
  b                       20
   - words in a paragraph of
     few columns
  error: bad
next: caisson verify
`

func TestPage(t *testing.T) {
	var p Page
	p.Line(Name("demo"), Say(" is %s", "here"))
	p.Add(Facts{{"size", "2 MiB"}, {"nothing at all", ""}, {"key", "a\tb"}})
	p.Line()
	p.Add(
		Table{Rows: [][]string{{"a name longer than the page", "1"}, {"b", "20"}}, Right: []int{1}},
		Paragraph{First: "   - ", Rest: "     ", Text: "words in a paragraph of few columns"},
		Found{{Severity: event.Error, What: "bad"}},
	)
	p.Next("caisson %s", "verify")
	if got := p.Text(Style{}, 28); got != wholePage {
		t.Errorf("it reads\n%s", got)
	}
	if got := p.Text(Style{On: true}, 28); !strings.HasPrefix(got, "\x1b[1mdemo\x1b[0m is here\n") || !strings.Contains(got, "\x1b[1mnext:\x1b[0m caisson verify\n") {
		t.Errorf("in colours it reads\n%q", got)
	}
	if got := new(Page).Text(Style{}, 80); got != "" {
		t.Errorf("an empty page reads %q", got)
	}
}

// TestParagraphCutsWords: a word without an end does not break the page's width.
func TestParagraphCutsWords(t *testing.T) {
	text := "see " + strings.Repeat("x", 40)
	for cut, longest := range map[bool]int{true: 20, false: 44} {
		p := Page{Blocks: []Block{Paragraph{First: "  ", Rest: "    ", Text: text, Cut: cut}}}
		for line := range strings.Lines(p.Text(Style{}, 20)) {
			if n := len(line) - 1; n > longest {
				t.Errorf("cut %v: %d columns: %s", cut, n, line)
			}
		}
	}
}
