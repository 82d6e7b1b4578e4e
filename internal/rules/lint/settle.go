package lint

import (
	"regexp"
	"strings"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/rules/document"
)

// Settled is a finding and the rule that accepts it.
type Settled struct {
	Finding Finding
	Rule    lock.Allow
}

// Outcome is what would call out of a site, by whether a rule accepts it.
type Outcome struct {
	Open    []Finding
	Settled []Settled
	Stale   []lock.Allow // that accept nothing
}

// Decide is the whole way from what was found in rendered documents to what is left
// of it: found is Check's, named are the sites that may name an image, has says
// whether the bundle holds what a reference means, rules accept findings.
func Decide(found []Finding, named []document.Site, has func(document.Site) bool, rules []lock.Allow) Outcome {
	var out Outcome
	out.Open, out.Settled, out.Stale = Settle(Images(found, named, has), rules)
	return out
}

// Settle parts findings into those that a rule accepts (the first that does) and
// those that stay open. stale are the rules that accept none. A rule accepts findings of
// its code whose template, TEMPLATE:LINE or text its pattern describes, in which *
// stands for anything.
func Settle(found []Finding, rules []lock.Allow) (open []Finding, settled []Settled, stale []lock.Allow) {
	patterns := make([]*regexp.Regexp, len(rules))
	used := make([]bool, len(rules))
	for i, r := range rules {
		patterns[i] = compileGlob(r.Match)
	}
	for _, f := range found {
		at := -1
		for i, r := range rules {
			if r.Code == f.Code && (patterns[i].MatchString(f.Template) || patterns[i].MatchString(f.Place()) || patterns[i].MatchString(f.Text)) {
				used[i] = true
				if at < 0 {
					at = i
				}
			}
		}
		if at < 0 {
			open = append(open, f)
		} else {
			settled = append(settled, Settled{f, rules[at]})
		}
	}
	for i, r := range rules {
		if !used[i] {
			stale = append(stale, r)
		}
	}
	return open, settled, stale
}

// compileGlob makes a pattern of text in which * stands for any characters and ? for
// one. It takes time linear in what it is matched with.
func compileGlob(s string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for _, r := range s {
		switch r {
		case '*':
			b.WriteString(`.*`)
		case '?':
			b.WriteString(`.`)
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}
