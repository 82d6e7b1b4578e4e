package survey

import (
	"context"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/content"
	"github.com/caisson/caisson/internal/helm"
	"github.com/caisson/caisson/internal/kube"
	"github.com/caisson/caisson/internal/plan"
)

// render renders every release of the selection for this cluster, with the
// site's values, and reads every manifest.
func render(ctx context.Context, t *bundle.Trusted, c *kube.Client, s *plan.Selection, version string) (map[plan.Key]plan.Rendered, error) {
	apis, err := c.APIVersions()
	if err != nil {
		return nil, err
	}
	out := map[plan.Key]plan.Rendered{}
	for _, chosen := range s.Components {
		name := chosen.Component.Name
		for _, r := range chosen.Releases {
			opt := helm.RenderOptions{Release: r.Name, Namespace: chosen.Namespace, Values: r.Values, KubeVersion: version, APIVersions: apis}
			if out[plan.Key{Component: name, Name: r.Name}], err = release(ctx, t, r.Chart, opt); err != nil {
				return nil, err
			}
		}
		for _, ref := range chosen.Component.Manifests {
			if out[plan.Key{Component: name, Name: ref}], err = manifest(t, ref); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// release renders one chart. That a chart does not render is a finding; that
// the bundle cannot be read is an error.
func release(ctx context.Context, t *bundle.Trusted, ref string, opt helm.RenderOptions) (plan.Rendered, error) {
	chart, dg, err := content.Chart(t, ref)
	if err != nil {
		return plan.Rendered{}, err
	}
	meta := chart.Metadata()
	r := plan.Rendered{ChartDigest: dg, ChartVersion: meta.Version, KubeVersion: meta.KubeVersion}
	docs, err := helm.Render(ctx, chart, opt)
	if err == nil {
		err = read(&r, docs)
	}
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	if err != nil {
		r.Problem = err.Error()
	}
	return r, nil
}

func manifest(t *bundle.Trusted, ref string) (plan.Rendered, error) {
	data, dg, err := content.File(t, ref)
	if err != nil {
		return plan.Rendered{}, err
	}
	r := plan.Rendered{ChartDigest: dg}
	docs, err := helm.Split(ref, string(data))
	if err == nil {
		err = read(&r, docs)
	}
	if err != nil {
		r.Problem = err.Error()
	}
	return r, nil
}

// read counts what was rendered and finds its definitions and images.
func read(r *plan.Rendered, docs []helm.Document) error {
	found, err := helm.Images(docs)
	if err != nil {
		return err
	}
	for _, f := range found {
		r.Images = append(r.Images, plan.FoundImage{Ref: f.Ref, Template: f.Template, Line: f.Line, Sure: f.Sure})
	}
	for _, d := range docs {
		objects, err := kube.Parse([]byte(d.Source))
		if err != nil {
			return err
		}
		r.Objects += len(objects)
		for _, u := range objects {
			if kube.IsCRD(u) {
				r.CRDs = append(r.CRDs, plan.CRD{Name: u.GetName(), Size: len(d.Source)})
			}
		}
	}
	return nil
}
