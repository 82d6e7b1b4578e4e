package lint

import (
	"fmt"
	"strings"

	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
)

// Check searches the sites of documents; what they name as images is Images'
// matter. Findings come sorted by template, line and code; a place and text appear
// once. Beyond MaxFindings a last one of code event.CodeEgressMore says how many there were.
func Check(sites []document.Site) []Finding {
	c := &checker{}
	for _, s := range sites {
		c.template, c.manifest = s.Template, s.Manifest
		switch s.What {
		case document.PullAlways:
			c.add(Finding{Code: event.CodeEgressPullAlways, Line: s.Line, Text: s.Ref, What: fmt.Sprintf("image %s is pulled at every start", s.Ref)})
		case document.Address:
			c.checkAddress(s)
		case document.Argv:
			c.checkCommand(s)
		case document.Script:
			c.checkScript(s.Text, s.Language, s.LineOf)
		case document.Setting:
			c.checkSetting(s)
		case document.HubAddress:
			c.checkHubAddress(s)
		}
	}
	return finishFindings(c.found)
}

// checker checks one site after another.
type checker struct {
	found    []Finding
	template string
	manifest bool
}

func (c *checker) add(f Finding) {
	f.Template, f.Manifest = c.template, c.manifest
	c.found = append(c.found, f)
}

func (c *checker) addHit(h hit, line int) {
	c.add(Finding{Code: h.code, Line: line, Text: h.text, What: fmt.Sprintf("%q: %s", excerptOf(h.text), h.what)})
}

// checkAddress finds an address that a controller or kustomize would read.
func (c *checker) checkAddress(s document.Site) {
	if isRemote(s.Text) || isCloudStore(s.Text) {
		c.add(Finding{Code: event.CodeEgressRemote, Line: s.Line, Text: s.Text, What: fmt.Sprintf("%s reads %s", s.Reader, s.Text)})
	}
}

func (c *checker) checkScript(script string, l document.Language, lineOf func(int) int) {
	search := searchOf(l)
	if search == nil {
		return
	}
	for _, h := range search(script, 0) {
		c.addHit(h, lineOf(h.line))
	}
}

// checkCommand searches a command line, and those of its words that are scripts
// themselves: the one after -c, and every one of several lines.
func (c *checker) checkCommand(s document.Site) {
	words := make([]string, len(s.Words))
	for i, w := range s.Words {
		words[i] = w.Text
	}
	if v := verdictOf(words); v.code != "" {
		c.addHit(hit{v, 1, strings.Join(words, " ")}, s.Line)
	}
	language := document.Shell
	if in := unwrapCommand(words); len(in) > 0 && document.LanguageOf(in[0]) == document.Python {
		language = document.Python
	}
	for i, w := range s.Words {
		flagged := i > 0 && shellFlag.MatchString(words[i-1])
		if flagged || strings.Contains(strings.TrimSpace(w.Text), "\n") {
			c.checkScript(w.Text, document.LanguageOfScript(w.Text, language), w.LineOf)
		}
	}
}

// searchOf is how to search a script of that language.
func searchOf(l document.Language) func(string, int) []hit {
	switch l {
	case document.Shell:
		return shellHits
	case document.Python:
		return pythonHits
	}
	return nil
}
