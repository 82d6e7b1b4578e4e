package helm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

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
	Object kube.Object
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
// whole reference, every one must have a place at the site. Elsewhere those the
// site has are replaced and others stay: references split over repository, image
// and version or repository and tag; strings and --flag=REF that are exactly a
// reference with a host; any reference in env, args and command of a container or
// under a key that names an image; YAML and JSON inside strings, whose form is
// kept. Pods get the pull secret. Definitions of custom resources, schemas,
// examples and annotations are left alone. Errors join one *UnknownImageError per
// reference without a place; an object nested too deeply to be searched whole is
// an error too.
func RewriteObject(u *unstructured.Unstructured, pulls Pulls) error {
	if kube.IsCRD(u) {
		return nil
	}
	w := &rewriter{rewrite: pulls.Rewrite, secret: pulls.Secret, object: kube.ObjectOf(u)}
	w.value(u.Object, &place{index: -1})
	return errors.Join(w.errs...)
}

type rewriter struct {
	rewrite Rewrite
	secret  string
	object  kube.Object
	errs    []error
	deep    bool // errs says so
}

func (w *rewriter) value(v any, at *place) {
	if at.depth > maxDepth {
		if !w.deep {
			w.deep, w.errs = true, append(w.errs, fmt.Errorf("searching %s for images: %w", w.object, errTooDeep))
		}
		return
	}
	switch v := v.(type) {
	case map[string]any:
		w.mapping(v, at)
	case []any:
		for i, e := range v {
			if s, ok := e.(string); ok {
				v[i] = w.text(at.key, s)
				continue
			}
			w.value(e, at.element(i))
		}
	}
}

func (w *rewriter) mapping(m map[string]any, at *place) {
	if at.pod() {
		w.strings(m)
	}
	if _, pod := m["containers"].([]any); pod && w.secret != "" {
		w.credential(m)
	}
	w.parts(m)
	for key, v := range m {
		if unsearched[key] || otherKeys[key] {
			continue
		}
		ref, isText := v.(string)
		switch {
		case isText && key == "image":
			w.image(m, strings.TrimSpace(ref), at)
		case isText && key == "reference" && at.key == "image":
			m[key] = w.must(strings.TrimSpace(ref), at.child(key))
		case isText:
			m[key] = w.text(key, ref)
		default:
			w.value(v, at.child(key))
		}
	}
}

// image handles the key `image` of m.
func (w *rewriter) image(m map[string]any, ref string, at *place) {
	here := at.child("image")
	switch repository, _ := m["repository"].(string); {
	case ref == "":
	case at.pod():
		m["image"] = w.must(ref, here)
	case repository != "" && !strings.ContainsAny(ref, ":@"):
		w.split(m, repository, ref)
	case plausible(ref) && strings.ContainsAny(ref, "/:@"):
		m["image"] = w.must(ref, here)
	case plausible(ref):
		if site, ok := w.rewrite(ref); ok {
			m["image"] = site
		}
	}
}

// split handles a reference that operators' resources spread over neighbouring
// keys. The digest goes where the version was. One that the site lacks stays:
// the operator may add to it before it pulls, and the plan has spoken of it.
func (w *rewriter) split(m map[string]any, repository, image string) {
	key := "version"
	version, _ := m[key].(string)
	if version == "" {
		key = "tag"
		version, _ = m[key].(string)
	}
	joined := join(repository+"/"+image, version)
	if version == "" || !plausible(joined) {
		return
	}
	site, known := w.rewrite(joined)
	name, digest, ok := strings.Cut(site, "@")
	cut := strings.LastIndexByte(name, '/')
	if !known || !ok || cut < 0 {
		return
	}
	m["repository"], m["image"], m[key] = name[:cut], name[cut+1:], digest
}

func (w *rewriter) must(ref string, at *place) string {
	site, ok := w.rewrite(ref)
	if !ok {
		w.errs = append(w.errs, &UnknownImageError{Ref: ref, Object: w.object, Path: at.String()})
		return ref
	}
	return site
}

// credential adds the pull secret to a pod, unless it is there.
func (w *rewriter) credential(pod map[string]any) {
	list, _ := pod["imagePullSecrets"].([]any)
	for _, e := range list {
		if m, _ := e.(map[string]any); m["name"] == w.secret {
			return
		}
	}
	pod["imagePullSecrets"] = append(list, map[string]any{"name": w.secret})
}

// strings replaces known references in a container's env, args and command.
func (w *rewriter) strings(container map[string]any) {
	for _, key := range []string{"args", "command"} {
		list, _ := container[key].([]any)
		for i, e := range list {
			if s, ok := e.(string); ok {
				list[i] = w.argument(s)
			}
		}
	}
	env, _ := container["env"].([]any)
	for _, e := range env {
		variable, _ := e.(map[string]any)
		if s, ok := variable["value"].(string); ok {
			variable["value"] = w.known(s)
		}
	}
}

// argument handles REF and --flag=REF.
func (w *rewriter) argument(s string) string {
	if flag, ref, ok := strings.Cut(s, "="); ok && strings.HasPrefix(flag, "-") {
		return flag + "=" + w.known(ref)
	}
	return w.known(s)
}

// known replaces s if it is a whole reference of the site, and only then.
func (w *rewriter) known(s string) string {
	if !strings.ContainsAny(s, ":@") || !plausible(s) {
		return s
	}
	if site, ok := w.rewrite(s); ok {
		return site
	}
	return s
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
		text, err := yaml.Marshal(u.Object)
		if err != nil {
			return fmt.Errorf("encoding %s: %w", kube.ObjectOf(u), err)
		}
		fmt.Fprintf(out, "---\n%s%s", sourceComment(source), text)
	}
	return errors.Join(errs...)
}

// sourceComment is Helm's "# Source:" line of a document, or "".
func sourceComment(source string) string {
	line, _, _ := strings.Cut(source, "\n")
	if strings.HasPrefix(line, "# Source: ") {
		return line + "\n"
	}
	return ""
}
