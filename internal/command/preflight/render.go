package preflight

import (
	"context"
	"runtime"
	"slices"

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
// every manifest: each component after those that it needs, the others side by side.
func (from source) render(ctx context.Context, s *decide.Selection) (*renderings, error) {
	out := &renderings{source: from, made: map[decide.Key]decide.Rendered{}, brings: map[string][]string{}}
	for rest := s.Components; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Level == rest[0].Level {
			n++
		}
		if err := out.renderLevel(ctx, rest[:n]); err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	return out, out.renderAgain(ctx, s)
}

// renderAgain tells charts what the plan's objects come to, and renders those once more
// that asked for it.
func (out *renderings) renderAgain(ctx context.Context, s *decide.Selection) error {
	names, err := s.TellPlan(out.plannedParts())
	if err != nil {
		return err
	}
	for _, c := range s.Components {
		if !slices.Contains(names, c.Component.Name) {
			continue
		}
		made, err := out.component(ctx, c)
		if err != nil {
			return err
		}
		out.pieces = slices.DeleteFunc(out.pieces, func(p *piece) bool { return p.component == c.Component.Name })
		out.askers = slices.DeleteFunc(out.askers, func(a asker) bool { return a.component == c.Component.Name })
		out.addComponent(c, made)
	}
	s.NoteKept(out.plannedParts())
	return nil
}

// plannedParts are all objects, and whose they are.
func (out *renderings) plannedParts() []decide.PlannedPart {
	var parts []decide.PlannedPart
	for _, p := range out.pieces {
		parts = append(parts, decide.PlannedPart{Part: p.part, Component: p.component, Release: p.release, Space: p.namespace})
	}
	return parts
}

// renderLevel renders components that do not need each other.
func (out *renderings) renderLevel(ctx context.Context, components []decide.Chosen) error {
	made := make([]*renderedComponent, len(components))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * runtime.GOMAXPROCS(0)) // while some render, others are read
	for i, c := range components {
		g.Go(func() (err error) { made[i], err = out.component(ctx, c); return err })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, c := range components {
		out.addComponent(c, made[i])
	}
	return nil
}

// renderedComponent is what one component comes to.
type renderedComponent struct {
	releases, manifests []rendered
	brings              []string
}

// component renders as if the definitions of the component, and of those that it
// needs, were served already: they are applied before its releases.
func (out *renderings) component(ctx context.Context, c decide.Chosen) (*renderedComponent, error) {
	var served []string
	for _, need := range c.Component.Needs {
		served = append(served, out.brings[need]...)
	}
	made := &renderedComponent{manifests: make([]rendered, len(c.Component.Manifests))}
	for i, ref := range c.Component.Manifests {
		var err error
		if made.manifests[i].Rendered, made.manifests[i].pieces, err = manifest(out.bundle, string(ref)); err != nil {
			return nil, err
		}
	}
	served = out.unserved(append(served, defined(piecesOf(made.manifests))...))
	var err error
	made.releases, made.brings, err = out.releases(ctx, c, served)
	return made, err
}

// addComponent notes what a component came to.
func (out *renderings) addComponent(c decide.Chosen, made *renderedComponent) {
	out.brings[c.Component.Name] = made.brings
	for i, r := range c.Releases {
		out.add(c, r.Name, r.Name, made.releases[i])
	}
	for i, ref := range c.Component.Manifests {
		out.add(c, string(ref), "", made.manifests[i])
	}
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

// releases renders the releases of a component, and with the API versions that were
// served before says which ones are then. Templates may ask for what their own
// component defines: where it defines something, all is rendered once more.
func (out *renderings) releases(ctx context.Context, c decide.Chosen, served []string) ([]rendered, []string, error) {
	list := make([]*release, len(c.Releases))
	var definitions []*piece
	for i, r := range c.Releases {
		var err error
		if list[i], err = out.openRelease(c, r); err != nil {
			return nil, nil, err
		}
		defer list[i].renderer.Close()
		if err := list[i].renderFirst(ctx, served); err != nil {
			return nil, nil, err
		}
		definitions = append(definitions, list[i].made.pieces...)
		if len(list) > 1 {
			list[i].renderer.Close() // or components would wait for each other's workers
		}
	}
	all := out.unserved(append(served, defined(definitions)...))
	made := make([]rendered, len(list))
	for i, r := range list {
		if len(all) > len(served) {
			if err := r.renderFirst(ctx, all); err != nil {
				return nil, nil, err
			}
		}
		if err := r.renderSecond(ctx); err != nil {
			return nil, nil, err
		}
		r.renderer.Close()
		made[i] = r.made
	}
	return made, all, nil
}

// release is one release while it is rendered.
type release struct {
	out      *renderings
	of       decide.Chosen
	spec     lock.Release
	renderer *helm.Renderer
	reader   helm.ObjectReader
	asked    rendered // what is known of it before it is rendered

	opt     helm.RenderOptions
	planned *plan.Rendering
	first   helm.Rendering
	objects []helm.Object // of the first rendering
	made    rendered
}

func (out *renderings) openRelease(c decide.Chosen, spec lock.Release) (*release, error) {
	chart, dg, err := out.bundle.Chart(spec.Chart)
	if err != nil {
		return nil, err
	}
	meta := chart.Metadata()
	known := rendered{Rendered: decide.Rendered{ChartDigest: dg, ChartVersion: meta.Version, KubeVersion: meta.KubeVersion}}
	return &release{out: out, of: c, spec: spec, renderer: out.renderers.Open(chart), asked: known}, nil
}

// prepareRendering forgets what was rendered, and says what is to be, with the API versions
// that are served beyond the cluster's.
func (r *release) prepareRendering(served []string) {
	scope := lookup.Scope{Chart: r.renderer.Chart().Name(), Release: r.spec.Name, Namespace: r.of.Namespace, Rules: r.of.Component.Allow}
	r.planned = &plan.Rendering{Revision: 1, APIVersions: served}
	for _, f := range r.out.there {
		if f.Namespace == r.of.Namespace && f.Name == r.spec.Name && !f.Foreign {
			scope.Afresh = !f.Deployed
		}
		if f.Namespace == r.of.Namespace && f.Name == r.spec.Name && f.Deployed {
			r.planned.Upgrade, r.planned.Revision = true, f.Revision+1
		}
	}
	r.made = r.asked
	r.made.questions = helm.NewQuestions(r.out.cluster, r.out.stack, scope)
	r.opt = helm.RenderOptions{
		Release: r.spec.Name, Namespace: r.of.Namespace, Values: r.spec.Values, Upgrade: r.planned.Upgrade, Revision: r.planned.Revision,
		KubeVersion: r.out.version, APIVersions: slices.Concat(r.out.apis, served), Exact: true,
		Lookup: r.made.questions.Answer,
	}
}

// renderFirst renders a release as it will be installed. That a chart does not render
// is a finding; that the bundle cannot be read is an error.
func (r *release) renderFirst(ctx context.Context, served []string) (err error) {
	r.prepareRendering(served)
	if r.first, err = r.renderer.Render(ctx, r.opt); err == nil {
		r.objects, err = r.reader.Objects(r.first)
	}
	if err == nil {
		r.made.pieces = takeApart(&r.made.Rendered, r.objects)
	}
	return r.noteProblem(ctx, err)
}

// renderSecond renders a release that did render once more, as if it were later, and
// notes what both renderings have in common.
func (r *release) renderSecond(ctx context.Context) error {
	var second helm.Rendering
	var err error
	if r.made.Problem == "" {
		r.opt.Later = true
		second, err = r.renderer.Render(ctx, r.opt)
	}
	note(r.made.questions.Asked(), &r.made, r.planned)
	if err == nil && r.made.Problem == "" {
		err = r.describe(second)
	}
	return r.noteProblem(ctx, err)
}

// noteProblem notes why a release does not render. The error is the context's.
func (r *release) noteProblem(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.made.Problem, r.made.pieces, r.made.CRDs, r.made.Objects = err.Error(), nil, nil, 0
	}
	return nil
}

// describe notes what both renderings have in common, and what they would pull and
// fetch.
func (r *release) describe(second helm.Rendering) error {
	others, err := r.reader.Objects(second)
	if err != nil {
		return err
	}
	if r.planned.Objects, err = rendering.Plan(helm.ContentsOf(r.objects), helm.ContentsOf(others)); err != nil {
		return err
	}
	r.made.Rendering = r.planned
	r.made.Egress = append(r.made.Egress, rendering.Chance(r.renderer.Chart().Name(), r.planned.Objects)...)
	if err := readSites(&r.made.Rendered, r.first.Documents); err != nil {
		return err
	}
	_, other := helm.WithoutSame(r.first, second)
	return readOther(&r.made.Rendered, other.Documents)
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
