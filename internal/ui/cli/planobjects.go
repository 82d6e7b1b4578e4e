package cli

import (
	"fmt"
	"strings"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/rules/decide"
)

// others is how the objects are called that belong to no release of a component.
func others(c *plan.Component) string {
	if len(c.Releases) == 0 {
		return "objects"
	}
	return "other objects"
}

// objectChanges shows what becomes of objects: in one line, or, where all is
// asked for, one by one.
func (p *page) objectChanges(of string, list []plan.ObjectChange, all bool) {
	added, changed, removed := decide.Tally(list)
	var parts []string
	for _, c := range []struct {
		n    int
		word string
	}{{added, "added"}, {changed, "changed"}, {removed, "removed"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.word))
		}
	}
	if len(parts) == 0 {
		return
	}
	p.wrapped("     ", 4, of+": "+strings.Join(parts, ", "))
	if !all {
		return
	}
	marks := map[string]string{plan.Add: "+ ", plan.Change: "~ ", plan.Remove: "- "}
	for _, c := range list {
		p.wrapped("       "+marks[c.Action], 4, c.Object)
		for _, f := range c.Fields {
			p.wrapped("           ", 4, f)
		}
	}
}

// whyReferences says why images are found the way they are.
func whyReferences(s plan.Site) string {
	if s.ReferencesWhy == "" {
		return " (the site file says so)"
	}
	return " (" + s.ReferencesWhy + ")"
}
