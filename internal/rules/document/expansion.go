package document

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of what documents hold once their aliases are followed.
const (
	maxDocument  = 8 << 20   // bytes of one
	maxValues    = 512 << 10 // values of one
	maxAllValues = 2 << 20   // values of all
)

// Expansion counts what documents come to once their aliases are followed, before
// a parser does so: a line of text may stand for gigabytes of values. The zero
// value is ready, and is for the documents that are kept at the same time.
type Expansion struct{ all extent }

// extent is how much a document, or a part of it, holds.
type extent struct{ bytes, values int }

// maxExtent is where counting ends: sums of it do not overflow.
const maxExtent = 1 << 40

func (e extent) plus(other extent) extent {
	return extent{min(e.bytes+other.bytes, maxExtent), min(e.values+other.values, maxExtent)}
}

// Add counts one document. Errors wrap ErrTooLarge.
func (e *Expansion) Add(source string) error {
	size := textExtent(source)
	if err := e.add(size); err != nil || !mayHoldAlias(source) {
		return err
	}
	decoder := yaml.NewDecoder(strings.NewReader(source))
	for {
		var n yaml.Node
		if err := decoder.Decode(&n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return checkUnread(source, err)
		}
		if err := e.addAliases(&n, size); err != nil {
			return err
		}
	}
}

// addAliases counts what the aliases of a parsed document stand for. of is the
// extent of its text, which is counted already.
func (e *Expansion) addAliases(n *yaml.Node, of extent) error {
	added := aliasExtents{}.added(n)
	if err := of.plus(added).check(); err != nil {
		return err
	}
	return e.add(added)
}

// AddCounted counts documents that another Expansion has counted: the same text
// need not be measured twice. Errors wrap ErrTooLarge.
func (e *Expansion) AddCounted(other Expansion) error {
	e.all = e.all.plus(other.all)
	return e.checkAll()
}

func (e *Expansion) add(size extent) error {
	if err := size.check(); err != nil {
		return err
	}
	e.all = e.all.plus(size)
	return e.checkAll()
}

// checkAll holds all documents against their bounds.
func (e *Expansion) checkAll() error {
	switch {
	case e.all.bytes > MaxBytes:
		return fmt.Errorf("%w: more than %d bytes in all documents", ErrTooLarge, MaxBytes)
	case e.all.values > maxAllValues:
		return fmt.Errorf("%w: more than %d values in all documents", ErrTooLarge, maxAllValues)
	}
	return nil
}

// check holds the extent of one document against its bounds.
func (e extent) check() error {
	switch {
	case e.bytes > maxDocument:
		return fmt.Errorf("%w: a document of more than %d bytes, aliases followed", ErrTooLarge, maxDocument)
	case e.values > maxValues:
		return fmt.Errorf("%w: a document of more than %d values, aliases followed", ErrTooLarge, maxValues)
	}
	return nil
}

// textExtent is the size of a text and about how many values it may hold: those
// of YAML begin at a mark or in a line of their own.
func textExtent(source string) extent {
	marks := 1
	for i := range len(source) {
		if !valueMarks[source[i]] {
			continue
		}
		if source[i] != '-' || i+1 < len(source) && (source[i+1] == ' ' || source[i+1] == '\t') {
			marks++
		}
	}
	for _, lineEnd := range []string{"\u0085", "\u2028", "\u2029"} {
		marks += strings.Count(source, lineEnd)
	}
	return extent{len(source), marks}
}

// valueMarks are the bytes that a value may begin after, '-' where a blank follows.
var valueMarks = [256]bool{',': true, ':': true, '\n': true, '\r': true, '[': true, '{': true, '?': true, '-': true}

// valueStart is what a value of YAML may stand after.
const valueStart = `(?:^|[\x00-\x20\[{,:?\x7f-\x{10ffff}-])`

var (
	anchorSign = regexp.MustCompile(`&[A-Za-z0-9_-]`)
	aliasSign  = regexp.MustCompile(`\*[A-Za-z0-9_-]`)
	// the same where a value of YAML may begin
	anchorToken = regexp.MustCompile(valueStart + anchorSign.String())
	aliasToken  = regexp.MustCompile(valueStart + aliasSign.String())
)

// mayHoldAlias says whether a text may hold an alias and what it stands for.
func mayHoldAlias(source string) bool {
	return isWide(source) || aliasSign.MatchString(source) && anchorSign.MatchString(source)
}

// isWide says whether a text is UTF-16, which parsers of YAML read too.
func isWide(source string) bool {
	return strings.HasPrefix(source, "\xff\xfe") || strings.HasPrefix(source, "\xfe\xff")
}

// checkUnread refuses a text that our parser does not read and others might, where
// it may hold aliases: nobody knows what they come to.
func checkUnread(source string, err error) error {
	if isWide(source) || aliasToken.MatchString(source) && anchorToken.MatchString(source) {
		return fmt.Errorf("%w: aliases that cannot be counted: %w", ErrTooLarge, err)
	}
	return nil
}

// aliasExtents are the extents of what aliases lead to.
type aliasExtents map[*yaml.Node]extent

// added is what the aliases below n stand for.
func (a aliasExtents) added(n *yaml.Node) extent {
	if n.Kind == yaml.AliasNode {
		return a.target(n.Alias)
	}
	var sum extent
	for _, c := range n.Content {
		sum = sum.plus(a.added(c))
	}
	return sum
}

// target is the extent of what an alias leads to. An alias of what it stands in
// has none: parsers refuse it.
func (a aliasExtents) target(n *yaml.Node) extent {
	size, known := a[n]
	if !known {
		a[n] = extent{}
		size = a.whole(n)
		a[n] = size
	}
	return size
}

// whole is the extent of n, aliases followed.
func (a aliasExtents) whole(n *yaml.Node) extent {
	if n.Kind == yaml.AliasNode {
		return a.target(n.Alias)
	}
	sum := extent{len(n.Value) + 1, 1}
	for _, c := range n.Content {
		sum = sum.plus(a.whole(c))
	}
	return sum
}
