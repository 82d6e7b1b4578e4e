package preflight

import (
	"github.com/caisson/caisson/internal/rules/document"
	"github.com/caisson/caisson/internal/rules/lint"
)

// egress finds what rendered documents would fetch from outside the site.
func egress(docs []document.Document) ([]lint.Finding, error) {
	texts := make([]lint.Document, len(docs))
	for i, d := range docs {
		texts[i] = lint.Document{Template: d.Template, Line: d.Line, Source: d.Source}
	}
	return lint.Check(texts)
}
