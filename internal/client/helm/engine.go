package helm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	helmkube "helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/releaseutil"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
)

// ErrNoRelease: there is no release, or no revision, of that name.
var ErrNoRelease = errors.New("no such release")

// maxHistory is how many revisions of a release are kept.
const maxHistory = 10

// Engine runs Helm's actions in one namespace of one cluster. It renders nothing:
// Helm is given what was rendered, as a chart whose templates are constants, and
// what it then applies is held against that. Objects are applied server-side and
// waited for by package kube; releases are kept by Driver; custom resource
// definitions stay out of releases. Actions end when their context does, having
// written down what they came to. An Engine may be used from several goroutines for
// different releases.
type Engine struct {
	cluster   *kube.Client
	namespace string
	pulls     Pulls
	report    func(object.Ref, string)
}

// NewEngine makes an Engine. Every object it sends to the cluster, hooks
// included, went through pulls. report, which may be nil, hears what is waited
// for, and with an empty message what no longer.
func NewEngine(cluster *kube.Client, namespace string, pulls Pulls, report func(object.Ref, string)) *Engine {
	if report == nil {
		report = func(object.Ref, string) {}
	}
	return &Engine{cluster: cluster, namespace: namespace, pulls: pulls, report: report}
}

// Spec is one release as it should be.
type Spec struct {
	Name      string
	Chart     *Chart // whose name, version and default values the release keeps
	Values    map[string]any
	Rendering Rendering         // of the chart with these values: what is installed
	CRDs      []string          // custom resource definitions that it may render
	Labels    map[string]string // kept with the release
	Timeout   time.Duration     // for each of: hooks, objects becoming ready
}

// Release is what is known of one revision.
type Release struct {
	Name      string
	Namespace string
	Revision  int
	Status    string // Helm's word: deployed, failed, superseded, pending-…
	Chart     string // NAME-VERSION
	Updated   time.Time
	Labels    map[string]string
	Objects   []object.Ref // of its manifest, without hooks
	Note      string       // Helm's description
}

// Pending says whether an action on the release began and never ended.
func (r Release) Pending() bool {
	return release.Status(r.Status).IsPending() || r.Status == "uninstalling"
}

// capabilities are the real cluster's.
func (e *Engine) capabilities() (*chartutil.Capabilities, error) {
	version, err := e.cluster.Version()
	if err != nil {
		return nil, err
	}
	parsed, err := chartutil.ParseKubeVersion(version)
	if err != nil {
		return nil, fmt.Errorf("parsing the server's version %q: %w", version, err)
	}
	apis, err := e.cluster.APIVersions()
	if err != nil {
		return nil, err
	}
	return &chartutil.Capabilities{KubeVersion: *parsed, APIVersions: apis, HelmVersion: chartutil.DefaultCapabilities.HelmVersion}, nil
}

func (e *Engine) storage() *storage.Storage {
	s := storage.Init(NewDriver(e.cluster.Records(e.namespace)))
	s.MaxHistory = maxHistory
	return s
}

// configuration binds Helm's actions to the cluster for one call. patience is how long
// a webhook that does not answer is outwaited. Nothing but rendered is applied; it is
// nil where a stored revision comes back, or nothing is applied.
func (e *Engine) configuration(ctx context.Context, patience time.Duration, rendered *handover) (*action.Configuration, error) {
	caps, err := e.capabilities()
	if err != nil {
		return nil, err
	}
	getter := e.cluster.Getter(e.namespace)
	helmClient := helmkube.New(getter)
	helmClient.Namespace = e.namespace
	return &action.Configuration{
		RESTClientGetter: getter,
		Releases:         e.storage(),
		KubeClient:       &actionClient{Client: helmClient, ctx: ctx, engine: e, patience: patience, rendered: rendered},
		Capabilities:     caps,
		Log:              func(string, ...any) {},
		HookOutputFunc:   func(string, string, string) io.Writer { return io.Discard },
	}, nil
}

