// Package resolve turns a stack into a lock: every image, chart, model, file and
// manifest pinned by digest and size, with what refers to it upstream.
//
// It reads upstreams and the files beside the stack and writes the lock file,
// nothing else. It downloads what it must look into (manifests, configs,
// charts, small model files) and keeps none of it. The same inputs give the
// same bytes whatever the number of workers.
package resolve

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/client/fetch"
	"github.com/caisson/caisson/internal/client/helm"
	"github.com/caisson/caisson/internal/client/hub"
	"github.com/caisson/caisson/internal/client/kustomize"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/event"
)

const (
	verb           = "resolve"
	defaultWorkers = 8
)

// Options of a run. Stack and Output are required.
type Options struct {
	Stack     string   // path of the stack file
	Output    string   // path of the lock file to write
	Upstreams string   // path of an upstreams file; "": none
	Profiles  []string // of the stack, whose components alone are resolved with what they need; nil: all
	Platforms []string // in place of the stack's
	// AllPlatforms carries every platform that an image has, for registries that
	// take no index with parts missing. The stack's must be among them all the same.
	AllPlatforms bool
	WithTests    bool      // carries and lints what only `helm test` runs as well
	Nodes        string    // path of an inventory of nodes, whose platforms and drivers are carried; "": none
	Workers      int       // items resolved side by side; 0: 8
	Now          time.Time // says which drivers have support; zero: the machine's clock
	HubToken     string    // for the model hub; empty: none
	Agent        string    // binary of the node agent's image; "": the running one
	Builder      []string  // command line of a process that builds manifests, see kustomize.NewBuilder; nil: none can be built
	Renderer     []string  // command line of a process that renders charts, see helm.Workers; nil renders them here

	backoff time.Duration // tests shorten it
}

// Result is what a lock came to.
type Result struct {
	Lock     *lock.Lock
	Path     string
	Counts   map[lock.Kind]int
	Payload  int64 // bytes of all payload blobs, each counted once
	Evidence Evidence
}

// Evidence counts what was found to refer to images and charts.
type Evidence struct {
	Found   int // listed by a registry
	Carried int // in the lock
	Missing int // listed, and not there
	Failed  int // listed, and not what they were listed as
	Bare    int // images and charts without any
}

// Run resolves a stack and writes its lock. Everything that is wrong is
// reported in one error, *Problems; the lock file is then left as it was.
func Run(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	if sink == nil {
		sink = event.Discard
	}
	sink.Emit(event.Event{Verb: verb, Kind: event.Start, Message: opt.Stack})
	result, err := runResolve(ctx, opt, sink)
	if err != nil {
		sink.Emit(event.Event{Verb: verb, Kind: event.End, Message: "failed"})
		return Result{}, err
	}
	sink.Emit(event.Event{Verb: verb, Kind: event.End, Message: opt.Output})
	sink.Emit(event.Event{Verb: verb, Kind: event.Result, Message: opt.Output, Bytes: result.Payload, Fields: result.eventFields()})
	return result, nil
}

