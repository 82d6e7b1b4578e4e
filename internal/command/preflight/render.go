package preflight

import (
	"context"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/rules/document"
	"github.com/caisson/caisson/internal/rules/lint"
)

// source is where charts come from and what renders them.
type source struct {
	bundle *cargo.Bundle
	worker []string // see helm.RenderOptions
}

// render renders every release of the selection for this cluster, which serves
// apis, with the site's values, and reads every manifest. The pieces are the
// objects, not yet placed.
func (from source) render(ctx context.Context, s *decide.Selection, version string, apis []string) (map[decide.Key]decide.Rendered, []*piece, error) {
	out, all := map[decide.Key]decide.Rendered{}, []*piece(nil)
	add := func(key decide.Key, c decide.Chosen, release string, r decide.Rendered, found []*piece) {
		out[key] = r
		for _, p := range found {
			p.key, p.component, p.namespace, p.release = key, c.Component.Name, c.Namespace, release
		}
		all = append(all, found...)
	}
	for _, chosen := range s.Components {
		name := chosen.Component.Name
		for _, r := range chosen.Releases {
			opt := helm.RenderOptions{Release: r.Name, Namespace: chosen.Namespace, Values: r.Values, KubeVersion: version, APIVersions: apis, Exact: true, Worker: from.worker}
			made, found, err := release(ctx, from.bundle, r.Chart, opt)
			if err != nil {
				return nil, nil, err
			}
			add(decide.Key{Component: name, Name: r.Name}, chosen, r.Name, made, found)
		}
		for _, ref := range chosen.Component.Manifests {
			made, found, err := manifest(from.bundle, ref)
			if err != nil {
				return nil, nil, err
			}
			add(decide.Key{Component: name, Name: ref}, chosen, "", made, found)
		}
	}
	return out, all, nil
}

// release renders one chart. That a chart does not render is a finding; that
// the bundle cannot be read is an error.
func release(ctx context.Context, b *cargo.Bundle, ref string, opt helm.RenderOptions) (decide.Rendered, []*piece, error) {
	chart, dg, err := b.Chart(ref)
	if err != nil {
		return decide.Rendered{}, nil, err
	}
	meta := chart.Metadata()
	r := decide.Rendered{ChartDigest: dg, ChartVersion: meta.Version, KubeVersion: meta.KubeVersion}
	docs, err := helm.Render(ctx, chart, opt)
	var found []*piece
	if err == nil {
		found, err = read(&r, docs)
	}
	if ctx.Err() != nil {
		return r, nil, ctx.Err()
	}
	if err != nil {
		r.Problem = err.Error()
	}
	return r, found, nil
}

func manifest(b *cargo.Bundle, ref string) (decide.Rendered, []*piece, error) {
	data, dg, err := b.File(ref)
	if err != nil {
		return decide.Rendered{}, nil, err
	}
	r := decide.Rendered{ChartDigest: dg}
	docs, err := document.Split(ref, string(data))
	var found []*piece
	if err == nil {
		found, err = read(&r, docs)
	}
	if err != nil {
		r.Problem = err.Error()
	}
	return r, found, nil
}

// read counts what was rendered, finds its definitions and images and takes it
// apart.
func read(r *decide.Rendered, docs []document.Document) ([]*piece, error) {
	sites, err := document.Read(docs)
	if err != nil {
		return nil, err
	}
	for _, s := range document.Images(sites) {
		r.Images = append(r.Images, decide.FoundImage{
			Ref: s.Ref, Template: s.Template, Line: s.Line, Path: s.Path,
			Sure: s.Certainty == document.Certain, Joined: s.Certainty == document.Joined, Kept: s.Kept,
		})
	}
	r.Egress = lint.Check(sites)
	var out []*piece
	for _, d := range docs {
		objects, err := kube.Parse([]byte(d.Source))
		if err != nil {
			return nil, err
		}
		r.Objects += len(objects)
		for _, u := range objects {
			out = append(out, newPiece(d, u))
			if kube.IsCRD(u) {
				r.CRDs = append(r.CRDs, plan.CRD{Name: u.GetName(), Size: len(d.Source)})
			}
		}
	}
	return out, nil
}
