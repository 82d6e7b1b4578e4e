package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/listing"
	"github.com/caisson/caisson/internal/rules/decide"
	"github.com/caisson/caisson/internal/rules/document"
	"github.com/caisson/caisson/internal/rules/lint"
	"github.com/caisson/caisson/internal/rules/lookup"
	"github.com/caisson/caisson/internal/rules/rendering"
)

// ErrRendering: a chart renders something else than the plan lists.
var ErrRendering = errors.New("it does not render to what the plan lists")

// renderedRelease is what one release renders to now.
type renderedRelease struct {
	rendering helm.Rendering
	// refused is how it differs from the plan. It is held back where the release
	// is as planned already, so that nothing has to be installed.
	refused error
}

// releaseKey names a release of a plan.
type releaseKey struct{ component, release string }

// renderReleases renders every release that the run installs as the plan says and refuses
// those that come to something else, before anything is changed.
func (in *installer) renderReleases(ctx context.Context) error {
	defer in.tellWait("the charts", "they are being rendered and held against the plan")()
	in.rendered = map[releaseKey]*renderedRelease{}
	renderers := helm.NewWorkers(in.opt.Renderer, runtime.GOMAXPROCS(0))
	defer renderers.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(in.opt.Workers)
	for _, c := range in.chosen {
		for j := range c.Releases {
			r, made := &c.Releases[j], &renderedRelease{}
			in.rendered[releaseKey{c.Name, r.Name}] = made
			g.Go(func() error {
				err := in.renderRelease(ctx, renderers, c, r, made)
				if err != nil {
					return fmt.Errorf("%srelease %s of component %s: %w", checking, r.Name, c.Name, err)
				}
				return nil
			})
		}
	}
	return g.Wait()
}

func (in *installer) renderRelease(
	ctx context.Context, renderers *helm.Workers, c *plan.Component, r *plan.Release, made *renderedRelease,
) error {
	there, afresh, err := in.releaseThere(ctx, c, r)
	if err != nil {
		return err
	}
	chart, dg, err := in.bundle.Chart(r.Chart)
	if err != nil {
		return err
	}
	if dg != r.ChartDigest {
		return fmt.Errorf("chart %s: %w: it is %s, not %s", r.Chart, ErrBundleMismatch, dg, r.ChartDigest)
	}
	scope := lookup.Scope{Chart: chart.Name(), Release: r.Name, Namespace: c.Namespace, Afresh: afresh, Rules: in.rules(c.Name)}
	questions := helm.NewQuestions(in.cluster, in.stack, scope)
	renderer := renderers.Open(chart)
	defer renderer.Close()
	made.rendering, err = renderer.Render(ctx, helm.RenderOptions{
		Release: r.Name, Namespace: c.Namespace, Values: r.Values, Upgrade: r.Rendering.Upgrade, Revision: r.Rendering.Revision,
		KubeVersion: in.plan.Cluster.Version, APIVersions: slices.Concat(in.plan.Cluster.APIVersions, r.Rendering.APIVersions), Exact: true,
		Lookup: questions.Answer,
	})
	if err != nil {
		return questions.Hide(err)
	}
	differences, err := compareRendering(r.Rendering, made.rendering)
	if err != nil {
		return questions.Hide(err)
	}
	refused := refusals(questions,
		in.lookupsMoved(r.Rendering, questions.Asked()), differences, in.callsOut(scope.Rules, made.rendering))
	if there && !slices.ContainsFunc(differences, func(d rendering.Difference) bool { return d.Kind == "CustomResourceDefinition" }) {
		made.refused = refused
		return nil
	}
	return refused
}

