package helm

import (
	"context"
	"errors"
	"fmt"
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
// renders a release of the chart's name into namespace "default" for Helm's
// default Kubernetes version.
type RenderOptions struct {
	Release     string
	Namespace   string
	Values      map[string]any // laid over the chart's defaults
	KubeVersion string         // "1.33", "v1.33.4"
	APIVersions []string       // beyond those Kubernetes itself serves: "monitoring.coreos.com/v1"
	Exact       bool           // APIVersions is all that is served, as on a cluster that was asked
	Worker      []string       `json:"-"` // program that calls Work, and its arguments; none renders in this process
}

// Render renders a chart as `helm template` would for a first install, hooks
// and crds/ included, notes left out. Documents come sorted by template, then
// in their order. It reaches no network and no cluster. Rendering stops being
// waited for when ctx ends or after two minutes, whichever comes first. With a
// worker it ends then, and templates that bring a process down are ErrWorker.
func Render(ctx context.Context, c *Chart, opt RenderOptions) ([]document.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, renderTimeout)
	defer cancel()
	if len(opt.Worker) > 0 {
		return renderApart(ctx, c, opt)
	}
	type outcome struct {
		docs []document.Document
		err  error
	}
	done := make(chan outcome, 1) // Helm's engine cannot be interrupted
	go func() {
		docs, err := renderNow(c, opt)
		done <- outcome{docs, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, fmt.Errorf("rendering chart %s %s: %w", c.Name(), c.Version(), o.err)
		}
		return o.docs, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("rendering chart %s %s: %w", c.Name(), c.Version(), ctx.Err())
	}
}

func renderNow(c *Chart, opt RenderOptions) (docs []document.Document, err error) {
	defer func() {
		if r := recover(); r != nil {
			docs, err = nil, fmt.Errorf("templates panicked: %v", r)
		}
	}()
	loaded, values, err := prepare(c, opt)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{}.Render(loaded, values)
	if err != nil {
		return nil, err
	}
	return collect(loaded, files)
}

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
	return loaded, top, checkSchemas(loaded, final)
}

func releaseOptions(c *Chart, opt RenderOptions) chartutil.ReleaseOptions {
	r := chartutil.ReleaseOptions{Name: opt.Release, Namespace: opt.Namespace, Revision: 1, IsInstall: true}
	if r.Name == "" {
		r.Name = c.Name()
	}
	if r.Namespace == "" {
		r.Namespace = "default"
	}
	return r
}

// Capabilities describes a cluster of the given Kubernetes version ("" for
// Helm's default) that serves Kubernetes' own APIs and the extra ones. As on a
// real cluster, both "apps/v1" and "apps/v1/Deployment" are known.
func Capabilities(kubeVersion string, extra []string) (*chartutil.Capabilities, error) {
	caps := chartutil.DefaultCapabilities.Copy()
	if kubeVersion != "" {
		if strings.Count(kubeVersion, ".") == 1 {
			kubeVersion += ".0"
		}
		v, err := chartutil.ParseKubeVersion(kubeVersion)
		if err != nil {
			return nil, fmt.Errorf("parsing Kubernetes version %q: %w", kubeVersion, err)
		}
		caps.KubeVersion = *v
	}
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

func collect(c *chart.Chart, files map[string]string) ([]document.Document, error) {
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
	return s.Documents(), nil
}
