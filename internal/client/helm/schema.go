package helm

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"helm.sh/helm/v3/pkg/chart"
)

const schemaURL = "caisson:///values.schema.json"

// schemas are the compiled ones of a chart that is rendered several times. The zero
// value is ready.
type schemas struct{ compiled map[string]*jsonschema.Schema }

// checkAll holds values against the values.schema.json of the chart and of
// its enabled sub-charts, as Helm does, except that a schema which refers to
// another document accepts anything there: nothing is downloaded or opened.
func (s *schemas) checkAll(c *chart.Chart, values map[string]any) error {
	var errs []error
	if c.Schema != nil {
		if err := s.checkOne(values, c.Schema); err != nil {
			errs = append(errs, fmt.Errorf("values of chart %s against its schema: %w", c.Name(), err))
		}
	}
	for _, sub := range c.Dependencies() {
		v, ok := values[sub.Name()].(map[string]any)
		if !ok {
			continue
		}
		if err := s.checkAll(sub, v); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *schemas) checkOne(values map[string]any, raw []byte) error {
	schema := s.compiled[string(raw)]
	if schema == nil {
		var err error
		if schema, err = compileSchema(raw); err != nil {
			return err
		}
		if s.compiled == nil {
			s.compiled = map[string]*jsonschema.Schema{}
		}
		s.compiled[string(raw)] = schema
	}
	if err := schema.Validate(values); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "jsonschema validation failed with '"+schemaURL+"#'\n"))
	}
	return nil
}

func compileSchema(raw []byte) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(acceptAnything{})
	if err := compiler.AddResource(schemaURL, doc); err != nil {
		return nil, err
	}
	return compiler.Compile(schemaURL)
}

// acceptAnything stands for every document that is not at hand.
type acceptAnything struct{}

func (acceptAnything) Load(string) (any, error) { return true, nil }