// releaseThere says whether a release is as planned already, and whether what
// there is of it will be removed before it is installed: a first install that
// never ended begins again.
func (in *installer) releaseThere(ctx context.Context, c *plan.Component, r *plan.Release) (there, afresh bool, _ error) {
	engine := helm.NewEngine(in.cluster, c.Namespace, helm.Pulls{}, nil)
	last, err := engine.Last(ctx, r.Name)
	if errors.Is(err, helm.ErrNoRelease) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	good, err := engine.Deployed(ctx, r.Name)
	if err != nil && !errors.Is(err, helm.ErrNoRelease) {
		return false, false, err
	}
	return good.Revision == last.Revision && same(last, marks(*r)), good.Revision == 0, nil
}

// rules are what the stack allows a component, as the trusted bundle has it.
func (in *installer) rules(component string) []lock.Allow {
	for _, c := range in.bundle.Lock().Components {
		if c.Name == component {
			return c.Allow
		}
	}
	return nil
}

func compareRendering(planned *plan.Rendering, made helm.Rendering) ([]rendering.Difference, error) {
	contents, err := made.Contents()
	if err != nil {
		return nil, err
	}
	return rendering.Compare(planned.Objects, contents)
}

// lookupsMoved says which answers are others than the plan's. Of a plan that was
// carried out here before, the answers about its own objects are its own doing.
func (in *installer) lookupsMoved(planned *plan.Rendering, asked []helm.Asked) []string {
	var moved []string
	for _, a := range asked {
		q := a.Question
		at := slices.IndexFunc(planned.Lookups, func(l plan.Lookup) bool { return l.Question == q })
		switch {
		case in.again && (a.Own || in.brings(q)):
		case at < 0:
			moved = append(moved, fmt.Sprintf("it looks up %s, which it did not when the plan was made", q))
		case planned.Lookups[at].Answer != a.Digest:
			moved = append(moved, fmt.Sprintf("what it looks up has changed since the plan was made: %s", q))
		}
	}
	return moved
}

// brings says whether a question is about what this plan installs: an object of
// any of its releases, or a list that one would stand in.
func (in *installer) brings(q plan.Question) bool {
	return slices.ContainsFunc(in.plan.Components, func(c plan.Component) bool {
		return slices.ContainsFunc(c.Releases, func(r plan.Release) bool {
			return slices.ContainsFunc(r.Rendering.Objects, func(o plan.RenderedObject) bool {
				namespace := cmp.Or(o.Namespace, c.Namespace)
				return o.APIVersion == q.APIVersion && o.Kind == q.Kind &&
					(q.Namespace == "" || q.Namespace == namespace) && (q.Name == "" || q.Name == o.Name)
			})
		})
	})
}

// callsOut says what of a rendering would fetch from outside the site although
// nothing like it was found for the plan: chance may have hidden it there.
func (in *installer) callsOut(rules []lock.Allow, made helm.Rendering) []string {
	sites, err := document.Read(document.WithoutTests(made.Documents))
	if err != nil {
		return []string{err.Error()}
	}
	open, _, _ := lint.Settle(lint.WithoutModels(lint.Check(sites), decide.CarriedModels(in.bundle.Lock())), rules)
	var out []string
	for _, f := range open {
		if !f.Warning {
			out = append(out, f.Place()+": "+f.What)
		}
	}
	return out
}

// maxRefusals bounds how many differences an error names.
const maxRefusals = 10

// refusals say how a rendering differs from the plan, but nothing that templates read of
// a Secret: it may have come after the plan was made.
func refusals(questions *helm.Questions, moved []string, differences []rendering.Difference, calls []string) error {
	all := slices.Concat(moved, calls)
	for _, d := range differences {
		all = append(all, d.What)
	}
	if len(all) == 0 {
		return nil
	}
	said := errors.New(strings.Join(listing.Cut(all, maxRefusals, ""), "; "))
	return fmt.Errorf("%w: %w", ErrRendering, questions.Hide(said))
}

// definitionsOf are the definitions that a component's releases render to.
func (w *work) definitionsOf() ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, spec := range w.specs {
		more, err := spec.Rendering.Definitions()
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// refused is why a release that was as planned may not be installed again.
func (w *work) refused(release string) error {
	return w.in.rendered[releaseKey{w.c.Name, release}].refused
}
