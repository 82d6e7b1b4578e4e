package helm

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sort"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/caisson/caisson/internal/rules/document"
)

// renderTimeout bounds one rendering.
const renderTimeout = 2 * time.Minute

// RenderOptions says for which release and cluster to render. The zero value
// renders a release of the chart's name into namespace "default" for
// DefaultKubeVersion.
type RenderOptions struct {
	Release     string
	Namespace   string
	Values      map[string]any // laid over the chart's defaults
	KubeVersion string         // "1.33", "v1.33.4"
	APIVersions []string       // beyond those Kubernetes itself serves: "monitoring.coreos.com/v1"
	Exact       bool           // APIVersions is all that is served, as on a cluster that was asked
	Upgrade     bool           // of a release that is there, not a first install
	Revision    int            // that the release will have; 0: 1
	Later       bool           // at another time than now, in each of its parts; heeded by a worker alone
	Lookup      Lookup         `json:"-"` // answers what templates look up; nil: nothing is there
}

// Rendering is what a chart renders to.
type Rendering struct {
	Documents []document.Document
	Fresh     []document.Document // those of Documents that no earlier rendering by the same Renderer had
	Notes     string              // of the chart itself
}

// maxNotes bounds the notes of a chart, in bytes.
const maxNotes = 1 << 20

// Render renders a chart as Helm would for an install or upgrade, hooks and crds/
// included. Documents come sorted by template, then in their order. It reaches no
// network, and a cluster only through opt.Lookup. Rendering stops being
// waited for when ctx ends or after two minutes, whichever comes first. In a process
// that does anything else, charts are rendered by Workers: their renderings end then,
// and templates that bring a process down are ErrWorker.
func Render(ctx context.Context, c *Chart, opt RenderOptions) (Rendering, error) {
	ctx, cancel := context.WithTimeout(ctx, renderTimeout)
	defer cancel()
	type outcome struct {
		Rendering
		err error
	}
	done := make(chan outcome, 1) // Helm's engine cannot be interrupted
	go func() {
		r, err := renderNow(ctx, c, opt)
		done <- outcome{r, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return Rendering{}, fmt.Errorf("rendering chart %s %s: %w", c.Name(), c.Version(), o.err)
		}
		return o.Rendering, nil
	case <-ctx.Done():
		return Rendering{}, fmt.Errorf("rendering chart %s %s: %w", c.Name(), c.Version(), ctx.Err())
	}
}

func renderNow(ctx context.Context, c *Chart, opt RenderOptions) (r Rendering, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = Rendering{}, fmt.Errorf("templates panicked: %v", p)
		}
	}()
	loaded, values, err := prepare(c, opt)
	if err != nil {
		return r, err
	}
	var files map[string]string
	if opt.Lookup == nil {
		files, err = engine.Engine{}.Render(loaded, values)
	} else {
		files, err = engine.RenderWithClientProvider(loaded, values, lookupProvider{ctx, opt.Lookup})
	}
	if err != nil {
		return r, err
	}
	if r.Documents, err = collect(c, loaded, files); err != nil {
		return r, err
	}
	if r.Notes = files[path.Join(loaded.Name(), notesFile)]; len(r.Notes) > maxNotes {
		return r, fmt.Errorf("%w: notes of %d bytes", ErrTooLarge, len(r.Notes))
	}
	return r, nil
}

// notesFile is the template of a chart's notes.
const notesFile = "templates/NOTES.txt"

