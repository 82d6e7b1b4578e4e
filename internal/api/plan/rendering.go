package plan

import (
	"errors"
	"fmt"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/opencontainers/go-digest"
)

// Rendering is what a release renders to at the site, without its content. It is
// rendered again when it is installed, from what is written here, and must come to
// the same.
type Rendering struct {
	Upgrade     bool             `json:"upgrade,omitempty"`     // as an upgrade, not as a first install
	Revision    int              `json:"revision"`              // as the one that becomes this revision
	APIVersions []string         `json:"apiVersions,omitempty"` // as if these were served, beyond the cluster's
	Lookups     []Lookup         `json:"lookups,omitempty"`     // what templates asked the cluster, sorted
	Objects     []RenderedObject `json:"objects"`               // all of them, hooks and definitions included
}

// RenderedObject is one object of a rendering as the chart writes it: without a
// namespace it is in the component's own, or in none.
type RenderedObject struct {
	object.Ref
	Hook   string            `json:"hook,omitempty"`   // when Helm runs it, such as pre-install,pre-upgrade
	Digest digest.Digest     `json:"digest"`           // of its content but for the fields of chance
	Parts  map[string]string `json:"parts,omitempty"`  // beginnings of digests of its fields, to say which is another
	Chance []string          `json:"chance,omitempty"` // fields that are another in each rendering, as JSON pointers
}

// errNoRendering is the complaint about plans of earlier versions.
var errNoRendering = errors.New("it does not list the objects that it renders: make the plan again")

// CheckRenderings says of a plan that is to be carried out whether it lists what
// each of its releases renders to. Plans of earlier versions do not; they can
// still be read. Errors wrap ErrInvalid.
func (p *Plan) CheckRenderings() error {
	for _, c := range p.Components {
		for _, r := range c.Releases {
			if r.Rendering == nil {
				return fmt.Errorf("%w: release %s of component %s: %w", ErrInvalid, r.Name, c.Name, errNoRendering)
			}
		}
	}
	return nil
}

// check says what is wrong with a rendering that was read.
func (r *Rendering) check() error {
	if r == nil {
		return nil
	}
	for _, l := range r.Lookups {
		if err := l.Answer.Validate(); err != nil {
			return fmt.Errorf("the answer about %s %s: digest %q: %w", l.Kind, l.Name, l.Answer, err)
		}
	}
	for _, o := range r.Objects {
		if err := o.Digest.Validate(); err != nil {
			return fmt.Errorf("%s %s: digest %q: %w", o.Kind, o.Name, o.Digest, err)
		}
	}
	return nil
}