// Install installs revision 1 and waits until its objects are ready. What went
// wrong is in the error, and in the release's record where it got that far.
func (e *Engine) Install(ctx context.Context, spec Spec) (Release, error) {
	made, err := e.makeParts(spec)
	if err != nil {
		return Release{}, fmt.Errorf("installing release %s: %w", spec.Name, err)
	}
	cfg, err := e.configuration(ctx, spec.Timeout, made.rendered)
	if err != nil {
		return Release{}, fmt.Errorf("installing release %s: %w", spec.Name, err)
	}
	a := action.NewInstall(cfg)
	a.ReleaseName, a.Namespace, a.Timeout = spec.Name, e.namespace, spec.Timeout
	a.SkipCRDs, a.Wait, a.DisableOpenAPIValidation = true, true, true
	a.PostRenderer, a.Labels = postRenderer{e.pulls, spec.CRDs}, spec.Labels
	// The context reaches the action through its client: Helm's own way of
	// cancelling leaves the action running behind our back.
	rls, err := a.Run(made.chart, made.values)
	if err != nil {
		return e.summary(rls), fmt.Errorf("installing release %s: %w", spec.Name, cause(ctx, err))
	}
	return e.summary(rls), nil
}

// Upgrade makes the next revision and waits until its objects are ready.
func (e *Engine) Upgrade(ctx context.Context, spec Spec) (Release, error) {
	made, err := e.makeParts(spec)
	if err != nil {
		return Release{}, fmt.Errorf("upgrading release %s: %w", spec.Name, err)
	}
	cfg, err := e.configuration(ctx, spec.Timeout, made.rendered)
	if err != nil {
		return Release{}, fmt.Errorf("upgrading release %s: %w", spec.Name, err)
	}
	a := action.NewUpgrade(cfg)
	a.Namespace, a.Timeout, a.MaxHistory = e.namespace, spec.Timeout, maxHistory
	a.SkipCRDs, a.Wait, a.DisableOpenAPIValidation, a.ResetValues = true, true, true, true
	a.PostRenderer, a.Labels = postRenderer{e.pulls, spec.CRDs}, spec.Labels
	rls, err := a.Run(spec.Name, made.chart, made.values)
	if err != nil {
		return e.summary(rls), fmt.Errorf("upgrading release %s: %w", spec.Name, cause(ctx, err))
	}
	return e.summary(rls), nil
}

// cause prefers the reason the context ended over what Helm made of it.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && !errors.Is(err, c) {
		return fmt.Errorf("%w: %w", c, err)
	}
	return err
}

// Rollback makes a new revision of what the given earlier one was.
func (e *Engine) Rollback(ctx context.Context, name string, revision int, timeout time.Duration) (Release, error) {
	cfg, err := e.configuration(ctx, timeout, nil)
	if err != nil {
		return Release{}, fmt.Errorf("rolling back release %s: %w", name, err)
	}
	a := action.NewRollback(cfg)
	a.Version, a.Timeout, a.Wait, a.MaxHistory = revision, timeout, true, maxHistory
	if err := a.Run(name); err != nil {
		return Release{}, fmt.Errorf("rolling back release %s to revision %d: %w", name, revision, cause(ctx, err))
	}
	return e.Last(ctx, name)
}

// Uninstall removes a release, its objects and its history, and waits until
// they are gone. A missing release is no error.
func (e *Engine) Uninstall(ctx context.Context, name string, timeout time.Duration) error {
	cfg, err := e.configuration(ctx, timeout, nil)
	if err != nil {
		return fmt.Errorf("uninstalling release %s: %w", name, err)
	}
	a := action.NewUninstall(cfg)
	a.Timeout, a.Wait, a.IgnoreNotFound = timeout, true, true
	if _, err := a.Run(name); err != nil {
		return fmt.Errorf("uninstalling release %s: %w", name, cause(ctx, err))
	}
	return nil
}

// Retire uninstalls a release and keeps its history, so that Rollback can bring
// it back. A missing release is no error.
func (e *Engine) Retire(ctx context.Context, name string, timeout time.Duration) error {
	cfg, err := e.configuration(ctx, timeout, nil)
	if err != nil {
		return fmt.Errorf("uninstalling release %s: %w", name, err)
	}
	if last, err := e.Last(ctx, name); errors.Is(err, ErrNoRelease) || last.Status == "uninstalled" {
		return nil
	}
	a := action.NewUninstall(cfg)
	a.Timeout, a.Wait, a.KeepHistory = timeout, true, true
	if _, err := a.Run(name); err != nil {
		return fmt.Errorf("uninstalling release %s: %w", name, cause(ctx, err))
	}
	return nil
}