// prepare resolves dependencies and computes the values templates see.
func prepare(c *Chart, opt RenderOptions) (*chart.Chart, chartutil.Values, error) {
	loaded, err := c.Load()
	if err != nil {
		return nil, nil, err
	}
	if loaded.Metadata.Type == "library" {
		return nil, nil, errors.New("a library chart cannot be installed")
	}
	caps, err := Capabilities(opt.KubeVersion, opt.APIVersions)
	if err != nil {
		return nil, nil, err
	}
	if opt.Exact {
		caps.APIVersions = opt.APIVersions
	}
	if want := loaded.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, caps.KubeVersion.Version) {
		return nil, nil, fmt.Errorf("chart requires Kubernetes %s, not %s", want, caps.KubeVersion.Version)
	}
	values, err := NativeValues(opt.Values)
	if err != nil {
		return nil, nil, err
	}
	if err := chartutil.ProcessDependenciesWithMerge(loaded, values); err != nil {
		return nil, nil, fmt.Errorf("processing dependencies: %w", err)
	}
	top, err := chartutil.ToRenderValuesWithSchemaValidation(loaded, values, releaseOptions(c, opt), caps, true)
	if err != nil {
		return nil, nil, err
	}
	final, _ := top["Values"].(chartutil.Values)
	known := &schemas{}
	if c.work != nil {
		known = &c.work.schemas
	}
	return loaded, top, known.checkAll(loaded, final)
}

func releaseOptions(c *Chart, opt RenderOptions) chartutil.ReleaseOptions {
	r := chartutil.ReleaseOptions{
		Name: opt.Release, Namespace: opt.Namespace,
		Revision: max(opt.Revision, 1), IsInstall: !opt.Upgrade, IsUpgrade: opt.Upgrade,
	}
	if r.Name == "" {
		r.Name = c.Name()
	}
	if r.Namespace == "" {
		r.Namespace = "default"
	}
	return r
}

// DefaultKubeVersion is rendered for where no version is given: that of the linked
// Kubernetes libraries. Helm's own default is stamped into its releases alone; the
// library says 1.20.
const DefaultKubeVersion = "1.37"

// Capabilities describes a cluster of the given Kubernetes version ("" for
// DefaultKubeVersion) that serves Kubernetes' own APIs and the extra ones. As on a
// real cluster, both "apps/v1" and "apps/v1/Deployment" are known.
func Capabilities(kubeVersion string, extra []string) (*chartutil.Capabilities, error) {
	caps := chartutil.DefaultCapabilities.Copy()
	if kubeVersion == "" {
		kubeVersion = DefaultKubeVersion
	}
	if strings.Count(kubeVersion, ".") == 1 {
		kubeVersion += ".0"
	}
	v, err := chartutil.ParseKubeVersion(kubeVersion)
	if err != nil {
		return nil, fmt.Errorf("parsing Kubernetes version %q: %w", kubeVersion, err)
	}
	caps.KubeVersion = *v
	set := append(chartutil.VersionSet{}, caps.APIVersions...)
	for gvk := range scheme.Scheme.AllKnownTypes() {
		if gvk.Version != "__internal" {
			set = append(set, gvk.GroupVersion().String()+"/"+gvk.Kind)
		}
	}
	sort.Strings(set)
	caps.APIVersions = append(set, extra...)
	return caps, nil
}

func collect(of *Chart, c *chart.Chart, files map[string]string) ([]document.Document, error) {
	names := make([]string, 0, len(files))
	for name := range files {
		if !strings.HasSuffix(name, "NOTES.txt") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var s document.Splitter
	for _, crd := range c.CRDObjects() {
		if err := s.Add(crd.Filename, string(crd.File.Data), true); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrTooLarge, err)
		}
	}
	for _, name := range names {
		if err := s.Add(name, files[name], false); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrTooLarge, err)
		}
	}
	var expanded document.Expansion
	for _, d := range s.Documents() {
		one, err := of.countDocument(d)
		if err == nil {
			err = expanded.AddCounted(one)
		}
		if err != nil {
			return nil, tooLargeDocument(d, err)
		}
	}
	return s.Documents(), nil
}

// countDocument counts a document alone. A worker remembers what it came to.
func (c *Chart) countDocument(d document.Document) (one document.Expansion, err error) {
	if c.work != nil {
		if known, ok := c.work.counted[keyOf(d)]; ok {
			return known, nil
		}
	}
	if err := one.Add(d.Source); err != nil {
		return one, err
	}
	if c.work != nil && isKept(c.work.bytes, d) {
		c.work.counted[keyOf(d)] = one
		c.work.bytes += len(d.Source)
	}
	return one, nil
}

func tooLargeDocument(d document.Document, err error) error {
	return fmt.Errorf("reading %s line %d: %w: %w", d.Template, d.Line, ErrTooLarge, err)
}
