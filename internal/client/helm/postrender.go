package helm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/document"
)

// ErrUnknownImage is wrapped when an object names an image that has no place at
// the site.
var ErrUnknownImage = errors.New("the image is not in the bundle")

// ErrUnplannedCRD is wrapped when a custom resource definition is rendered that
// was not foreseen.
var ErrUnplannedCRD = errors.New("the custom resource definition is not planned")

// CheckCRD says whether the name of a definition is among those planned.
func CheckCRD(crd *unstructured.Unstructured, planned []string) error {
	if slices.Contains(planned, crd.GetName()) {
		return nil
	}
	return fmt.Errorf("%s: %w", crd.GetName(), ErrUnplannedCRD)
}

// UnknownImageError says where such an image is named. It is an ErrUnknownImage.
type UnknownImageError struct {
	Ref    string
	Object object.Ref
	Path   string // spec.containers[0].image
}

func (e *UnknownImageError) Error() string {
	return fmt.Sprintf("%s at %s: %s: %s", e.Object, e.Path, ErrUnknownImage, e.Ref)
}

// Unwrap gives ErrUnknownImage.
func (e *UnknownImageError) Unwrap() error { return ErrUnknownImage }

// Rewrite maps an image reference, as written, to what the site's nodes pull:
// HOST/PREFIX/REPOSITORY@DIGEST. A reference that is one already maps to itself.
// ok is false for an image that has no place there.
type Rewrite func(ref string) (site string, ok bool)

// Pulls is how nodes of the site pull.
type Pulls struct {
	Rewrite Rewrite
	Secret  string // name of a pull secret to add to every pod, "" for none
}

// RewriteObject replaces image references in u, in place. In containers and
// image volumes of any kind of object, and under an `image` key that holds a
// whole reference, every one must have a place at the site. Of the other sites
// that package document finds, those the site has are replaced and others stay;
// texts keep their form. Pods get the pull secret. Definitions of custom
// resources, schemas, examples and annotations are left alone. Errors join one
// *UnknownImageError per reference without a place; an object nested too deeply
// to be searched whole is an error too.
func RewriteObject(u *unstructured.Unstructured, pulls Pulls) error {
	var errs []error
	found, err := document.ReadObject(u.Object)
	if err != nil {
		errs = append(errs, fmt.Errorf("searching %s for images: %w", object.RefOf(u), err))
	}
	found.Rewrite(func(s document.Site) (string, bool) {
		ref, ok := pulls.Rewrite(s.Ref)
		if !ok && s.Required && !document.IsTest(u.GetAnnotations()) {
			errs = append(errs, &UnknownImageError{Ref: s.Ref, Object: object.RefOf(u), Path: s.Path})
		}
		return ref, ok
	})
	for _, s := range found.Sites() {
		if s.What == document.Pods && pulls.Secret != "" {
			addPullSecret(s.Object, pulls.Secret)
		}
	}
	return errors.Join(errs...)
}

// addPullSecret adds the pull secret to a pod, unless it is there.
func addPullSecret(pod map[string]any, name string) {
	list, _ := pod["imagePullSecrets"].([]any)
	for _, e := range list {
		if m, _ := e.(map[string]any); m["name"] == name {
			return
		}
	}
	pod["imagePullSecrets"] = append(list, map[string]any{"name": name})
}

// postRenderer is what Helm calls with a release's rendered manifests: images
// become the site's, custom resource definitions are left out (they are applied
// on their own, see Engine). One that is not among crds is an error: nobody
// would apply it.
type postRenderer struct {
	pulls Pulls
	crds  []string
}

// Run implements Helm's postrender.PostRenderer.
func (p postRenderer) Run(rendered *bytes.Buffer) (*bytes.Buffer, error) {
	docs, err := document.Split("", rendered.String())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, d := range docs {
		if err := p.document(&out, d.Source); err != nil {
			return nil, err
		}
	}
	return &out, nil
}

func (p postRenderer) document(out *bytes.Buffer, source string) error {
	objects, err := kube.Parse([]byte(source))
	if err != nil {
		return fmt.Errorf("reading a rendered document: %w", err)
	}
	var errs []error
	for _, u := range objects {
		if kube.IsCRD(u) {
			errs = append(errs, CheckCRD(u, p.crds))
			continue
		}
		errs = append(errs, RewriteObject(u, p.pulls))
		text, err := writeAnew(u)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "---\n%s%s", sourceComment(source), text)
	}
	return errors.Join(errs...)
}

// writeAnew is an object as YAML, for people who look at a release; as JSON where
// something that Helm trims stands at the end.
func writeAnew(u *unstructured.Unstructured) ([]byte, error) {
	text, err := yaml.Marshal(u.Object)
	if err == nil && strings.TrimSpace(string(text)) != strings.TrimSuffix(string(text), "\n") {
		if text, err = json.Marshal(u.Object); err == nil {
			text = append(text, '\n')
		}
	}
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", object.RefOf(u), err)
	}
	return text, nil
}

// sourceComment is Helm's "# Source:" line of a document, or "".
func sourceComment(source string) string {
	line, _, _ := strings.Cut(source, "\n")
	if strings.HasPrefix(line, "# Source: ") {
		return line + "\n"
	}
	return ""
}