// Last is the newest revision of a release, or ErrNoRelease.
func (e *Engine) Last(_ context.Context, name string) (Release, error) {
	rls, err := e.storage().Last(name)
	return e.known(name, rls, err)
}

// Deployed is the newest revision that is deployed, or ErrNoRelease.
func (e *Engine) Deployed(_ context.Context, name string) (Release, error) {
	rls, err := e.storage().Deployed(name)
	return e.known(name, rls, err)
}

// Objects are what the newest revision of a release applied, hooks left out, as
// it applied them, or ErrNoRelease.
func (e *Engine) Objects(_ context.Context, name string) ([]*unstructured.Unstructured, error) {
	rls, err := e.storage().Last(name)
	if err != nil {
		_, err := e.known(name, nil, err)
		return nil, err
	}
	objects, err := kube.Parse([]byte(rls.Manifest))
	if err != nil {
		return nil, fmt.Errorf("reading release %s: %w", name, err)
	}
	for _, u := range objects {
		visible(u, rls)
	}
	return objects, nil
}

// visible adds the marks that Helm puts on every object of a release.
func visible(u *unstructured.Unstructured, rls *release.Release) {
	u.SetLabels(with(u.GetLabels(), map[string]string{"app.kubernetes.io/managed-by": "Helm"}))
	u.SetAnnotations(with(u.GetAnnotations(), map[string]string{object.AnnotationRelease: rls.Name, object.AnnotationReleaseNamespace: rls.Namespace}))
}

func with(m, more map[string]string) map[string]string {
	if m == nil {
		return more
	}
	maps.Copy(m, more)
	return m
}

// Releases lists the newest revision of every release in the namespace, sorted
// by name.
func (e *Engine) Releases(_ context.Context) ([]Release, error) {
	all, err := e.storage().ListReleases()
	if err != nil {
		return nil, fmt.Errorf("listing releases in namespace %s: %w", e.namespace, err)
	}
	releaseutil.SortByRevision(all)
	newest := map[string]Release{}
	for _, r := range all {
		newest[r.Name] = e.summary(r)
	}
	out := make([]Release, 0, len(newest))
	for _, r := range newest {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Release) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out, nil
}

func (e *Engine) known(name string, rls *release.Release, err error) (Release, error) {
	if errors.Is(err, driver.ErrReleaseNotFound) || errors.Is(err, driver.ErrNoDeployedReleases) {
		return Release{}, fmt.Errorf("reading release %s: %w", name, ErrNoRelease)
	}
	if err != nil {
		return Release{}, fmt.Errorf("reading release %s: %w", name, err)
	}
	return e.summary(rls), nil
}

// Settle marks an action that began and never ended as failed, so that the next
// one can begin. Only the holder of the install lease may call it. It returns
// the newest revision, or ErrNoRelease.
func (e *Engine) Settle(ctx context.Context, name string) (Release, error) {
	s := e.storage()
	rls, err := s.Last(name)
	if err != nil {
		return e.known(name, nil, err)
	}
	if !rls.Info.Status.IsPending() {
		return e.summary(rls), ctx.Err()
	}
	rls.SetStatus(release.StatusFailed, "interrupted while "+rls.Info.Status.String())
	if err := s.Update(rls); err != nil {
		return Release{}, fmt.Errorf("settling release %s: %w", name, err)
	}
	return e.summary(rls), nil
}

func (e *Engine) summary(rls *release.Release) Release {
	if rls == nil {
		return Release{}
	}
	r := Release{Name: rls.Name, Namespace: rls.Namespace, Revision: rls.Version, Labels: rls.Labels}
	if rls.Info != nil {
		r.Status, r.Updated, r.Note = rls.Info.Status.String(), rls.Info.LastDeployed.Time, rls.Info.Description
	}
	if rls.Chart != nil && rls.Chart.Metadata != nil {
		r.Chart = rls.Chart.Metadata.Name + "-" + rls.Chart.Metadata.Version
	}
	objects, err := kube.Parse([]byte(rls.Manifest))
	if err != nil {
		return r
	}
	for _, u := range objects {
		r.Objects = append(r.Objects, e.cluster.Place(u, e.namespace))
	}
	return r
}

// Labels that a Spec gives its release to tell what it was made of: digests,
// shortened by plan.Mark.
const (
	LabelChart  = "caisson.dev/chart"
	LabelValues = "caisson.dev/values"
	LabelImages = "caisson.dev/images"
)
