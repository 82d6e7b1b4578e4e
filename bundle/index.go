package bundle

import (
	"encoding/json"

	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// parseIndex reads index.json in its canonical form: what it costs in memory is
// bounded before it is decoded.
func parseIndex(b []byte) (index ocispec.Index, err error) {
	budget := jsonBudget{objects: 3*maxReferences + 8, commas: 16 * maxReferences, depth: 8}
	if err := budget.spendOn(b); err != nil {
		return index, err
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return index, formatError("index.json: %w", err)
	}
	if err := requireCanonical("index.json", b, index); err != nil {
		return index, err
	}
	return index, checkIndex(index)
}

func checkIndex(index ocispec.Index) error {
	if index.SchemaVersion != 2 || index.MediaType != ocispec.MediaTypeImageIndex || index.Subject != nil || index.ArtifactType != "" {
		return formatError("index.json is not a plain OCI image index")
	}
	if len(index.Manifests) > maxReferences {
		return formatError("%d references, at most %d are allowed", len(index.Manifests), maxReferences)
	}
	return nil
}

func newIndex(manifests []ocispec.Descriptor) ocispec.Index {
	return ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: manifests,
	}
}

// mapReferences maps each org.opencontainers.image.ref.name to its descriptor;
// every descriptor has one, and none occurs twice.
func mapReferences(index ocispec.Index) (map[string]int, error) {
	refs := make(map[string]int, len(index.Manifests))
	for i, d := range index.Manifests {
		ref := d.Annotations[ocispec.AnnotationRefName]
		if ref == "" {
			return nil, formatError("descriptor %d has no reference name", i)
		}
		if _, twice := refs[ref]; twice {
			return nil, formatError("reference %q occurs twice", ref)
		}
		refs[ref] = i
	}
	return refs, nil
}

// bundleDescriptor finds the one descriptor of the bundle manifest.
func bundleDescriptor(index ocispec.Index) (found ocispec.Descriptor, err error) {
	count := 0
	for _, d := range index.Manifests {
		if d.ArtifactType == MediaTypeBundle || d.Annotations[AnnotationKind] == KindBundle {
			found, count = d, count+1
		}
	}
	if count != 1 {
		return found, formatError("%d bundle manifests in index.json", count)
	}
	if found.ArtifactType != MediaTypeBundle || found.MediaType != ocispec.MediaTypeImageManifest {
		return found, formatError("bundle manifest is a %s of type %q", found.MediaType, found.ArtifactType)
	}
	return found, nil
}

// jsonBudget bounds a JSON text before encoding/json makes maps and slices of it.
type jsonBudget struct{ objects, commas, depth int }

func (j jsonBudget) spendOn(b []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		if inString {
			switch b[i] {
			case '\\':
				i++
			case '"':
				inString = false
			}
			continue
		}
		switch b[i] {
		case '"':
			inString = true
		case '{', '[':
			j.objects, depth = j.objects-1, depth+1
		case '}', ']':
			depth--
		case ',':
			j.commas--
		}
		if j.objects < 0 || j.commas < 0 || depth > j.depth {
			return formatError("JSON text is too rich")
		}
	}
	return nil
}
