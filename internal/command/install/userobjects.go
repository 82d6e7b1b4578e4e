package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/listing"
)

// UserObjects are custom resources that the stack did not bring and that a component
// serves.
type UserObjects struct {
	Definition string       `json:"definition"` // widgets.example.org
	Component  string       `json:"component"`  // whose removal leaves them alone
	Objects    []object.Ref `json:"objects"`
	Guarded    int          `json:"guarded,omitempty"` // of them have finalizers: without the component they cannot be deleted
	// Kept are those of them that another installation brought, in words: they are its
	// to remove.
	Kept []string `json:"kept,omitempty"`
}

// Removal is what uninstalling would do.
type Removal struct {
	Stack      string        `json:"stack"`
	Components []Removed     `json:"components"` // in the order in which they go
	Shared     []object.Ref  `json:"shared"`     // definitions and namespaces that go once nothing uses them
	Users      []UserObjects `json:"users,omitempty"`
}

// Removed is one component that goes.
type Removed struct {
	Name     string       `json:"name"`
	Releases []string     `json:"releases,omitempty"`
	Objects  []object.Ref `json:"objects"` // those of releases included
	// Keys are what cert-manager made for Certificates among the objects.
	Keys []kube.IssuedKeys `json:"keys,omitempty"`
}

// PreviewUninstall says what Uninstall would do with the same options. It changes
// nothing.
func PreviewUninstall(ctx context.Context, opt UninstallOptions, sink event.Sink) (Removal, error) {
	s, err := openSession(ctx, opt.Target, journal.Uninstall, sink)
	if err != nil {
		return Removal{}, err
	}
	if err := s.loadJournal(ctx, false); err != nil {
		return Removal{}, err
	}
	chosen, err := s.listRemovable(opt.Component)
	if err != nil {
		return Removal{}, err
	}
	if len(chosen) == 0 {
		return Removal{}, fmt.Errorf("looking at stack %s: %w", s.stack, journal.ErrNone)
	}
	r := Removal{Stack: s.stack, Shared: s.sharedAfter(chosen)}
	for i := range chosen {
		c := removedOf(&chosen[i])
		if c.Keys, err = s.cluster.FindIssuedKeys(ctx, c.Objects); err != nil {
			return r, err
		}
		r.Components = append(r.Components, c)
	}
	r.Users, err = s.listUserObjects(ctx, chosen)
	sink.Emit(event.Event{Verb: string(journal.Uninstall), Kind: event.Result, Message: s.stack, Fields: map[string]any{"removal": r}})
	return r, err
}

func removedOf(c *journal.Installed) Removed {
	r := Removed{Name: c.Name, Objects: slices.Clone(c.Objects)}
	for _, rel := range c.Releases {
		r.Releases = append(r.Releases, rel.Name)
		r.Objects = append(r.Objects, rel.Objects...)
	}
	return r
}

