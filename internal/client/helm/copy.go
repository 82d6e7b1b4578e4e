package helm

import (
	"maps"
	"slices"

	"helm.sh/helm/v3/pkg/chart"
)

// copyChart copies a chart and its sub-charts as far as Helm's functions and
// templates change them. Files are shared: nobody writes into them.
func copyChart(c *chart.Chart) *chart.Chart {
	out := &chart.Chart{
		Raw: slices.Clone(c.Raw), Metadata: copyMetadata(c.Metadata), Lock: c.Lock, Templates: slices.Clone(c.Templates),
		Schema: c.Schema, Files: slices.Clone(c.Files),
	}
	out.Values, _ = copyValue(c.Values).(map[string]any)
	for _, sub := range c.Dependencies() {
		out.AddDependency(copyChart(sub))
	}
	return out
}

func copyMetadata(m *chart.Metadata) *chart.Metadata {
	if m == nil {
		return nil
	}
	out := *m
	out.Annotations, out.Dependencies = maps.Clone(m.Annotations), slices.Clone(m.Dependencies)
	for i, d := range out.Dependencies {
		if d != nil {
			own := *d
			own.ImportValues, _ = copyValue(d.ImportValues).([]any)
			out.Dependencies[i] = &own
		}
	}
	return &out
}

// copyValue copies a value of a values file.
func copyValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v == nil {
			return v
		}
		out := make(map[string]any, len(v))
		for key, e := range v {
			out[key] = copyValue(e)
		}
		return out
	case []any:
		if v == nil {
			return v
		}
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = copyValue(e)
		}
		return out
	}
	return v
}
