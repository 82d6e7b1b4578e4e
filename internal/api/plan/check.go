package plan

import (
	"fmt"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/opencontainers/go-digest"
)

// check says what is wrong with a plan that was read.
func (p *Plan) check() error {
	if p.APIVersion != APIVersion || p.Kind != Kind {
		return fmt.Errorf("it is a %s %s, not a %s %s", p.APIVersion, p.Kind, APIVersion, Kind)
	}
	if p.Name == "" || p.Site.Registry.Address == "" {
		return fmt.Errorf("a field is missing")
	}
	for _, d := range []digest.Digest{p.Index, p.Lock, p.Site.Digest, p.Cluster.Digest} {
		if err := d.Validate(); err != nil {
			return fmt.Errorf("digest %q: %w", d, err)
		}
	}
	if want := Bind(p.Cluster.UID, p.Cluster.Version); want != p.Cluster.Digest {
		return fmt.Errorf("the digest of the cluster facts is %s, not %s", want, p.Cluster.Digest)
	}
	if err := p.checkImages(); err != nil {
		return err
	}
	if err := p.Nodes.check(); err != nil {
		return err
	}
	if err := p.GPU.check(); err != nil {
		return err
	}
	return p.checkComponents()
}

func (p *Plan) checkImages() error {
	seen := map[imageref.Ref]bool{}
	for _, i := range p.Images {
		if seen[i.Ref] {
			return fmt.Errorf("image %s occurs twice", i.Ref)
		}
		seen[i.Ref] = true
		if err := i.Digest.Validate(); err != nil {
			return fmt.Errorf("image %s: digest %q: %w", i.Ref, i.Digest, err)
		}
	}
	for _, m := range p.Models {
		if m.Ref == "" || m.Site == "" {
			return fmt.Errorf("model %q has no reference, or no place at the site", m.Ref)
		}
	}
	for _, c := range p.Components {
		for _, ref := range c.Images {
			if !seen[ref] {
				return fmt.Errorf("component %s names image %s, which the plan does not have", c.Name, ref)
			}
		}
	}
	return nil
}

// checkComponents also proves that needs point backwards, hence without circle.
func (p *Plan) checkComponents() error {
	level := map[string]int{}
	for _, c := range p.Components {
		if _, twice := level[c.Name]; twice || c.Name == "" || c.Namespace == "" {
			return fmt.Errorf("component %q is nameless, without namespace or there twice", c.Name)
		}
		for _, n := range c.Needs {
			if l, ok := level[n]; !ok || l >= c.Level {
				return fmt.Errorf("component %s needs %s, which does not come before it", c.Name, n)
			}
		}
		level[c.Name] = c.Level
		if err := c.check(); err != nil {
			return fmt.Errorf("component %s: %w", c.Name, err)
		}
	}
	return nil
}

func (c *Component) check() error {
	for _, r := range c.Releases {
		if r.Name == "" || r.Chart == "" {
			return fmt.Errorf("a release without name or chart")
		}
		if err := r.ChartDigest.Validate(); err != nil {
			return fmt.Errorf("release %s: digest %q: %w", r.Name, r.ChartDigest, err)
		}
		if got, err := DigestValues(r.Values); err != nil || got != r.ValuesDigest {
			return fmt.Errorf("release %s: its values have digest %s, not %s", r.Name, got, r.ValuesDigest)
		}
		if err := r.Rendering.check(); err != nil {
			return fmt.Errorf("release %s: %w", r.Name, err)
		}
	}
	for _, m := range c.Manifests {
		if err := m.Digest.Validate(); err != nil {
			return fmt.Errorf("manifest %s: digest %q: %w", m.Item, m.Digest, err)
		}
	}
	return nil
}
