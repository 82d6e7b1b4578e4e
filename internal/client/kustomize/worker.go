package kustomize

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/yaml"

	"github.com/caisson/caisson/internal/api/lock"
)

// Work is the worker's side: it reads one request from in, asks for what it needs on out,
// is answered on in, and writes what the build came to. It cuts the whole process off from
// the network and from other programs; the caller bounds the process beforehand, and ends
// it afterwards.
func Work(in io.Reader, out io.Writer) error {
	cutOff()
	w := &worker{in: newDecoder(in), out: newEncoder(out)}
	var q request
	if err := w.in.next(&q, maxRequest); err != nil {
		return fmt.Errorf("reading what to build: %w", err)
	}
	built, err := w.build(q)
	answer := message{Built: built}
	if err != nil {
		answer = message{Problem: shorten(err.Error())}
	}
	return w.out.Encode(&answer)
}

// errOffline: something reached for the network from inside a build.
var errOffline = errors.New("a build reaches nothing outside its archives")

type noNetwork struct{}

func (noNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("%s: %w", r.URL.Redacted(), errOffline)
}

// cutOff makes kustomize fail where it would call out: it has its own client of the
// default transport, and finds git by the environment.
func cutOff() {
	http.DefaultTransport = noNetwork{}
	os.Clearenv()
}

// shorten cuts a text that kustomize may make as long as what it read.
func shorten(s string) string {
	s = strings.ReplaceAll(s, sourceMount+"/", "")
	if len(s) > maxProblem {
		s = strings.ToValidUTF8(s[:maxProblem], "") + " …"
	}
	return s
}

// worker builds for another program.
type worker struct {
	in  *boundedDecoder
	out interface{ Encode(v any) error }
}

// ask asks a question.
func (w *worker) ask(q message) (reply, error) {
	var r reply
	if err := w.out.Encode(&q); err != nil {
		return r, err
	}
	if err := w.in.next(&r, 2*maxMessage); err != nil {
		return r, fmt.Errorf("reading an answer: %w", err)
	}
	if r.Problem != "" {
		return r, errors.New(r.Problem)
	}
	return r, nil
}

func (w *worker) build(q request) (built []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			built, err = nil, fmt.Errorf("kustomize cannot take it: %v", p)
		}
	}()
	files := &fileSystem{worker: w, own: map[string][]byte{}}
	root := path.Join(sourceMount, q.Folder)
	if q.changes() {
		if err := w.checkTargets(files, q); err != nil {
			return nil, err
		}
		if root, err = files.addOverlay(q); err != nil {
			return nil, err
		}
	}
	made, err := run(files, root)
	if err != nil {
		return nil, cmp.Or(files.failed, err)
	}
	built, err = made.AsYaml()
	switch {
	case err != nil:
		return nil, err
	case len(built) > maxOutput:
		return nil, fmt.Errorf("it comes to more than %d bytes", maxOutput)
	case len(bytes.TrimSpace(built)) == 0:
		return nil, errors.New("it comes to nothing")
	}
	return built, nil
}

// changes says whether a request is more than the kustomization of a folder.
func (q *request) changes() bool {
	return len(q.Files) > 0 || q.Namespace != "" || len(q.Patches) > 0
}

func run(files filesys.FileSystem, root string) (resmap.ResMap, error) {
	opt := krusty.MakeDefaultOptions()
	opt.Reorder = krusty.ReorderOptionUnspecified // as the command kustomize build has it: namespaces and definitions first
	opt.LoadRestrictions = types.LoadRestrictionsRootOnly
	opt.PluginConfig = types.DisabledPluginConfig()
	return krusty.MakeKustomizer(opt).Run(files, root)
}

// checkTargets wants each patch to have something to change: kustomize itself passes over
// a target that is not there.
func (w *worker) checkTargets(files *fileSystem, q request) error {
	var made resmap.ResMap
	for i, p := range q.Patches {
		if p.Target == nil {
			continue // kustomize says so itself
		}
		if made == nil {
			plain := request{Folder: q.Folder, Files: q.Files}
			root, err := files.addOverlay(plain)
			if err != nil {
				return err
			}
			if made, err = run(files, root); err != nil {
				return cmp.Or(files.failed, err)
			}
		}
		s := selectorOf(p.Target)
		if s.Name != "" {
			s.Name = "(?:" + s.Name + ")(?:-[0-9a-z]{10})?" // of a generated ConfigMap, with its hash
		}
		hit, err := made.Select(*s)
		if err != nil {
			return fmt.Errorf("patches[%d].target: %w", i, err)
		}
		if len(hit) == 0 {
			return fmt.Errorf("patches[%d].target: there is no such object: %s", i, describeTarget(p.Target))
		}
	}
	return nil
}

func selectorOf(t *lock.PatchTarget) *types.Selector {
	return &types.Selector{
		ResId: resid.ResId{
			Gvk:  resid.Gvk{Group: t.Group, Version: t.Version, Kind: t.Kind},
			Name: t.Name, Namespace: t.Namespace,
		},
		AnnotationSelector: t.AnnotationSelector, LabelSelector: t.LabelSelector,
	}
}

func describeTarget(t *lock.PatchTarget) string {
	text, err := yaml.Marshal(selectorOf(t))
	if err != nil {
		return ""
	}
	return strings.Join(strings.Split(strings.TrimSpace(string(text)), "\n"), ", ")
}

// addOverlay makes a kustomization over what is built, which changes it, and returns its
// folder.
func (f *fileSystem) addOverlay(q request) (string, error) {
	k := types.Kustomization{Namespace: q.Namespace}
	for _, name := range q.Files {
		k.Resources = append(k.Resources, path.Join(sourceMount, name)[1:])
	}
	if len(q.Files) == 0 {
		k.Resources = []string{path.Join(sourceMount, q.Folder)[1:]}
		k.SortOptions = f.sortOptions(path.Join(sourceMount, q.Folder))
	}
	for _, p := range q.Patches {
		patch := types.Patch{Patch: p.Patch}
		if p.Target != nil {
			patch.Target = selectorOf(p.Target)
		}
		k.Patches = append(k.Patches, patch)
	}
	text, err := yaml.Marshal(&k)
	if err != nil {
		return "", err
	}
	f.own["/kustomization.yaml"] = text
	return "/", nil
}

// sortOptions are those of a folder's kustomization: kustomize goes by the outermost one.
func (f *fileSystem) sortOptions(folder string) *types.SortOptions {
	for _, name := range kustomizationNames {
		text, err := f.ReadFile(path.Join(folder, name))
		if err != nil {
			continue
		}
		var k types.Kustomization
		if k.Unmarshal(text) != nil {
			return nil
		}
		return k.SortOptions
	}
	return nil
}
