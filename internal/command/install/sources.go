package install

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/plan"
)

// allowedSources says which images the installed components may run: those of their
// plans, by the site's names and, where nodes know the mirrors, by upstream's.
func (s *session) allowedSources(ctx context.Context) sources {
	out := sources{made: map[string]bool{}}
	for _, o := range s.journal.Made {
		if o.Kind == "Namespace" {
			out.made[o.Name] = true
		}
	}
	var pulls []func(string) bool
	for _, d := range installedPlans(s.journal) {
		data, err := s.store.Plan(ctx, d)
		if err != nil {
			return out
		}
		p, err := plan.Parse(data)
		if err != nil {
			return out
		}
		pulls = append(pulls, pulledFromSite(p))
	}
	out.known = func(ref string) bool {
		return slices.ContainsFunc(pulls, func(pulled func(string) bool) bool { return pulled(ref) })
	}
	return out
}

// pulledFromSite says of references whether a node of the plan's site gets them from the
// site.
func pulledFromSite(p *plan.Plan) func(ref string) bool {
	rewrite, mirrors := p.Rewriter(), knowsMirrors(p)
	return func(ref string) bool {
		site, ok := rewrite(ref)
		return ok && (site == ref || mirrors)
	}
}

// knowsMirrors says whether the site's nodes know where upstream's names lead.
func knowsMirrors(p *plan.Plan) bool {
	return slices.Contains(p.Site.References, "mirror") || slices.Contains(p.Site.References, "idms")
}

func installedPlans(j *journal.Journal) []digest.Digest {
	var out []digest.Digest
	for _, c := range j.Installed {
		if !slices.Contains(out, c.Plan) {
			out = append(out, c.Plan)
		}
	}
	return out
}

// warnOfLeaks warns, after an installation, of images in the product's namespaces that
// are not the bundle's or do not come.
func (in *installer) warnOfLeaks(ctx context.Context) {
	var from sources
	in.readJournal(func(*journal.Journal) { from = in.allowedSources(ctx) })
	seen := map[string]bool{}
	for _, c := range in.plan.Components {
		if seen[c.Namespace] || !from.made[c.Namespace] {
			continue
		}
		seen[c.Namespace] = true
		uses, err := in.cluster.Uses(ctx, c.Namespace)
		if err != nil {
			in.warn(c.Name, "looking at the images of namespace %s: %v", c.Namespace, err)
		}
		for _, u := range uses {
			if from.known != nil && !from.known(u.Image) {
				in.warn(c.Name, "%s: container %s runs %s, which is not in the bundle", u.Object, u.Container, u.Image)
			}
			if u.Trouble != "" {
				in.warn(c.Name, "%s: the image of container %s cannot be pulled: %s", u.Object, u.Container, u.Trouble)
			}
		}
	}
}

// findUnpulled is why, it may be, a component failed: an error for each image in its
// namespace that does not come, or nil.
func (w *work) findUnpulled(ctx context.Context) error {
	uses, err := w.in.cluster.Uses(ctx, w.c.Namespace)
	if err != nil {
		return nil // the failure itself says enough
	}
	var errs []error
	for _, u := range uses {
		if u.Trouble != "" {
			errs = append(errs, fmt.Errorf("%s: %w: %s: %s", u.Object, whyUnpulled(u.Trouble), u.Image, u.Trouble))
		}
	}
	return errors.Join(errs...)
}
