// Package install changes a site: it installs what a plan says, says how it is,
// goes back, and removes it again.
//
// Each verb looks, acts, looks again and writes down what it did, in the
// cluster first. Every step may be interrupted; running the verb again goes on
// from what is really there. It decides nothing that is not in the plan and
// never reaches beyond the cluster, the site's registry and the bundle.
package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/event"
)

// Errors of this package.
var (
	// ErrPlanStale: the cluster is not the one, or not as, the plan was made for.
	ErrPlanStale = errors.New("the cluster is not as the plan saw it")
	// ErrBundleMismatch: the bundle found is not the one the plan was made from.
	ErrBundleMismatch = errors.New("the bundle is not the one the plan was made from")
	// ErrOlder: a newer bundle of the stack was installed before.
	ErrOlder = errors.New("a newer bundle of this stack was installed before")
	// ErrImages: the site registry lost images the plan counts on.
	ErrImages = errors.New("the site registry does not hold every image of the plan")
	// ErrLogin: nodes cannot log in to the site registry.
	ErrLogin = errors.New("the nodes cannot log in to the site registry")
	// ErrPull: a node cannot pull an image.
	ErrPull = errors.New("the image cannot be pulled")
	// ErrUntrusted: a node does not trust the site registry's certificate.
	ErrUntrusted = errors.New("the node does not trust the registry's certificate")
	// ErrNotReady: something installed is not ready.
	ErrNotReady = errors.New("not everything is ready")
	// ErrDrift: something installed is not as it was installed.
	ErrDrift = errors.New("what is installed has changed")
	// ErrComponent is wrapped by every failure of a component.
	ErrComponent = errors.New("a component failed")
	// ErrNothingFormer: there is no earlier state to go back to.
	ErrNothingFormer = errors.New("there is no earlier state to go back to")
	// ErrManyStacks: the cluster holds several stacks and none was named.
	ErrManyStacks = errors.New("several stacks are installed")
	// ErrIncomplete: the last installation did not come to its end.
	ErrIncomplete = errors.New("the last installation is incomplete")
	// ErrNoComponent: a component that was named cannot be installed alone.
	ErrNoComponent = errors.New("the component cannot be installed alone")
	// ErrUserObjects: what would be removed serves objects that the stack did not bring.
	ErrUserObjects = errors.New("objects that users made would lose what serves them")
	// ErrNeeded: other components need the one to be removed.
	ErrNeeded = errors.New("other components need it")
)

// Defaults of Options.
const (
	DefaultWorkers = 4
	DefaultTimeout = 15 * time.Minute
)

// Target says which cluster and stack a verb is about.
type Target struct {
	Kubeconfig string
	Context    string
	StateDir   string // default: see archive.Dir
	Stack      string // default: the only one there
}

// Options are the inputs of install.
type Options struct {
	Target
	Plan       string            // plan file
	Bundles    []string          // where to look for the bundle; default: where plan found it
	Keys       []string          // public key files; default: those plan used
	Components []string          // install these alone; default: all of the plan
	Workers    int               // components at once; default 4
	Timeout    time.Duration     // for each release, and for each component to become ready; default 15 min
	AllowOlder bool              // install a bundle older than one installed before
	Tool       string            // version of the tool, for the journal
	Registry   registry.Presence // how to ask the registry; nil for the real one
	Renderer   []string          // command line of a process that renders charts, see helm.Workers; nil, in tests, renders them here

	AllowExpired bool // install a bundle although its statement has expired
}

// Result is what a verb that changes the cluster came to.
type Result struct {
	Stack      string
	Version    string
	Generation int
	Components map[string]journal.State
	StatePath  string // of the journal's copy
}

// Run installs a plan. When a component fails, what it was before is put back,
// components that do not need it finish, and the error wraps ErrComponent. When
// ctx ends, running steps stop and are written down as cancelled.
func Run(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	sink = event.Named(sink, string(journal.Install))
	return emitFramed(journal.Install, sink, func() (Result, error) { return runInstall(ctx, opt, sink) })
}

func runInstall(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	p, err := plan.Read(opt.Plan)
	if err != nil {
		return Result{}, err
	}
	if err := p.CheckRenderings(); err != nil {
		return Result{}, fmt.Errorf("reading plan %s: %w", opt.Plan, err)
	}
	t, err := openBundle(ctx, opt, p, sink)
	if err != nil {
		return Result{}, err
	}
	defer t.Close()
	target := opt.Target
	target.Stack = p.Name
	if target.Context == "" {
		target.Context = p.Site.Context
	}
	s, err := openSession(ctx, target, journal.Install, sink)
	if err != nil {
		return Result{}, err
	}
	if err := checkCurrent(ctx, opt, s, p); err != nil {
		return Result{}, err
	}
	s.timeout = orDefaultTimeout(opt.Timeout)
	return s.changeUnderLease(ctx, func(ctx context.Context) error {
		if err := s.refuseMoved(ctx, p); err != nil {
			return err
		}
		if err := s.notOlder(t, opt.AllowOlder); err != nil {
			return err
		}
		s.noteExpired(t)
		return installPlan(ctx, opt, s, p, t)
	})
}

// checkCurrent says whether the plan still holds here.
func checkCurrent(ctx context.Context, opt Options, s *session, p *plan.Plan) error {
	if s.uid != p.Cluster.UID {
		return fmt.Errorf("checking the plan: %w: it is for cluster %s, this is %s", ErrPlanStale, p.Cluster.UID, s.uid)
	}
	if err := imagesThere(ctx, opt, p); err != nil {
		return err
	}
	return loginsThere(ctx, s, p)
}

// imagesThere asks the registry once more for every image.
func imagesThere(ctx context.Context, opt Options, p *plan.Plan) error {
	if len(p.Images) == 0 {
		return nil
	}
	r := opt.Registry
	if r == nil {
		var err error
		if r, err = registry.DialSite(p.Site.Registry); err != nil {
			return err
		}
	}
	checks := make([]plan.Check, len(p.Images))
	for i, image := range p.Images {
		checks[i] = image.Check(p.Site.Registry)
	}
	has, err := registry.AskPresence(ctx, r, checks)
	if err != nil {
		return fmt.Errorf("asking the site registry: %w", err)
	}
	for _, c := range checks {
		if !has[c.Repository+"@"+c.Digest.String()] {
			return fmt.Errorf("asking the site registry: %w: %s@%s is not there", ErrImages, c.Repository, c.Digest)
		}
	}
	return nil
}

// orDefaultTimeout is d, or the default.
func orDefaultTimeout(d time.Duration) time.Duration {
	if d <= 0 {
		return DefaultTimeout
	}
	return d
}
