package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/client/fetch"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/rules/lint"
	"github.com/caisson/caisson/internal/rules/lookup"
	"github.com/caisson/caisson/internal/rules/rendering"
)

const (
	maxProvenance = 1 << 20
	legacyChart   = "application/tar+gzip" // of charts pushed by Helm before 3.7
)

// pulledChart is a chart and the item that carries it.
type pulledChart struct {
	*helm.Chart
	item lock.Item
}

type chartIndex = *helm.Index

// chart resolves one release of a component: the chart itself, its values, and
// the images it renders to.
func (s *session) chart(ctx context.Context, i, j int) {
	comp := &s.stack.Components[i]
	ch := &comp.Charts[j]
	at := stackField{
		field: fmt.Sprintf("components[%d].charts[%d]", i, j),
		what:  fmt.Sprintf("component %s: chart %s", comp.Name, ch.Name),
	}
	s.resolveItem(lock.Chart, chartName(ch), at, func() (int64, evidence, error) {
		pulled, err := s.pullChart(ctx, ch)
		if err != nil {
			return 0, evidence{}, err
		}
		s.found.addItem(pulled.item, comp.Name)
		values, err := helm.ReadValues(ch)
		if err != nil {
			return 0, evidence{}, err
		}
		facts, err := factsWanted(pulled.Chart)
		if err != nil {
			return 0, evidence{}, err
		}
		s.found.addRelease(i, j, lock.Release{Name: ch.Name, Chart: pulled.item.Ref, Values: values, Facts: facts})
		if err := s.render(ctx, pulled.Chart, comp, ch, values, at); err != nil {
			return 0, evidence{}, err
		}
		var found evidence
		if manifests := pulled.item.Manifests(); len(manifests) > 0 {
			found, err = s.gatherEvidence(ctx, pulled.item.Ref, manifests, []string{comp.Name})
		}
		return int64(len(pulled.Archive())), found, err
	})
}

// factsWanted are the facts of a site that a chart asks for, sorted.
func factsWanted(c *helm.Chart) ([]string, error) {
	facts := strings.Fields(c.Metadata().Annotations[lock.AnnotationSiteFacts])
	slices.Sort(facts)
	facts = slices.Compact(facts)
	for _, f := range facts {
		if !slices.Contains(lock.SiteFacts(), f) {
			return nil, fmt.Errorf("chart %s asks for the fact %q of a site (annotation %s); known: %s",
				c.Name(), f, lock.AnnotationSiteFacts, strings.Join(lock.SiteFacts(), ", "))
		}
	}
	return facts, nil
}

// chartName is what events call a chart before it is read: its reference, as
// far as the stack tells.
func chartName(ch *stack.Chart) string {
	if source, ok := strings.CutPrefix(ch.Source, "oci://"); ok {
		return source + ":" + lock.ChartTag(ch.Version)
	}
	if name, ours := ch.Shipped(); ours {
		return name
	}
	return repositoryRef(ch.Source, ch.UpstreamName(), ch.Version).String()
}

// render finds the images of a release at every Kubernetes version, installed and
// upgraded, and what its templates look up. No cluster answers them.
func (s *session) render(ctx context.Context, c *helm.Chart, comp *stack.Component, ch *stack.Chart, values map[string]any, at stackField) error {
	versions := s.stack.Kubernetes.Versions
	if len(versions) == 0 {
		versions = []string{""}
	}
	namespace := comp.Namespace
	if namespace == "" {
		namespace = comp.Name
	}
	questions := helm.NewQuestions(nil, "", lookup.Scope{Chart: c.Name(), Release: ch.Name, Namespace: namespace, Rules: rules(comp)})
	opt := helm.RenderOptions{
		Release: ch.Name, Namespace: namespace, Values: values,
		APIVersions: s.stack.Kubernetes.APIVersions, Lookup: questions.Answer,
	}
	renderer := s.renderers.Open(c)
	defer renderer.Close()
	var noUpgrade error
	for i, version := range versions {
		opt.KubeVersion = version
		installed, refused, err := s.renderBoth(ctx, renderer, comp, opt, at)
		if err == nil && i == 0 {
			err = s.findChance(ctx, renderer, comp, opt, installed, at)
		}
		if err != nil {
			if version != "" {
				return fmt.Errorf("for Kubernetes %s: %w", version, err)
			}
			return err
		}
		noUpgrade = cmp.Or(noUpgrade, refused)
	}
	if noUpgrade != nil {
		s.warnOfUpgrade(comp.Name, opt.Release, noUpgrade)
	}
	s.found.lint(comp.Name, lookups(questions))
	return nil
}

