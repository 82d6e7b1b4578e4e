package preflight

import (
	"context"
	"slices"

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
	bundle    *cargo.Bundle
	renderers *helm.Workers
	cluster   *kube.Client
	stack     string
	version   string   // of Kubernetes
	apis      []string // that the cluster serves
	there     []decide.ReleaseFact
}

// renderings collects what the components of a selection render to.
type renderings struct {
	source
	made   map[decide.Key]decide.Rendered
	pieces []*piece            // the objects, not yet placed
	brings map[string][]string // API versions, by the component that defines them or needs one that does
	askers askers
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
	if made.questions != nil {
		out.askers = append(out.askers, asker{c.Component.Name, release, made.questions})
	}
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
	pieces    []*piece
	questions *helm.Questions // of a release's templates
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
	scope := lookup.Scope{Chart: chart.Name(), Release: r.Name, Namespace: c.Namespace, Rules: c.Component.Allow}
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
		Lookup: questions.Answer,
	}
	made.questions = questions
	first, second, err := out.renderBoth(ctx, chart, opt)
	note(questions.Asked(), made, planned)
	if err != nil {
		return err
	}
	return made.describe(chart.Name(), planned, first, second)
}

// renderBoth renders a release now and as if it were later.
func (out *renderings) renderBoth(ctx context.Context, chart *helm.Chart, opt helm.RenderOptions) (first, second helm.Rendering, _ error) {
	renderer, err := out.renderers.Take(ctx, chart)
	if err != nil {
		return first, second, err
	}
	defer renderer.Close()
	if first, err = renderer.Render(ctx, opt); err != nil {
		return first, second, err
	}
	opt.Later = true
	second, err = renderer.Render(ctx, opt)
	return first, second, err
}

// describe notes what both renderings have in common, and what they would pull and
// fetch.
func (made *rendered) describe(chart string, planned *plan.Rendering, first, second helm.Rendering) error {
	one, two, err := helm.ObjectsOfBoth(first, second)
	if err != nil {
		return err
	}
	if planned.Objects, err = rendering.Plan(helm.ContentsOf(one), helm.ContentsOf(two)); err != nil {
		return err
	}
	made.Rendering = planned
	made.Egress = append(made.Egress, rendering.Chance(chart, planned.Objects)...)
	if err := readSites(&made.Rendered, first.Documents); err != nil {
		return err
	}
	made.pieces = takeApart(&made.Rendered, one)
	_, other := helm.WithoutSame(first, second)
	return readOther(&made.Rendered, other.Documents)
}

// note takes over what was asked: into the plan, and as findings where it is not
// the release's own matter.
func note(asked []helm.Asked, made *rendered, planned *plan.Rendering) {
	for _, a := range asked {
		planned.Lookups = append(planned.Lookups, plan.Lookup{Question: a.Question, Answer: a.Digest})
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
	found, err := readManifest(&r, ref, string(data))
	if err != nil {
		r.Problem = err.Error()
	}
	return r, found, nil
}

func readManifest(r *decide.Rendered, ref, text string) ([]*piece, error) {
	docs, err := document.Split(ref, text)
	if err != nil {
		return nil, err
	}
	if err := readSites(r, docs); err != nil {
		return nil, err
	}
	var objects []helm.Object
	for _, d := range docs {
		found, err := kube.Parse([]byte(d.Source))
		if err != nil {
			return nil, err
		}
		for _, u := range found {
			objects = append(objects, helm.Object{Unstructured: u, Document: d})
		}
	}
	return takeApart(r, objects), nil
}

// readSites finds the images of documents, and what would call out.
func readSites(r *decide.Rendered, docs []document.Document) error {
	sites, err := document.Read(document.WithoutTests(docs))
	if err != nil {
		return err
	}
	r.Images = append(r.Images, document.Images(sites)...)
	r.Egress = append(r.Egress, lint.Check(sites)...)
	return nil
}

// imageKey tells the images apart that two renderings name.
type imageKey struct {
	ref, template string
	certain       bool
}

// findingKey does so with findings.
type findingKey struct{ code, template, text string }

// readOther adds the images and what would call out that only the other rendering
// of a release has.
func readOther(r *decide.Rendered, docs []document.Document) error {
	other := decide.Rendered{}
	if err := readSites(&other, docs); err != nil {
		return err
	}
	images := map[imageKey]bool{}
	for _, s := range r.Images {
		images[imageKey{s.Ref, s.Template, s.Certainty == document.Certain}] = true
	}
	for _, s := range other.Images {
		key := imageKey{s.Ref, s.Template, s.Certainty == document.Certain}
		if !images[key] && !images[imageKey{s.Ref, s.Template, true}] {
			images[key] = true
			r.Images = append(r.Images, s)
		}
	}
	findings := map[findingKey]bool{}
	for _, f := range r.Egress {
		findings[findingKey{f.Code, f.Template, f.Text}] = true
	}
	for _, f := range other.Egress {
		key := findingKey{f.Code, f.Template, f.Text}
		if !findings[key] {
			findings[key] = true
			r.Egress = append(r.Egress, f)
		}
	}
	return nil
}

// takeApart counts objects and finds the definitions among them.
func takeApart(r *decide.Rendered, objects []helm.Object) []*piece {
	r.Objects = len(objects)
	var out []*piece
	for _, o := range objects {
		if !document.IsTest(o.GetAnnotations()) {
			out = append(out, newPiece(o.Document, o.Unstructured))
		}
		if kube.IsCRD(o.Unstructured) {
			r.CRDs = append(r.CRDs, plan.CRD{Name: o.GetName(), Size: len(o.Document.Source)})
		}
	}
	return out
}
