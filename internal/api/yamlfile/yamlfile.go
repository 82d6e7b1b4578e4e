// Package yamlfile reads the project's YAML files strictly: every problem of a
// file is found in one pass and named by file, line, column and field.
//
// It holds the decoder that stack, site and lock share. It never expands
// aliases, never guesses a field, and never returns a half-read document
// together with a nil error. What it reads may be hostile: size, depth and
// number of nodes are bounded.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/caisson/caisson/internal/atomicfile"
)

// APIVersion is the only value of apiVersion that documents may carry.
const APIVersion = "caisson.dev/v1alpha1"

// Kinds are the kinds a document may have, whichever of them a caller wants.
var kinds = []string{"Stack", "Upstreams", "Site", "Lock", "TrustPolicy", "NodeInventory"}

// Bounds on what is read. A file's size bound is the caller's.
const (
	MaxBytes    = 1 << 20 // of files that people write
	maxDepth    = 64      // of nesting
	maxKey      = 1 << 10 // bytes of a key
	maxTokens   = 5 << 18 // characters that can start a node; a lock with a model of 100 000 files has 1.1 million
	maxReported = 50      // problems of one file that are kept
)

// ErrNoDocument says that a file holds no document of the wanted kind.
var ErrNoDocument = errors.New("no such document")

// Problem is one thing wrong with a file.
type Problem struct {
	Line, Column int    // from 1; zero where unknown
	Field        string // components[0].charts[0]; empty for the document
	Message      string
}

// Error is everything wrong with a file, in the order of its lines.
type Error struct {
	File     string
	Problems []Problem
	More     int // problems beyond those kept
}

// Error puts each problem on a line of its own: file:line:column: field: message.
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	for _, p := range e.Problems {
		lines = append(lines, e.problemLine(p))
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("%s: and %d more", e.File, e.More))
	}
	return strings.Join(lines, "\n")
}

func (e *Error) problemLine(p Problem) string {
	var b strings.Builder
	b.WriteString(e.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Column > 0 {
		fmt.Fprintf(&b, ":%d", p.Column)
	}
	b.WriteString(": ")
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Document is one YAML document of a file.
type Document struct {
	file     string
	root     *yaml.Node
	problems []Problem
	more     int
	wanted   map[string]bool // fields whose misspelling was reported
}

// ReadFile reads at most limit bytes of path and returns its document of kind.
func ReadFile(path, kind string, limit int64) (*Document, error) {
	data, err := ReadText(path, limit)
	if err != nil {
		return nil, err
	}
	return Parse(path, data, kind)
}

// ReadText reads at most limit bytes of path. A larger file is an *Error.
func ReadText(path string, limit int64) ([]byte, error) {
	data, err := atomicfile.ReadFile(path, limit)
	if errors.As(err, new(*atomicfile.TooLargeError)) {
		return nil, fileError(path, "is larger than %d bytes", limit)
	}
	return data, err
}

// CheckBounds says whether ReadFile with that limit would take data for larger
// than it reads. The error is an *Error.
func CheckBounds(file string, data []byte, limit int64) error {
	if err := CheckSize(file, data, limit); err != nil {
		return err
	}
	return checkTokens(file, data)
}

// CheckSize holds data against a size limit. The error is an *Error.
func CheckSize(file string, data []byte, limit int64) error {
	if int64(len(data)) > limit {
		return fileError(file, "is larger than %d bytes", limit)
	}
	return nil
}

func checkTokens(file string, data []byte) error {
	if countTokens(data) > maxTokens {
		return fileError(file, "holds more than %d values", maxTokens)
	}
	return nil
}

func fileError(file, format string, args ...any) *Error {
	return &Error{File: file, Problems: []Problem{{Message: fmt.Sprintf(format, args...)}}}
}

// Parse returns the one document of kind in data. File names the data in
// messages. Documents of other known kinds are passed over; one of an unknown
// kind is an error. The error is ErrNoDocument where the kind is absent. A wrong
// apiVersion is a problem of the document, which its Err reports.
func Parse(file string, data []byte, kind string) (*Document, error) {
	docs, err := splitDocuments(file, data)
	if err != nil {
		return nil, err
	}
	if err := checkKinds(file, docs); err != nil {
		return nil, err
	}
	return pickDocument(file, docs, kind)
}

func pickDocument(file string, docs []*Document, kind string) (*Document, error) {
	var found *Document
	var others []string
	for _, d := range docs {
		switch {
		case d.kindField() != kind:
			others = append(others, d.kindField())
		case found != nil:
			d.Problemf("", "is a second document of kind %s; the first is on line %d", kind, found.root.Line)
			return nil, d.Err()
		default:
			found = d
		}
	}
	if found == nil {
		return nil, noDocument(file, kind, others)
	}
	found.checkVersion()
	return found, nil
}

func noDocument(file, kind string, others []string) error {
	if len(others) == 0 {
		return fmt.Errorf("%s: %w of kind %s: the file is empty", file, ErrNoDocument, kind)
	}
	return fmt.Errorf("%s: %w of kind %s: it holds %s", file, ErrNoDocument, kind, strings.Join(others, ", "))
}

// splitDocuments splits data into its documents, empty ones dropped.
func splitDocuments(file string, data []byte) ([]*Document, error) {
	if err := checkTokens(file, data); err != nil {
		return nil, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var docs []*Document
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, syntaxError(file, err)
		}
		if len(n.Content) == 0 || n.Content[0].Tag == "!!null" {
			continue
		}
		d := &Document{file: file, root: n.Content[0], wanted: map[string]bool{}}
		d.checkShape(d.root, nil, 1)
		if len(d.problems) > 0 {
			return nil, d.Err()
		}
		docs = append(docs, d)
	}
}

// countTokens bounds from above, but for a factor of two, how many nodes data can
// hold.
func countTokens(data []byte) int {
	n := 0
	for i, c := range data {
		switch c {
		case '\n', '\r', ',', '[', '{':
			n++
		case ':', '-', '?':
			if i+1 < len(data) && data[i+1] <= ' ' {
				n++
			}
		}
	}
	return n
}

var yamlLine = regexp.MustCompile(`^yaml: (?:(?:while|did not|unmarshal)[^:]*: )?line (\d+): (.*)$`)

// syntaxError turns the parser's message into a Problem with its line.
func syntaxError(file string, err error) error {
	msg := err.Error()
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		line, _ := strconv.Atoi(m[1])
		if strings.HasPrefix(m[2], "did not find expected") {
			line++ // the parser, unlike the scanner, counts from 0
		}
		return &Error{File: file, Problems: []Problem{{Line: line, Message: "not valid YAML: " + m[2]}}}
	}
	return fileError(file, "not valid YAML: %s", strings.TrimPrefix(msg, "yaml: "))
}

