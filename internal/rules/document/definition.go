package document

import "go.yaml.in/yaml/v3"

// maxVersions bounds the versions of a definition that are listed.
const maxVersions = 64

// listDefinition lists a custom resource definition that stands by itself.
func (w *walker) listDefinition(m mapping, at *position) {
	about, spec := m.under("metadata"), m.under("spec")
	versions := spec.get("versions")
	if w.text != nil || versions == nil || versions.Kind != yaml.SequenceNode {
		return
	}
	site := Site{What: Definition, Name: about.word("name")}
	for _, n := range versions.Content[:min(len(versions.Content), maxVersions)] {
		if n = follow(n); n.Kind != yaml.MappingNode {
			continue
		}
		version := mapping{n}
		if version.word("served") == "true" {
			site.Served = append(site.Served, version.word("name"))
		}
		if version.word("storage") == "true" {
			site.Stored = version.word("name")
		}
	}
	w.add(site, m.node, at)
}

// under is the mapping under key, or an empty one.
func (m mapping) under(key string) mapping {
	if n := m.get(key); n != nil && n.Kind == yaml.MappingNode {
		return mapping{n}
	}
	return mapping{&yaml.Node{}}
}
