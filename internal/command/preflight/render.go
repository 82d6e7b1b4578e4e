package preflight

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/rules/document"
	"github.com/caisson/caisson/internal/rules/lint"
	"github.com/caisson/caisson/internal/rules/lookup"
	"github.com/caisson/caisson/internal/rules/rendering"
)

// source is where charts come from, what renders them, and for which cluster.
type source struct {
	bundle  *cargo.Bundle
	worker  []string // see helm.RenderOptions
	cluster *kube.Client
	stack   string
	version string   // of Kubernetes
	apis    []string // that the cluster serves
	there   []decide.ReleaseFact
}

// renderings collects what the components of a selection render to.
type renderings struct {
	source
	made   map[decide.Key]decide.Rendered
	pieces []*piece            // the objects, not yet placed
	brings map[string][]string // API versions, by the component that defines them or needs one that does
}

// render renders every release of the selection with the site's values, and reads
// every manifest.
func (from source) render(ctx context.Context, s *decide.Selection) (*renderings, error) {
	out := &renderings{source: from, made: map[decide.Key]decide.Rendered{}, brings: map[string][]string{}}
	for _, chosen := range s.Components { // each after those that it needs
		if err := out.component(ctx, chosen); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// component renders as if the definitions of the component, and of those that it
// needs, were served already: they are applied before its releases.
func (out *renderings) component(ctx context.Context, c decide.Chosen) error {
	var served []string
	for _, need := range c.Component.Needs {
		served = append(served, out.brings[need]...)
	}
	manifests := make([]rendered, len(c.Component.Manifests))
	for i, ref := range c.Component.Manifests {
		var err error
		if manifests[i].Rendered, manifests[i].pieces, err = manifest(out.bundle, string(ref)); err != nil {
			return err
		}
	}
	served = out.unserved(append(served, defined(piecesOf(manifests))...))
	releases, err := out.releases(ctx, c, served)
	if err != nil {
		return err
	}
	all := out.unserved(append(served, defined(piecesOf(releases))...))
	if len(all) > len(served) { // the releases' own definitions: their templates may ask for them
		if releases, err = out.releases(ctx, c, all); err != nil {
			return err
		}
	}
	out.brings[c.Component.Name] = all
	for i, r := range c.Releases {
		out.add(c, r.Name, r.Name, releases[i])
	}
	for i, ref := range c.Component.Manifests {
		out.add(c, string(ref), "", manifests[i])
	}
	return nil
}

// add notes one rendering and whose its pieces are.
func (out *renderings) add(c decide.Chosen, name, release string, made rendered) {
	key := decide.Key{Component: c.Component.Name, Name: name}
	out.made[key] = made.Rendered
	for _, p := range made.pieces {
		p.key, p.component, p.namespace, p.release = key, c.Component.Name, c.Namespace, release
	}
	out.pieces = append(out.pieces, made.pieces...)
}

// unserved sorts API versions and leaves out those that the cluster serves.
func (out *renderings) unserved(apis []string) []string {
	apis = slices.DeleteFunc(apis, func(a string) bool { return slices.Contains(out.apis, a) })
	slices.Sort(apis)
	return slices.Compact(apis)
}

// defined are the API versions that definitions among the pieces bring.
func defined(pieces []*piece) []string {
	var apis []string
	for _, p := range pieces {
		if d := p.part.Defines; d != nil {
			for _, v := range d.Versions {
				apis = append(apis, d.Group+"/"+v, d.Group+"/"+v+"/"+d.Kind)
			}
		}
	}
	return apis
}

// rendered is one release or manifest.
type rendered struct {
	decide.Rendered
	pieces []*piece
}

func piecesOf(list []rendered) []*piece {
	var all []*piece
	for _, r := range list {
		all = append(all, r.pieces...)
	}
	return all
}

func (out *renderings) releases(ctx context.Context, c decide.Chosen, served []string) ([]rendered, error) {
	list := make([]rendered, len(c.Releases))
	for i, r := range c.Releases {
		var err error
		if list[i], err = out.release(ctx, c, r, served); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// release renders one chart. That a chart does not render is a finding; that
// the bundle cannot be read is an error.
func (out *renderings) release(ctx context.Context, c decide.Chosen, r lock.Release, served []string) (rendered, error) {
	chart, dg, err := out.bundle.Chart(r.Chart)
	if err != nil {
		return rendered{}, err
	}
	meta := chart.Metadata()
	made := rendered{Rendered: decide.Rendered{ChartDigest: dg, ChartVersion: meta.Version, KubeVersion: meta.KubeVersion}}
	err = out.renderTwice(ctx, chart, c, r, served, &made)
	if ctx.Err() != nil {
		return made, ctx.Err()
	}
	if err != nil {
		made.Problem = err.Error()
	}
	return made, nil
}

// renderTwice renders a release as it will be installed, now and as if it were
// later, and notes what both have in common.
func (out *renderings) renderTwice(ctx context.Context, chart *helm.Chart, c decide.Chosen, r lock.Release, served []string, made *rendered) error {
	scope := lookup.Scope{Chart: chart.Name(), Release: r.Name, Namespace: c.Namespace, Rules: decide.Rules(c.Component.Allow)}
	planned := &plan.Rendering{Revision: 1, APIVersions: served}
	for _, f := range out.there {
		if f.Namespace == c.Namespace && f.Name == r.Name && !f.Foreign {
			scope.Afresh = !f.Deployed
		}
		if f.Namespace == c.Namespace && f.Name == r.Name && f.Deployed {
			planned.Upgrade, planned.Revision = true, f.Revision+1
		}
	}
	questions := helm.NewQuestions(out.cluster, out.stack, scope)
	opt := helm.RenderOptions{
		Release: r.Name, Namespace: c.Namespace, Values: r.Values, Upgrade: planned.Upgrade, Revision: planned.Revision,
		KubeVersion: out.version, APIVersions: slices.Concat(out.apis, served), Exact: true,
		Lookup: questions.Answer, Worker: out.worker,
	}
	var first, second helm.Rendering
	g, both := errgroup.WithContext(ctx)
	g.Go(func() (err error) { first, err = helm.Render(both, chart, opt); return err })
	g.Go(func() (err error) {
		opt := opt
		opt.Later = true
		second, err = helm.Render(both, chart, opt)
		return err
	})
	err := g.Wait()
	note(questions.Asked(), made, planned)
	if err != nil {
		return keepSecret(questions, made, err)
	}
	if planned.Objects, err = helm.Describe(first, second); err != nil {
		return err
	}
	made.Rendering = planned
	made.Egress = append(made.Egress, rendering.Chance(chart.Name(), planned.Objects)...)
	if made.pieces, err = read(&made.Rendered, first.Documents); err == nil {
		err = readOther(&made.Rendered, second.Documents)
	}
	return keepSecret(questions, made, err)
}

// keepSecret keeps from a plan and its findings what templates read of Secrets. A
// rendering that would tell it has a problem and nothing else.
func keepSecret(questions *helm.Questions, made *rendered, err error) error {
	tells := questions.Hide(err)
	for _, text := range toldTexts(&made.Rendered) {
		if questions.Tells(text) {
			tells = helm.ErrTold
		}
	}
	if errors.Is(tells, helm.ErrTold) {
		made.Rendered = decide.Rendered{
			ChartDigest: made.ChartDigest, ChartVersion: made.ChartVersion, KubeVersion: made.KubeVersion,
		}
		made.pieces = nil
	}
	return tells
}

// toldTexts is what a plan says of a rendering in words of its templates.
func toldTexts(made *decide.Rendered) []string {
	var out []string
	for _, f := range made.Egress {
		out = append(out, f.Template, f.Text, f.What)
	}
	for _, s := range made.Images {
		out = append(out, s.Ref)
	}
	for _, c := range made.CRDs {
		out = append(out, c.Name)
	}
	for _, p := range made.Parts {
		out = append(out, p.Namespace, p.Name)
	}
	if made.Rendering == nil {
		return out
	}
	for _, l := range made.Rendering.Lookups {
		out = append(out, l.APIVersion, l.Kind, l.Namespace, l.Name)
	}
	for _, o := range made.Rendering.Objects {
		out = append(out, o.APIVersion, o.Kind, o.Namespace, o.Name, strings.Join(o.Chance, " "))
	}
	return out
}

// note takes over what was asked: into the plan, and as findings where it is not
// the release's own matter.
func note(asked []helm.Asked, made *rendered, planned *plan.Rendering) {
	for _, a := range asked {
		q := a.Question
		planned.Lookups = append(planned.Lookups, plan.Lookup{APIVersion: q.APIVersion, Kind: q.Kind, Namespace: q.Namespace, Name: q.Name, Answer: a.Digest})
		if a.Finding != nil {
			made.Egress = append(made.Egress, *a.Finding)
		}
	}
}

func manifest(b *cargo.Bundle, ref string) (decide.Rendered, []*piece, error) {
	data, dg, err := b.File(imageref.Ref(ref))
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

// readOther adds the images and what would call out that only the other rendering
// of a release has.
func readOther(r *decide.Rendered, docs []document.Document) error {
	sites, err := document.Read(docs)
	if err != nil {
		return err
	}
	for _, s := range document.Images(sites) {
		if !slices.ContainsFunc(r.Images, func(have document.Site) bool { return have.Ref == s.Ref && have.Template == s.Template }) {
			r.Images = append(r.Images, s)
		}
	}
	for _, f := range lint.Check(sites) {
		same := func(have lint.Finding) bool {
			return have.Code == f.Code && have.Template == f.Template && have.Text == f.Text
		}
		if !slices.ContainsFunc(r.Egress, same) {
			r.Egress = append(r.Egress, f)
		}
	}
	return nil
}

// read counts what was rendered, finds its definitions and images and takes it
// apart.
func read(r *decide.Rendered, docs []document.Document) ([]*piece, error) {
	sites, err := document.Read(docs)
	if err != nil {
		return nil, err
	}
	r.Images = append(r.Images, document.Images(sites)...)
	r.Egress = append(r.Egress, lint.Check(sites)...)
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
