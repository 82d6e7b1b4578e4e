package lock

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ModelExtra is another model of the hub, such as a draft model, whose files lie in a
// folder of this one.
type ModelExtra struct {
	Path       string      `yaml:"path"`       // the folder
	Repository string      `yaml:"repository"` // as the hub spells it
	Revision   string      `yaml:"revision"`   // what the stack asked for
	Commit     string      `yaml:"commit"`     // 40 hex digits
	License    string      `yaml:"license,omitempty"`
	Terms      *ModelTerms `yaml:"terms,omitempty"`
}

func (e ModelExtra) compare(other ModelExtra) int {
	return cmp.Or(cmp.Compare(e.Path, other.Path), cmp.Compare(e.Repository, other.Repository), cmp.Compare(e.Commit, other.Commit))
}

// LicenseName is how the licence is called.
func (e ModelExtra) LicenseName() string { return e.Terms.licenseName(e.License) }

// notes say where the files are from, and under what terms.
func (e ModelExtra) notes() []string {
	license := e.LicenseName()
	if license == "" {
		license = "not declared"
	}
	out := []string{fmt.Sprintf("%s: hf://%s at %s, licence %s", e.Path, e.Repository, e.Commit, license)}
	for _, note := range e.Terms.notes() {
		out = append(out, e.Path+": "+note)
	}
	return out
}

// notes say what somebody must know of the terms beside the licence's name.
func (t *ModelTerms) notes() (out []string) {
	if t == nil {
		return nil
	}
	if t.Gated != "" {
		out = append(out, "gated: its owner lets people in ("+t.Gated+")")
	}
	if t.Link != "" {
		out = append(out, "licence text: "+t.Link)
	}
	return out
}

// licenseName is how a licence is called: "other" is the hub's word for one that it has
// none for, and whose name the card gives.
func (t *ModelTerms) licenseName(license string) string {
	if t != nil && t.Name != "" && (license == "" || license == "other") {
		return t.Name
	}
	return license
}

// licenses are the licences of the model, of its extras and of its files, each once. One
// that is not declared is empty, where others are.
func (m *HubModel) licenses() []string {
	out := []string{m.LicenseName()}
	add := func(name string) {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, e := range m.Extras {
		add(e.LicenseName())
	}
	for _, f := range m.Files {
		add(m.licenseOf(f))
	}
	if len(out) == 1 && out[0] == "" {
		return nil
	}
	return out
}

// licenseOf is the licence of a file: that of the model that it is from. Where the stack
// names the address of a file, nobody declares one.
func (m *HubModel) licenseOf(f ModelFile) string {
	if f.URL == "" {
		return m.LicenseName()
	}
	from, _ := m.ExtraOf(f)
	return from.LicenseName()
}

// ExtraOf is the other model that a file is from: of several the one with the longest path.
func (m *HubModel) ExtraOf(f ModelFile) (from ModelExtra, found bool) {
	for _, e := range m.Extras {
		if e.holds(f) && len(e.Path) > len(from.Path) {
			from, found = e, true
		}
	}
	return from, found
}

// holds says whether a file is one of the extra's model.
func (e ModelExtra) holds(f ModelFile) bool {
	return strings.HasPrefix(f.Path, e.Path+"/") && strings.Contains(f.URL, "/"+e.Repository+"/resolve/"+e.Commit+"/")
}

func (t *ModelTerms) check(c *checker, at string) {
	if t == nil {
		return
	}
	c.checkText(at+".name", t.Name, false)
	c.checkText(at+".link", t.Link, false)
	c.checkText(at+".gated", t.Gated, false)
}

// maxModelExtras bounds how many other models lie in one.
const maxModelExtras = 100

func (m *HubModel) checkExtras(c *checker, at string) {
	if len(m.Extras) > maxModelExtras {
		c.problem(at, "has %d entries, at most %d", len(m.Extras), maxModelExtras)
		return
	}
	for i, e := range m.Extras {
		at := fmt.Sprintf("%s[%d]", at, i)
		c.checkPath(at+".path", e.Path)
		c.checkHubCommit(at, e.Repository, e.Revision, e.Commit)
		c.checkText(at+".license", e.License, false)
		e.Terms.check(c, at+".terms")
		if i > 0 && m.Extras[i-1].compare(e) >= 0 {
			c.problem(at+".path", "is out of order or repeated")
		}
	}
}
