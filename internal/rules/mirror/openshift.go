package mirror

// OpenShift gives the ImageDigestMirrorSet and the ImageTagMirrorSet of the
// same meaning, as plain objects of config.openshift.io/v1. Sources are never
// contacted. The cluster's own configuration says how the registry is trusted
// and writes it to the nodes, which may restart them.
func (c Config) OpenShift() []map[string]any {
	kinds := []struct{ kind, field string }{
		{"ImageDigestMirrorSet", "imageDigestMirrors"},
		{"ImageTagMirrorSet", "imageTagMirrors"},
	}
	var out []map[string]any
	for _, k := range kinds {
		out = append(out, map[string]any{
			"apiVersion": "config.openshift.io/v1",
			"kind":       k.kind,
			"metadata":   map[string]any{"name": "caisson-" + c.Stack},
			"spec":       map[string]any{k.field: c.mirrorList()},
		})
	}
	return out
}

func (c Config) mirrorList() []any {
	var out []any
	for _, host := range c.Hosts {
		out = append(out, map[string]any{
			"source":             host,
			"mirrors":            []any{c.Target(host, "")},
			"mirrorSourcePolicy": "NeverContactSource",
		})
	}
	return out
}