// listUserObjects lists the custom resources that components serve and that the stack
// did not bring, by definition. What goes with another object is left out.
func (s *session) listUserObjects(ctx context.Context, chosen []journal.Installed) ([]UserObjects, error) {
	served, err := s.servedDefinitions(ctx, chosen)
	if err != nil {
		return nil, err
	}
	goes := s.newOwners(served)
	found := make([]UserObjects, len(served))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lookers)
	for i, d := range served {
		g.Go(func() error {
			list, err := s.cluster.CustomResources(ctx, d.crd)
			if err != nil {
				return err
			}
			found[i] = UserObjects{Definition: d.crd.Name, Component: d.component}
			for _, r := range list {
				if goes.isUsers(r) {
					found[i].add(r)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(u UserObjects) bool { return len(u.Objects) == 0 }), nil
}

func (u *UserObjects) add(r kube.CustomResource) {
	u.Objects = append(u.Objects, r.Object)
	if r.Guarded {
		u.Guarded++
	}
	_, isHelms := r.Annotations[object.AnnotationRelease]
	if _, isStacks := r.Annotations[kube.AnnotationOwner]; isHelms || isStacks {
		u.Kept = append(u.Kept, fmt.Sprintf("%s is part of %s", r.Object, kube.Keeper(nil, r.Annotations)))
	}
}

// owners tell what is the stack's and what goes with other objects.
type owners struct {
	*session
	ours   map[string]bool // keys of all that the stack's components brought
	served map[string]bool // group/kind of what is listed as users' objects itself
}

func (s *session) newOwners(served []servedDefinition) owners {
	out := owners{s, s.ownKeys(), map[string]bool{}}
	for _, d := range served {
		out.served[d.kind] = true
	}
	return out
}

// isUsers says whether a custom resource is a user's. One that belongs to another object
// goes with it, unless it waits for somebody to free it: then its owner, such as a Job
// in a queue, cannot take it along.
func (w owners) isUsers(r kube.CustomResource) bool {
	if w.ours[r.Object.Key()] || w.isMarked(r) {
		return false
	}
	for _, o := range r.Owners {
		if w.ours[o.Key()] || w.served[kindKey(o)] {
			return false
		}
	}
	return len(r.Owners) == 0 || r.Guarded
}

func kindKey(o object.Ref) string { return o.GroupVersionKind().GroupKind().String() }

// isMarked says whether a custom resource bears the mark of one of the stack's
// components.
func (s *session) isMarked(r kube.CustomResource) bool {
	return strings.HasPrefix(r.Annotations[kube.AnnotationOwner], s.stack+"/")
}

// ownKeys are those of all objects that the stack's components brought.
func (s *session) ownKeys() map[string]bool {
	out := map[string]bool{}
	s.readJournal(func(j *journal.Journal) {
		for i := range j.Installed {
			for _, o := range removedOf(&j.Installed[i]).Objects {
				out[o.Key()] = true
			}
		}
	})
	return out
}

// servedDefinition is a definition whose objects a component serves.
type servedDefinition struct {
	crd       object.Ref
	kind      string // as kindKey
	component string
}

// servedDefinitions lists the definitions that lose what serves them when components
// go: those that a component brings, and those of components that it needs and that run
// nothing themselves, since upstreams often ship definitions apart.
func (s *session) servedDefinitions(ctx context.Context, chosen []journal.Installed) ([]servedDefinition, error) {
	var out []servedDefinition
	seen := map[string]bool{}
	for i := range chosen {
		for _, from := range s.servedFrom(&chosen[i]) {
			crds, err := s.recordedObjects(ctx, from.Definitions)
			if err != nil {
				return nil, err
			}
			for _, u := range crds {
				if o := object.RefOf(u); !seen[o.Name] {
					seen[o.Name] = true
					out = append(out, servedDefinition{crd: o, kind: kube.DefinedKind(u).String(), component: chosen[i].Name})
				}
			}
		}
	}
	return out, nil
}

// servedFrom lists the components whose definitions c serves.
func (s *session) servedFrom(c *journal.Installed) []journal.Installed {
	out := []journal.Installed{*c}
	for _, name := range c.Needs {
		if n := s.installedCopy(name); n != nil && !slices.ContainsFunc(removedOf(n).Objects, kube.IsWorkload) {
			out = append(out, *n)
		}
	}
	return out
}

// sharedAfter lists the shared objects that go with components, if nothing else uses
// them.
func (s *session) sharedAfter(chosen []journal.Installed) []object.Ref {
	var left []journal.Installed
	var made []object.Ref
	s.readJournal(func(j *journal.Journal) {
		made = slices.Clone(j.Made)
		for _, c := range j.Installed {
			if !slices.ContainsFunc(chosen, func(g journal.Installed) bool { return g.Name == c.Name }) {
				left = append(left, c)
			}
		}
	})
	return leftovers(made, left)
}

// UserObjectsChoice is what becomes of custom resources that users made and that what goes
// serves. With neither, they are an ErrUserObjects.
type UserObjectsChoice struct {
	RemoveUserObjects bool // they are deleted first, while their finalizers are still handled
	LeaveUserObjects  bool // they stay, with nothing that serves them
}

// findUserObjects finds what is to be removed before components go. It refuses what the
// operator did not choose.
func (s *session) findUserObjects(ctx context.Context, choice UserObjectsChoice, chosen []journal.Installed) ([]UserObjects, error) {
	users, err := s.listUserObjects(ctx, chosen)
	switch {
	case err != nil && ctx.Err() == nil && choice.LeaveUserObjects:
		s.warn("", "not every object that users made could be looked at: %v", err)
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("looking for users' objects: %w", err)
	case choice.LeaveUserObjects:
		for _, u := range users {
			s.warn(u.Component, "%s", u)
		}
		return nil, nil
	case choice.RemoveUserObjects:
		return users, refuseKept(users)
	case len(users) == 0:
		return nil, nil
	}
	errs := []error{ErrUserObjects}
	for _, u := range users {
		errs = append(errs, errors.New(u.String()))
	}
	return nil, errors.Join(errs...)
}

// refuseKept refuses to delete what another installation brought.
func refuseKept(users []UserObjects) error {
	var kept []string
	for _, u := range users {
		kept = append(kept, u.Kept...)
	}
	if len(kept) == 0 {
		return nil
	}
	return fmt.Errorf("%w: another installation brought some of them; remove that first: %s", ErrUserObjects, listing.Some(kept, 5))
}

// removeUserObjects deletes users' objects and waits until they are gone, which takes
// the controllers that handle their finalizers.
func (s *session) removeUserObjects(ctx context.Context, users []UserObjects) error {
	waiting, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	g, waiting := errgroup.WithContext(waiting)
	g.SetLimit(lookers)
	for _, u := range users {
		s.info(u.Component, "removing %s of %s, which the stack did not bring", countObjects(len(u.Objects)), u.Definition)
		for _, o := range u.Objects {
			g.Go(func() error { return s.cluster.Delete(waiting, []object.Ref{o}) })
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("removing users' objects: %w", err)
	}
	return nil
}

// String reads "component kserve serves 2 objects of inferenceservices.serving.kserve.io: …".
func (u UserObjects) String() string {
	names := make([]string, len(u.Objects))
	for i, o := range u.Objects {
		names[i] = o.String()
	}
	return u.Heading() + ": " + listing.Some(names, 5)
}

// Heading is String without the names.
func (u UserObjects) Heading() string {
	text := fmt.Sprintf("component %s serves %s of %s", u.Component, countObjects(len(u.Objects)), u.Definition)
	if u.Guarded > 0 {
		text += fmt.Sprintf(", %d of which cannot be deleted without it", u.Guarded)
	}
	return text
}
