package decide

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/site"
)

// Fit holds a plan against the lock of the trusted bundle it names, whose
// digest is given: the plan is for that lock and stack, and each of its images
// is one of the lock, at the place of the site's registry where that lies.
// Errors wrap ErrUnfit.
func Fit(p *plan.Plan, l *lock.Lock, dg digest.Digest) error {
	if p.Lock != dg {
		return fmt.Errorf("%w: it is for lock %s, the bundle has %s", plan.ErrUnfit, p.Lock, dg)
	}
	if p.Name != l.Metadata.Name || p.Version != l.Metadata.Version {
		return fmt.Errorf("%w: it is for stack %s %s, the bundle holds %s %s", plan.ErrUnfit, p.Name, p.Version, l.Metadata.Name, l.Metadata.Version)
	}
	set := newImageSet(l)
	for _, i := range p.Images {
		if err := fitImage(i, set, p.Site.Registry); err != nil {
			return fmt.Errorf("%w: image %s: %w", plan.ErrUnfit, i.Ref, err)
		}
	}
	if err := fitNodes(p, l); err != nil {
		return fmt.Errorf("%w: %w", plan.ErrUnfit, err)
	}
	if err := fitGPU(p, l); err != nil {
		return fmt.Errorf("%w: %w", plan.ErrUnfit, err)
	}
	return nil
}

func fitImage(i plan.Image, set imageSet, r site.Registry) error {
	it, asked := set.byRef[i.Ref], digest.Digest("")
	if it == nil || it.Ref != i.Ref {
		it, asked = set.findItem(i.Ref)
	}
	if it == nil || keyOf(it, asked) != i.Ref {
		return fmt.Errorf("the bundle has none of that reference")
	}
	if asked != "" && i.Digest != asked {
		return fmt.Errorf("it is %s", i.Digest)
	}
	if !itemCarries(it, i.Digest) {
		return fmt.Errorf("%s is not a manifest of it", i.Digest)
	}
	if want := r.Place(it.Ref, i.Digest); i.Site != want {
		return fmt.Errorf("its place is %s, not %s", want, i.Site)
	}
	for _, a := range i.Aliases {
		if other, dg := set.findItem(a); other == nil || keyOf(other, dg) != i.Ref {
			return fmt.Errorf("%s is another image", a)
		}
	}
	return nil
}

// itemCarries says whether dg is the item's manifest or one carried below it.
func itemCarries(it *lock.Item, dg digest.Digest) bool {
	if dg == it.Digest {
		return true
	}
	for _, m := range it.Manifests() {
		if m.Digest == dg {
			return true
		}
	}
	return false
}