// renderBoth renders an install and an upgrade. Charts may refuse to be upgraded
// where nothing is installed, which is refused: plan looks again at the site.
func (s *session) renderBoth(
	ctx context.Context, renderer *helm.Renderer, comp *stack.Component, opt helm.RenderOptions, at stackField,
) (installed helm.Rendering, refused, err error) {
	what := "chart " + opt.Release
	installed, err = renderer.Render(ctx, opt)
	if err != nil {
		return helm.Rendering{}, nil, err
	}
	s.discoverImages(installed.Fresh, comp.Name, what, at)
	opt.Upgrade, opt.Revision = true, 2
	upgraded, err := renderer.Render(ctx, opt)
	switch {
	case err == nil:
		s.discoverImages(upgraded.Fresh, comp.Name, what, at)
		return installed, nil, nil
	case ctx.Err() != nil || errors.Is(err, helm.ErrWorker) || errors.Is(err, helm.ErrTooLarge):
		return helm.Rendering{}, nil, err
	}
	return installed, err, nil
}

// maxTemplateError bounds what a template says in a warning, in bytes.
const maxTemplateError = 500

func (s *session) warnOfUpgrade(component, release string, refused error) {
	text := refused.Error()
	if len(text) > maxTemplateError {
		text = strings.ToValidUTF8(text[:maxTemplateError], "") + " …"
	}
	s.warn(component, fmt.Sprintf(
		"component %s: chart %s does not render as an upgrade, so images that only an upgrade brings are not known: %s",
		component, release, text))
}

// findChance renders an install once more, as if it were later: what chance
// decides is refused at the site, unless the stack allows it. Images that only this
// rendering names are needed as well.
func (s *session) findChance(
	ctx context.Context, renderer *helm.Renderer, comp *stack.Component, opt helm.RenderOptions, first helm.Rendering, at stackField,
) error {
	opt.Later = true
	second, err := renderer.Render(ctx, opt)
	if err != nil {
		return err
	}
	s.discoverImages(second.Fresh, comp.Name, "chart "+opt.Release, at)
	objects, err := helm.Describe(helm.WithoutSame(first, second))
	if errors.Is(err, rendering.ErrUnsteady) {
		return err
	}
	if err != nil { // what is no object is refused at the site, where one is made of it
		return nil
	}
	s.found.lint(comp.Name, rendering.Chance(renderer.Chart().Name(), objects))
	return nil
}

// lookups are the findings among what was asked.
func lookups(questions *helm.Questions) []lint.Finding {
	var out []lint.Finding
	for _, a := range questions.Asked() {
		if a.Finding != nil {
			out = append(out, *a.Finding)
		}
	}
	return out
}

// pullChart fetches a chart once, however many releases use it.
func (s *session) pullChart(ctx context.Context, ch *stack.Chart) (*pulledChart, error) {
	return s.charts.do(chartName(ch)+" "+ch.Source, func() (*pulledChart, error) {
		if name, ours := ch.Shipped(); ours {
			return shippedChart(name, ch.Version)
		}
		if ch.InRegistry() {
			return s.registryChart(ctx, ch)
		}
		return s.repositoryChart(ctx, ch.Source, ch.UpstreamName(), ch.Version)
	})
}

