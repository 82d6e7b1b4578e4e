package preflight

import (
	"fmt"
	"slices"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/event"
)

// asker is a release whose templates may have read Secrets.
type asker struct {
	component, release string
	questions          *helm.Questions
}

// askers are all releases of a selection. What their templates read of Secrets stands
// in no finding, no error and no plan.
type askers []asker

// hideError gives err, or helm.ErrTold in its place where it would tell.
func (list askers) hideError(err error) error {
	for _, a := range list {
		err = a.questions.Hide(err)
	}
	return err
}

// keepSecrets takes the place of findings that would tell. A plan that would tell is
// withheld, but for the fields of changed objects, which are there for people alone.
func (list askers) keepSecrets(p *plan.Plan, found []event.Finding) (*plan.Plan, []event.Finding) {
	var out []event.Finding
	for _, f := range found {
		shown, hidden := list.hideFinding(f)
		if !hidden || !slices.Contains(out, shown) {
			out = append(out, shown)
		}
	}
	if p == nil {
		return nil, out
	}
	var forbidden []event.Finding
	for _, a := range list {
		if a.tellsIn(p) {
			forbidden = append(forbidden, a.finding(event.Error))
		}
	}
	if len(forbidden) > 0 {
		return nil, append(forbidden, out...)
	}
	p.Findings = out
	return p, out
}

func (list askers) hideFinding(f event.Finding) (shown event.Finding, hidden bool) {
	for _, a := range list {
		if a.questions.TellsIn(f) {
			return a.finding(f.Severity), true
		}
	}
	return f, false
}

// finding says that something is not said.
func (a asker) finding(severity event.Severity) event.Finding {
	return event.Finding{
		Severity: severity, Code: event.CodeRender, Item: a.component,
		What: fmt.Sprintf("release %s of component %s: %v, so what was found is not shown",
			a.release, a.component, helm.ErrTold),
		Why:  "not everybody who reads plans and findings may read the Secret",
		Hint: "turn off in the chart's values what puts the Secret's value into a name, an image, an address or an error",
	}
}

// hiddenField stands for a field of a changed object.
const hiddenField = "a value that a template looked up in a Secret"

// tellsIn says whether the plan would tell, and hides fields of changed objects that
// do. Values are not looked at: the operator writes them, and charts put passwords
// among them into Secrets that they look up later.
func (a asker) tellsIn(p *plan.Plan) bool {
	c, ok := p.Component(a.component)
	if !ok {
		return false
	}
	for i := range c.Releases {
		r := &c.Releases[i]
		if r.Name != a.release {
			continue
		}
		for _, change := range r.ObjectChanges {
			a.hideFields(change.Fields)
		}
		return a.questions.TellsIn([]any{r.Rendering, r.ObjectChanges})
	}
	return false
}

func (a asker) hideFields(fields []string) {
	for i, field := range fields {
		if a.questions.Tells(field) {
			fields[i] = hiddenField
		}
	}
}
