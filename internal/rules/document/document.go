// Package document reads rendered Kubernetes objects: it splits a stream of YAML
// into documents, walks each once, and lists its sites, which are the places where
// an image, a command, an address or a pull policy stands. Searching for images,
// rewriting them and the lint are clients of that one list.
//
// It never renders, never reaches a cluster or a network, and decides nothing.
package document

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds of one rendering.
const (
	MaxBytes     = 64 << 20 // of all documents
	maxDocuments = 50000
)

// ErrTooLarge is wrapped when documents are more, larger or deeper than is read.
var ErrTooLarge = errors.New("documents exceed their size limits")

// Document is one rendered YAML document, or one document of a crds/ file.
type Document struct {
	Template string // CHART/templates/x.yaml, CHART/crds/y.yaml, or what a manifest is called
	Line     int    // of the first line of Source within the rendered template, from 1
	Source   string
	CRD      bool // from a crds/ directory
	Manifest bool `json:",omitempty"` // of a plain manifest, which no chart renders
}

// Split cuts a plain manifest, a stream of YAML documents, apart. name is what
// Documents carry as their Template. Empty documents are dropped. Errors wrap
// ErrTooLarge.
func Split(name, source string) ([]Document, error) {
	var s Splitter
	if err := s.Add(name, source, false); err != nil {
		return nil, err
	}
	docs := s.Documents()
	for i := range docs {
		docs[i].Manifest = true
	}
	return docs, nil
}

// Splitter splits several streams within the bounds of one rendering. The zero
// value is ready.
type Splitter struct {
	docs  []Document
	bytes int
}

// Documents are those found so far, in the order of the streams.
func (s *Splitter) Documents() []Document { return s.docs }

// Add splits one more stream. crd says that it is from a crds/ directory.
func (s *Splitter) Add(name, source string, crd bool) error {
	s.bytes += len(source)
	if s.bytes > MaxBytes {
		return fmt.Errorf("%w: more than %d bytes rendered", ErrTooLarge, MaxBytes)
	}
	line, start, startLine := 1, 0, 1
	for at := 0; at < len(source); line++ {
		end := strings.IndexByte(source[at:], '\n') + at + 1
		if end == at {
			end = len(source)
		}
		if isSeparator(source[at:end]) {
			s.keep(Document{Template: name, Line: startLine, Source: source[start:at], CRD: crd})
			start, startLine = end, line+1
		}
		at = end
	}
	s.keep(Document{Template: name, Line: startLine, Source: source[start:], CRD: crd})
	if len(s.docs) > maxDocuments {
		return fmt.Errorf("%w: more than %d documents rendered", ErrTooLarge, maxDocuments)
	}
	return nil
}

func (s *Splitter) keep(d Document) {
	if hasContent(d.Source) {
		s.docs = append(s.docs, d)
	}
}

// isSeparator says whether a line ends a document: "---" in the first column,
// alone or before a comment, with or without a space between. That is what Helm
// and Kubernetes' own reader take.
func isSeparator(line string) bool {
	rest, ok := strings.CutPrefix(line, "---")
	if !ok {
		return false
	}
	rest = strings.TrimSpace(rest)
	return rest == "" || rest[0] == '#'
}

// hasContent says whether anything but comments and blank lines is in source.
func hasContent(source string) bool {
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			return true
		}
	}
	return false
}