// shippedChart is a chart that comes with the program. A version that is not its own
// is an error; "" is its own.
func shippedChart(name, version string) (*pulledChart, error) {
	c, err := helm.OpenOurs(name)
	if err != nil {
		return nil, err
	}
	if version != "" && version != c.Version() {
		return nil, fmt.Errorf("this caisson has chart %s %s, not %s", name, c.Version(), version)
	}
	config, err := c.Config()
	if err != nil {
		return nil, err
	}
	return &pulledChart{c, lock.Item{
		Ref:  imageref.Ref(lock.ShippedCharts + "/" + name).WithTag(lock.ChartTag(c.Version())),
		Kind: lock.Chart, Source: "caisson:charts/" + name,
		Content: &lock.HelmChart{
			Name: c.Name(), Version: c.Version(), Shipped: name,
			Digest: digest.FromBytes(c.Archive()), Size: int64(len(c.Archive())), Config: config,
		},
	}}, nil
}

// registryChart fetches a chart from a registry.
func (s *session) registryChart(ctx context.Context, ch *stack.Chart) (*pulledChart, error) {
	named, err := ch.Repository()
	if err != nil {
		return nil, err
	}
	repository, ref := named.Repository(), named.WithTag(lock.ChartTag(ch.Version))
	m, err := s.puller.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	if m.Index() {
		return nil, fmt.Errorf("%s is an index, not a chart", ref)
	}
	pinned, err := pinManifest(m)
	if err != nil {
		return nil, err
	}
	archive, err := s.chartLayer(ctx, repository, pinned)
	if err != nil {
		return nil, fmt.Errorf("fetching chart %s: %w", ref, err)
	}
	c, err := openChart(archive, ref.Name(), ch.Version)
	if err != nil {
		return nil, err
	}
	return &pulledChart{c, lock.Item{
		Ref: ref, Kind: lock.Chart, Source: "oci://" + ref.String(),
		Digest: m.Digest, MediaType: m.MediaType, Size: int64(len(m.Bytes)), Content: lock.Verbatim{pinned},
	}}, nil
}

func (s *session) chartLayer(ctx context.Context, repository string, m lock.ImageManifest) ([]byte, error) {
	if m.Config.MediaType != lock.MediaTypeHelmConfig {
		return nil, fmt.Errorf("its config is %q, not that of a chart", m.Config.MediaType)
	}
	for _, b := range m.Layers {
		if b.MediaType != lock.MediaTypeHelmChart && b.MediaType != legacyChart {
			continue
		}
		if b.Size > helm.MaxArchiveSize {
			return nil, fmt.Errorf("%w: %d bytes", helm.ErrTooLarge, b.Size)
		}
		r, err := s.puller.BlobRequest(ctx, repository, b.Digest, b.Size)
		if err != nil {
			return nil, err
		}
		return s.fetchVerified(ctx, r, b.Digest)
	}
	return nil, errors.New("it has no chart layer")
}

// fetchVerified fetches a small blob of known size and digest. Wrong bytes are asked
// for once more.
func (s *session) fetchVerified(ctx context.Context, r fetch.Request, want digest.Digest) ([]byte, error) {
	for try := 1; ; try++ {
		data, _, err := s.fetch.Read(ctx, r, r.Size)
		if err != nil {
			return nil, err
		}
		got := digest.FromBytes(data)
		if got == want {
			return data, nil
		}
		if try == 2 {
			return nil, fmt.Errorf("%w: %s, not %s", ErrDigest, got, want)
		}
	}
}

// openChart loads an archive and holds it against what was asked for.
func openChart(archive []byte, name, version string) (*helm.Chart, error) {
	c, err := helm.LoadArchive(archive)
	if err != nil {
		return nil, err
	}
	if c.Name() != name {
		return nil, fmt.Errorf("the archive holds chart %q, not %q", c.Name(), name)
	}
	if strings.TrimPrefix(c.Version(), "v") != strings.TrimPrefix(version, "v") {
		return nil, fmt.Errorf("the archive holds version %q, not %q", c.Version(), version)
	}
	return c, nil
}