func runResolve(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	s, err := newSession(opt, sink)
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	if err := s.checkNodes(opt); err != nil {
		return Result{}, err
	}
	l, err := s.resolveStack(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := lock.Write(opt.Output, l); err != nil {
		return Result{}, err
	}
	// The file's own form (order, pinned wrappers) is what everybody else reads.
	if l, err = lock.Read(opt.Output); err != nil {
		return Result{}, fmt.Errorf("reading the lock back: %w", err)
	}
	return s.resultOf(l, opt.Output), nil
}

// session is one run.
type session struct {
	stack     *stack.Stack
	output    string // folder of the lock file
	platforms []platform
	workers   int

	allPlatforms bool
	withTests    bool
	agent        string // binary
	builder      *kustomize.Builder
	renderers    *helm.Workers // as many as there are processors: more side by side take memory and are not done earlier

	fetch  *fetch.Client
	puller *registry.Puller
	hub    *hub.Client
	events event.Sink

	problems problems
	nodes    siteNodes
	found    collection
	models   models
	charts   memo[*pulledChart]
	indexes  memo[chartIndex]
	infos    memo[*hub.Model]
	images   memo[pinnedImage]
	evidence memo[evidence]
	files    memo[int64]

	largeHeaders sync.Mutex // of safetensors: one is in memory at a time
}

func newSession(opt Options, sink event.Sink) (*session, error) {
	st, err := stack.Read(opt.Stack)
	if err != nil {
		return nil, err
	}
	if st, err = st.Carried(opt.Profiles); err != nil {
		return nil, err
	}
	s := &session{stack: st, output: filepath.Dir(opt.Output), workers: opt.Workers, allPlatforms: opt.AllPlatforms, withTests: opt.WithTests, agent: opt.Agent, events: sink}
	s.renderers = helm.NewWorkers(opt.Renderer, runtime.GOMAXPROCS(0))
	if s.workers <= 0 {
		s.workers = defaultWorkers
	}
	if s.platforms, err = choosePlatforms(opt.Platforms, st.Platforms); err != nil {
		return nil, err
	}
	return s, s.connectUpstreams(opt)
}

// close ends what the session started and drops what it fetched.
func (s *session) close() {
	s.renderers.Close()
	s.builder.Close()
}

// connectUpstreams makes the clients of the upstreams.
func (s *session) connectUpstreams(o Options) error {
	opt := fetch.Options{PerHost: max(s.workers, fetch.DefaultPerHost), Backoff: o.backoff, Sink: event.Named(s.events, verb)}
	if o.Upstreams != "" {
		u, err := stack.ReadUpstreams(o.Upstreams)
		if err != nil {
			return err
		}
		opt.Upstreams = u
	}
	var err error
	if s.fetch, err = fetch.New(opt); err != nil {
		return err
	}
	s.builder = kustomize.NewBuilder(s.fetch, o.Builder)
	s.puller = registry.NewPuller(s.fetch)
	s.hub, err = hub.New(s.fetch, hub.Options{Token: o.HubToken})
	return err
}

func choosePlatforms(chosen, declared []string) ([]platform, error) {
	if len(chosen) == 0 {
		chosen = declared
	}
	var out []platform
	for _, c := range chosen {
		p, err := parsePlatform(c)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b platform) int { return strings.Compare(a.String(), b.String()) })
	return out, nil
}

// resolveStack works in rounds: charts and manifests first, because they name images,
// then everything that is large or many, then what depends on the models.
func (s *session) resolveStack(ctx context.Context) (*lock.Lock, error) {
	var first, second tasks
	for i := range s.stack.Components {
		first.add(s.discoveryTasks(i)...)
		second.add(s.contentTasks(i)...)
	}
	first.add(s.driverTasks()...)
	if err := first.run(ctx, s.workers); err != nil {
		return nil, err
	}
	if err := s.settleDrivers(); err != nil {
		return nil, err
	}
	second.add(s.imageTasks()...)
	second.add(s.agentTask()...)
	if err := second.run(ctx, s.workers); err != nil {
		return nil, err
	}
	if err := s.finishModels(ctx); err != nil {
		return nil, err
	}
	if err := tasks(s.hubImageTasks()).run(ctx, s.workers); err != nil {
		return nil, err
	}
	for _, ref := range s.found.clashes {
		s.addProblem(stackField{field: "components", what: string(ref)}, ErrClash)
	}
	s.egress()
	if err := s.problems.err(); err != nil {
		return nil, err
	}
	return s.assembleLock(), nil
}

// discoveryTasks are the tasks of a component that reveal images.
func (s *session) discoveryTasks(i int) []task {
	comp := &s.stack.Components[i]
	var out []task
	for j := range comp.Images {
		s.declareImage(i, j)
	}
	for j := range comp.Charts {
		out = append(out, func(ctx context.Context) { s.chart(ctx, i, j) })
	}
	for j := range comp.Manifests {
		out = append(out, func(context.Context) { s.resolveManifest(i, j) })
	}
	for j := range comp.UpstreamManifests {
		out = append(out, func(ctx context.Context) { s.resolveUpstreamManifest(ctx, i, j) })
	}
	return out
}

// contentTasks are the tasks of a component that reveal nothing further.
func (s *session) contentTasks(i int) []task {
	comp := &s.stack.Components[i]
	var out []task
	for j := range comp.Models {
		out = append(out, func(ctx context.Context) { s.resolveModel(ctx, i, j) })
	}
	for j := range comp.Files {
		out = append(out, func(ctx context.Context) { s.resolveFile(ctx, i, j) })
	}
	return out
}
