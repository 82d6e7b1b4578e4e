package yamlfile

import (
	"slices"
	"strconv"
	"strings"
)

// path is where a node lies in a document, linked to where its parent lies; nil
// is the document. Its text is made on demand alone, for a file may hold a
// million nodes below one long key.
type path struct {
	parent *path
	name   string // of a mapping's value
	number int    // of a list's entry
	listed bool   // number counts, not name
}

func (p *path) withKey(name string) *path { return &path{parent: p, name: name} }

func (p *path) withIndex(i int) *path { return &path{parent: p, number: i, listed: true} }

// String returns the field as in components[0].charts[1].
func (p *path) String() string {
	var steps []*path
	for ; p != nil; p = p.parent {
		steps = append(steps, p)
	}
	var b strings.Builder
	for _, s := range slices.Backward(steps) {
		switch {
		case s.listed:
			b.WriteString("[" + strconv.Itoa(s.number) + "]")
		case b.Len() > 0:
			b.WriteString("." + s.name)
		default:
			b.WriteString(s.name)
		}
	}
	return b.String()
}