// repositoryChart fetches a chart from an HTTP chart repository.
func (s *session) repositoryChart(ctx context.Context, source, name, version string) (*pulledChart, error) {
	source = strings.TrimSuffix(source, "/")
	index, err := s.indexes.do(source, func() (chartIndex, error) {
		data, _, err := s.fetch.Get(ctx, source+"/index.yaml", helm.MaxIndexSize)
		if err != nil {
			return nil, err
		}
		return helm.ParseIndex(data)
	})
	if err != nil {
		return nil, err
	}
	at, err := index.Find(source, name, version)
	if err != nil {
		return nil, err
	}
	at.URL = s.upstreamURL(source, at.URL)
	archive, _, err := s.fetch.Get(ctx, at.URL, helm.MaxArchiveSize)
	if err != nil {
		return nil, err
	}
	got := digest.FromBytes(archive)
	if at.Digest != "" && at.Digest != got {
		return nil, fmt.Errorf("chart %s %s: %w: %s, the repository's index says %s", name, version, ErrDigest, got, at.Digest)
	}
	c, err := openChart(archive, name, version)
	if err != nil {
		return nil, err
	}
	return s.wrapChart(ctx, source, at.URL, c)
}

// upstreamURL undoes a mirror's own address in a URL that its index names, so
// that no lock depends on a mirror.
func (s *session) upstreamURL(source, url string) string {
	mirror := strings.TrimSuffix(s.fetch.URL(source), "/")
	if rest, ok := strings.CutPrefix(url, mirror+"/"); ok {
		return source + "/" + rest
	}
	return url
}

func (s *session) wrapChart(ctx context.Context, source, url string, c *helm.Chart) (*pulledChart, error) {
	config, err := c.Config()
	if err != nil {
		return nil, err
	}
	wrapped := &lock.HelmChart{
		Name: c.Name(), Version: c.Version(), URL: url,
		Digest: digest.FromBytes(c.Archive()), Size: int64(len(c.Archive())), Config: config,
	}
	if wrapped.Provenance, err = s.findProvenance(ctx, url); err != nil {
		return nil, err
	}
	return &pulledChart{c, lock.Item{
		Ref: repositoryRef(source, c.Name(), c.Version()), Kind: lock.Chart, Source: source, Content: wrapped,
	}}, nil
}

// findProvenance looks for a chart's .prov file. Repositories on object stores
// answer 403 for what is not there.
func (s *session) findProvenance(ctx context.Context, url string) (*lock.Blob, error) {
	data, _, err := s.fetch.Get(ctx, url+".prov", maxProvenance)
	var status *fetch.StatusError
	if errors.As(err, &status) {
		switch status.Status {
		case http.StatusNotFound, http.StatusGone, http.StatusForbidden:
			return nil, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the chart's provenance: %w", err)
	}
	return &lock.Blob{Digest: digest.FromBytes(data), MediaType: lock.MediaTypeProvenance, Size: int64(len(data))}, nil
}

var notInNames = regexp.MustCompile(`[^a-z0-9._/-]+`)

// repositoryRef is the reference of a chart from an HTTP repository: the
// repository's host and path, in the characters a registry allows.
func repositoryRef(source, name, version string) imageref.Ref {
	_, rest, _ := strings.Cut(source, "://")
	rest, _, _ = strings.Cut(rest, "?")
	host, path, _ := strings.Cut(rest, "/")
	parts := []string{strings.ToLower(host)}
	for part := range strings.SplitSeq(path+"/"+name, "/") {
		if part = strings.Trim(notInNames.ReplaceAllString(strings.ToLower(part), "-"), "._-"); part != "" {
			parts = append(parts, part)
		}
	}
	return imageref.Ref(strings.Join(parts, "/")).WithTag(lock.ChartTag(version))
}