// checkShape refuses what no file of ours needs: aliases, anchors, merge keys,
// exotic tags, repeated, long or non-scalar keys, deep nesting.
func (d *Document) checkShape(n *yaml.Node, at *path, depth int) {
	if depth > maxDepth {
		d.problemAt(n, at, "is nested more than %d levels deep", maxDepth)
		return
	}
	switch {
	case n.Kind == yaml.AliasNode:
		d.problemAt(n, at, "uses an alias (*%s); write the value out", clipText(n.Value))
		return
	case n.Anchor != "":
		d.problemAt(n, at, "defines an anchor (&%s); write values out where they are used", clipText(n.Anchor))
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		d.checkKeys(n, at, depth)
	case yaml.SequenceNode:
		for i, c := range n.Content {
			d.checkShape(c, at.withIndex(i), depth+1)
		}
	}
}

func (d *Document) checkKeys(n *yaml.Node, at *path, depth int) {
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.Anchor != "" || k.Tag == "!!null" || k.Tag == "!!merge" {
			d.problemAt(k, at, "has a key that is not a plain word")
			continue
		}
		if len(k.Value) > maxKey {
			d.problemAt(k, at, "has a key of %d bytes, more than %d", len(k.Value), maxKey)
			continue
		}
		p := at.withKey(k.Value)
		if line, dup := seen[k.Value]; dup {
			d.problemAt(k, p, "is set twice; the first time on line %d", line)
			continue
		}
		seen[k.Value] = k.Line
		d.checkShape(v, p, depth+1)
	}
}

func (d *Document) kindField() string {
	if n := d.findNode("kind"); n != nil && n.Kind == yaml.ScalarNode {
		return n.Value
	}
	return ""
}

func checkKinds(file string, docs []*Document) error {
	for _, d := range docs {
		k := d.kindField()
		switch {
		case d.root.Kind != yaml.MappingNode:
			d.addProblem(d.root, "", "is %s; a document is a mapping that starts with apiVersion and kind", describeNode(d.root))
		case k == "":
			d.addProblem(d.root, "kind", "is missing; it is one of %s", strings.Join(kinds, ", "))
		case !containsString(kinds, k):
			d.addProblem(d.findNode("kind"), "kind", "unknown kind %q%s", clipText(k), suggestKnown(k, kinds))
		}
		if len(d.problems) > 0 {
			return d.Err()
		}
	}
	return nil
}

