// Package report writes what an auditor asks for: what is installed, where each
// byte came from, who verified what and when, and how the installation went.
//
// It makes one JSON file and one static HTML page from the journal and the lock
// kept beside it. It reads and never changes anything at the site; where a
// source is missing it says so in the report instead of failing.
package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/ledger"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/atomicfile"
	"github.com/caisson/caisson/internal/client/archive"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
)

const verb = "report"

// ErrStack: the stack asked for has no journal, or several have and none was
// named.
var ErrStack = errors.New("no single stack to report on")

// Options are the inputs of report.
type Options struct {
	Output     string // directory; made if absent
	Kubeconfig string
	Context    string
	StateDir   string   // default: see archive.Dir
	Stack      string   // default: the only one
	Bundles    []string // where to find the bundle, for its ledger and a lock that the site lost
	Keys       []string // public key files; without them a bundle is read untrusted
	Tool       string   // version of the tool
}

// Result says what was written.
type Result struct {
	HTML, JSON string // paths
	Report     *Report
}

// Run writes report.json and report.html.
func Run(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	sink.Emit(event.Event{Verb: verb, Kind: event.Start})
	r, err := run(ctx, opt)
	end := event.Event{Verb: verb, Kind: event.End}
	if err != nil {
		end.Message = err.Error()
		sink.Emit(end)
		return r, err
	}
	for _, m := range r.Report.Missing {
		sink.Emit(event.Event{Verb: verb, Kind: event.Warning, Message: m})
	}
	sink.Emit(end)
	sink.Emit(event.Event{Verb: verb, Kind: event.Result, Message: r.HTML, Fields: map[string]any{"html": r.HTML, "json": r.JSON, "items": len(r.Report.Items)}})
	return r, nil
}

func run(ctx context.Context, opt Options) (Result, error) {
	s, err := collect(ctx, opt)
	if err != nil {
		return Result{}, err
	}
	rep := build(s)
	rep.Generated, rep.Tool = time.Now().UTC().Truncate(time.Second), opt.Tool
	return write(opt.Output, rep)
}

// sources is what a report is made from. Everything but the journal may be
// missing.
type sources struct {
	journal *journal.Journal
	origin  string
	lock    *lock.Lock
	ledger  *ledger.Ledger
	server  string
	version string
	missing []string
}

func (s *sources) miss(format string, args ...any) {
	s.missing = append(s.missing, fmt.Sprintf(format, args...))
}

func collect(ctx context.Context, opt Options) (*sources, error) {
	dir, err := archive.Dir(opt.StateDir)
	if err != nil {
		return nil, err
	}
	s := &sources{}
	err = s.fromCluster(ctx, opt)
	if err != nil && !errors.Is(err, ErrStack) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.miss("the cluster could not be read (%v); the copy in %s is used, which may be older", err, dir)
		err = s.fromDisk(dir, opt.Stack)
	}
	if err != nil {
		return nil, err
	}
	if err := s.fromBundle(ctx, opt); err != nil {
		return nil, err
	}
	if s.lock == nil {
		s.miss("the lock of what is installed: the provenance table and the composition are left out; give the bundle's path to have them")
	}
	if s.ledger == nil {
		s.miss("a ledger of the checks made on the connected side: the bundle carries none, or was not given")
	}
	return s, nil
}

// fromCluster reads the authority.
func (s *sources) fromCluster(ctx context.Context, opt Options) error {
	c, err := kube.Connect(ctx, kube.Options{Kubeconfig: opt.Kubeconfig, Context: opt.Context})
	if err != nil {
		return err
	}
	uid, err := c.UID(ctx)
	if err != nil {
		return err
	}
	store := archive.Open(c, uid, "")
	stack, err := pick(ctx, store, opt.Stack)
	if err != nil {
		return err
	}
	if s.journal, err = store.Load(ctx, stack); err != nil {
		return err
	}
	s.origin, s.server = "the cluster", c.Server()
	s.version, _ = c.Version()
	return s.keptLock(ctx, store)
}

func pick(ctx context.Context, store *archive.Store, stack string) (string, error) {
	if stack != "" {
		return stack, nil
	}
	all, err := store.Stacks(ctx)
	if err != nil {
		return "", err
	}
	if len(all) != 1 {
		return "", fmt.Errorf("looking for installed stacks: %w: there are %d: %q", ErrStack, len(all), all)
	}
	return all[0], nil
}

// keptLock reads the lock of what is installed beside the journal.
func (s *sources) keptLock(ctx context.Context, store *archive.Store) error {
	run := source(s.journal)
	if run == nil {
		return nil
	}
	if run.Ledger != "" {
		text, err := store.Ledger(ctx, run.Ledger)
		if err != nil {
			s.miss("the ledger kept in the cluster: %v", err)
		}
		s.readLedger(text)
	}
	data, err := store.Lock(ctx, run.Lock)
	if err != nil {
		s.miss("the lock kept in the cluster: %v", err)
		return ctx.Err()
	}
	return s.parse(data)
}

// readLedger takes a ledger, where there is one that can be read.
func (s *sources) readLedger(text []byte) {
	if len(text) == 0 {
		return
	}
	g, err := ledger.Parse(text)
	if err != nil {
		s.miss("a readable ledger: %v", err)
		return
	}
	s.ledger = g
}

func (s *sources) parse(data []byte) error {
	l, err := lock.Parse(data)
	if err != nil {
		s.miss("a readable lock: %v", err)
		return nil
	}
	s.lock = l
	return nil
}

// source is the newest run whose bundle something installed comes from, else
// the newest run that brought a bundle, or nil.
func source(j *journal.Journal) *journal.Run {
	used := map[digest.Digest]bool{}
	for _, c := range j.Installed {
		used[c.Plan] = true
	}
	var found *journal.Run
	for i := range j.Runs {
		r := &j.Runs[i]
		if r.Lock != "" && (found == nil || used[r.Plan] || !used[found.Plan]) {
			found = r
		}
	}
	return found
}

// fromDisk reads the copy of the journal.
func (s *sources) fromDisk(dir, stack string) error {
	all, err := archive.ReadCopies(dir)
	if err != nil {
		return err
	}
	var found []*journal.Journal
	for _, j := range all {
		if stack == "" || j.Stack == stack {
			found = append(found, j)
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("reading the journal copies in %s: %w: there are %d", dir, ErrStack, len(found))
	}
	s.journal, s.origin = found[0], "the state directory "+dir
	if run := source(s.journal); run != nil {
		if data, err := archive.ReadLockCopy(dir, s.journal.Cluster, run.Lock); err == nil {
			return s.parse(data)
		}
	}
	return nil
}

func write(dir string, rep *Report) (Result, error) {
	r := Result{HTML: filepath.Join(dir, "report.html"), JSON: filepath.Join(dir, "report.json"), Report: rep}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return r, fmt.Errorf("writing report: %w", err)
	}
	data, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return r, fmt.Errorf("encoding report: %w", err)
	}
	var page bytes.Buffer
	if err := render(&page, rep); err != nil {
		return r, fmt.Errorf("rendering report: %w", err)
	}
	if err := atomicfile.Write(r.JSON, append(data, '\n'), 0o644); err != nil {
		return r, fmt.Errorf("writing report: %w", err)
	}
	if err := atomicfile.Write(r.HTML, page.Bytes(), 0o644); err != nil {
		return r, fmt.Errorf("writing report: %w", err)
	}
	return r, nil
}
