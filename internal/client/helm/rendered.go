package helm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"helm.sh/helm/v3/pkg/chart"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/document"
	"github.com/caisson/caisson/internal/rules/rendering"
)

// ErrAmbiguousText: what is rendered can be read in two ways, so that what was
// looked at need not be what would be installed.
var ErrAmbiguousText = errors.New("rendered text that can be read in two ways")

// Object is one object of a rendering.
type Object struct {
	*unstructured.Unstructured
	Document document.Document // that it stands in
}

// Objects are those of a rendering in their order, lists taken apart. They are
// what is installed: Helm gets the same, written anew. Errors wrap
// ErrAmbiguousText or are those of reading YAML.
func (r Rendering) Objects() ([]Object, error) {
	var out []Object
	for _, d := range r.Documents {
		found, err := objectsIn(d)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// ObjectReader reads the objects of several renderings of one chart: what several have
// is parsed once, and not to be changed. The zero value is ready.
type ObjectReader struct{ known map[documentKey][]Object }

// Objects are those of a rendering, as its own method has them.
func (o *ObjectReader) Objects(r Rendering) ([]Object, error) {
	if o.known == nil {
		o.known = map[documentKey][]Object{}
	}
	var out []Object
	for _, d := range r.Documents {
		found, ok := o.known[keyOf(d)]
		if !ok {
			var err error
			if found, err = objectsIn(d); err != nil {
				return nil, err
			}
			o.known[keyOf(d)] = found
		}
		for _, u := range found {
			out = append(out, Object{u.Unstructured, d})
		}
	}
	return out, nil
}

func objectsIn(d document.Document) ([]Object, error) {
	if err := checkUnambiguous(d); err != nil {
		return nil, err
	}
	found, err := kube.Parse([]byte(d.Source))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", d.Template, err)
	}
	out := make([]Object, len(found))
	for i, u := range found {
		out[i] = Object{u, d}
	}
	return out, nil
}

// WithoutSame leaves out of two renderings the documents that both have in the same
// place: between those, nothing differs.
func WithoutSame(first, second Rendering) (one, two Rendering) {
	if len(first.Documents) != len(second.Documents) {
		return first, second
	}
	for i, d := range first.Documents {
		if other := second.Documents[i]; keyOf(d) != keyOf(other) {
			one.Documents, two.Documents = append(one.Documents, d), append(two.Documents, other)
		}
	}
	return one, two
}

// Contents are the objects' contents, in their order.
func (r Rendering) Contents() ([]map[string]any, error) {
	objects, err := r.Objects()
	return ContentsOf(objects), err
}

// ContentsOf are the contents of objects.
func ContentsOf(objects []Object) []map[string]any {
	out := make([]map[string]any, len(objects))
	for i, o := range objects {
		out[i] = o.Object
	}
	return out
}

// Describe lists the objects of a release and what chance decides of them, from
// two renderings of it, see rendering.Plan. Errors are those of Objects and wrap
// rendering.ErrUnsteady.
func Describe(first, second Rendering) ([]plan.RenderedObject, error) {
	var reader ObjectReader
	one, err := reader.Objects(first)
	if err != nil {
		return nil, err
	}
	two, err := reader.Objects(second)
	if err != nil {
		return nil, err
	}
	return rendering.Plan(ContentsOf(one), ContentsOf(two))
}

// Definitions are the custom resource definitions of a rendering, wherever the
// chart keeps them.
func (r Rendering) Definitions() ([]*unstructured.Unstructured, error) {
	objects, err := r.Objects()
	var out []*unstructured.Unstructured
	for _, o := range objects {
		if kube.IsCRD(o.Unstructured) {
			out = append(out, o.Unstructured)
		}
	}
	return out, err
}

// checkUnambiguous refuses a document that begins on the line of its separator
// inside another: Helm ends documents there, readers of YAML that want one
// document do not see it.
//
// A template's name that could end its comment is refused as well: Helm writes it
// before the objects.
func checkUnambiguous(d document.Document) error {
	if strings.ContainsFunc(d.Template, func(r rune) bool { return r != ' ' && !unicode.IsGraphic(r) || unicode.Is(unicode.Zs, r) && r != ' ' }) {
		return fmt.Errorf("reading %q: %w: the template's name is no plain text", d.Template, ErrAmbiguousText)
	}
	begun := false
	for line := range strings.Lines(d.Source) {
		if begun && (strings.HasPrefix(line, "--- ") || strings.HasPrefix(line, "---\t")) {
			return fmt.Errorf("reading %s: %w: a document begins on the line of its separator", d.Template, ErrAmbiguousText)
		}
		line = strings.TrimSpace(line)
		begun = begun || (line != "" && line[0] != '#')
	}
	return nil
}

// renderedChart is a chart of the same name, version and default values whose
// templates are the objects of a rendering, as constants: Helm's engine, which
// runs in this process, has nothing to evaluate. Each object stands for itself
// in the template that it came from, so that Helm sorts it as it always did.
func renderedChart(c *Chart, objects []Object, notes string) (*chart.Chart, error) {
	loaded, err := c.Load()
	if err != nil {
		return nil, err
	}
	metadata := *loaded.Metadata
	metadata.Dependencies = nil
	out := &chart.Chart{Metadata: &metadata, Values: loaded.Values}
	templates := map[string]*chart.File{}
	for _, o := range objects {
		if o.Document.CRD {
			continue
		}
		name := strings.TrimPrefix(o.Document.Template, loaded.Name()+"/")
		if templates[name] == nil {
			templates[name] = &chart.File{Name: name}
			out.Templates = append(out.Templates, templates[name])
		}
		text, err := constantText(o.Unstructured)
		if err != nil {
			return nil, err
		}
		templates[name].Data = append(templates[name].Data, text...)
	}
	if notes != "" {
		out.Templates = append(out.Templates, &chart.File{Name: notesFile, Data: []byte(constant(notes))})
	}
	return out, nil
}

// noValue is what Helm's engine removes from everything that it renders.
const noValue = "<no value>"

// constantText is an object as a template that evaluates nothing. It is JSON: blanks
// at its end are nobody's, and depth costs nothing.
func constantText(u *unstructured.Unstructured) (string, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(u.Object); err != nil {
		return "", fmt.Errorf("encoding %s: %w", object.RefOf(u), err)
	}
	text := buffer.String()
	if strings.Contains(text, noValue) {
		return "", fmt.Errorf("encoding %s: %w: it holds %s", object.RefOf(u), ErrAmbiguousText, noValue)
	}
	return "---\n" + constant(text) + "\n", nil
}

// constant is a template whose output is s.
func constant(s string) string { return "{{" + strconv.Quote(s) + "}}" }