func (d *Document) checkVersion() {
	n := d.findNode("apiVersion")
	switch {
	case n == nil:
		d.addProblem(d.root, "apiVersion", "is missing; it is %s", APIVersion)
	case n.Value != APIVersion:
		d.addProblem(n, "apiVersion", "is %q; this version of caisson reads %s", clipText(n.Value), APIVersion)
	}
}

// Problemf records that something is wrong at field, a path like
// components[0].charts[1].version. A field that is absent is placed at the
// nearest parent that is there. The first problem of a field is kept.
func (d *Document) Problemf(field, format string, args ...any) {
	if d.hasField(field) {
		return
	}
	if d.isFull() {
		d.more++
		return
	}
	d.addProblem(d.nearestNode(field), field, format, args...)
}

// Has says whether field is written in the document.
func (d *Document) Has(field string) bool { return d.findNode(field) != nil }

// Line is the line of field, or that of the nearest parent that is there; 0 for neither.
func (d *Document) Line(field string) int {
	if n := d.nearestNode(field); n != nil {
		return n.Line
	}
	return 0
}

// Missing records that a required field is absent, unless a misspelt
// neighbour was already reported in its place.
func (d *Document) Missing(field string) {
	if !d.wanted[field] {
		d.Problemf(field, "is missing")
	}
}

func (d *Document) hasField(field string) bool {
	for _, p := range d.problems {
		if p.Field == field {
			return true
		}
	}
	return false
}

// isFull says whether further problems are only counted.
func (d *Document) isFull() bool { return len(d.problems) >= maxReported }

// problemAt is problem for a place whose name is made only where it is kept.
func (d *Document) problemAt(n *yaml.Node, at *path, format string, args ...any) {
	if d.isFull() {
		d.more++
		return
	}
	d.addProblem(n, at.String(), format, args...)
}

func (d *Document) addProblem(n *yaml.Node, field, format string, args ...any) {
	if d.isFull() {
		d.more++
		return
	}
	p := Problem{Field: clipPath(field), Message: fmt.Sprintf(format, args...)}
	if n != nil {
		p.Line, p.Column = n.Line, n.Column
	}
	d.problems = append(d.problems, p)
}

// Failed says whether a problem was recorded.
func (d *Document) Failed() bool { return len(d.problems) > 0 }

// Err returns every recorded problem as an *Error, or nil.
func (d *Document) Err() error {
	if len(d.problems) == 0 {
		return nil
	}
	ps := append([]Problem(nil), d.problems...)
	sort.SliceStable(ps, func(i, j int) bool {
		if ps[i].Line != ps[j].Line {
			return ps[i].Line < ps[j].Line
		}
		return ps[i].Column < ps[j].Column
	})
	return &Error{File: d.file, Problems: ps, More: d.more}
}

// findNode finds the node at field, or nil.
func (d *Document) findNode(field string) *yaml.Node {
	n, rest := d.walkTo(field)
	if rest != "" {
		return nil
	}
	return n
}

// nearestNode finds the node at field, or its deepest parent that exists.
func (d *Document) nearestNode(field string) *yaml.Node {
	n, _ := d.walkTo(field)
	return n
}

// walkTo goes down field as far as it can and returns what is left of it.
func (d *Document) walkTo(field string) (*yaml.Node, string) {
	n := d.root
	for field != "" {
		step, rest := cutStep(field)
		c := childNode(n, step)
		if c == nil {
			return n, field
		}
		n, field = c, rest
	}
	return n, ""
}

// cutStep splits "a[1].b" into "a" and "[1].b", and "[1].b" into "[1]" and "b".
func cutStep(field string) (step, rest string) {
	if strings.HasPrefix(field, "[") {
		step, rest, _ = strings.Cut(field, "]")
		return step + "]", strings.TrimPrefix(rest, ".")
	}
	i := strings.IndexAny(field, ".[")
	switch {
	case i < 0:
		return field, ""
	case field[i] == '.':
		return field[:i], field[i+1:]
	}
	return field[:i], field[i:]
}

func childNode(n *yaml.Node, step string) *yaml.Node {
	if strings.HasPrefix(step, "[") {
		i, err := strconv.Atoi(strings.Trim(step, "[]"))
		if err != nil || n.Kind != yaml.SequenceNode || i < 0 || i >= len(n.Content) {
			return nil
		}
		return n.Content[i]
	}
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == step {
			return n.Content[i+1]
		}
	}
	return nil
}
