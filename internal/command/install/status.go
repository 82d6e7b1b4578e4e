package install

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
)

const statusVerb = "status"

// StatusResult is how a stack is.
type StatusResult struct {
	Stack      string            `json:"stack"`
	Version    string            `json:"version"`
	Generation int               `json:"generation"`
	Unfinished *Entry            `json:"unfinished,omitempty"` // the last installation, where it did not come to its end
	Components []ComponentStatus `json:"components"`
}

// ComponentStatus is how one component is.
type ComponentStatus struct {
	Name    string   `json:"name"`
	Ready   bool     `json:"ready"`
	Drifted bool     `json:"drifted"`
	Version string   `json:"version"` // of the stack it comes from
	Why     []string `json:"why,omitempty"`
	Absent  bool     `json:"absent,omitempty"` // it should be installed and is not
	Objects int      `json:"objects"`          // looked at
	Drift   []Drift  `json:"drift,omitempty"`  // by object
	// Kept are fields that are not compared, since other managers keep them.
	Kept []KeptFields `json:"kept,omitempty"`
	// Unasked are webhooks that nothing on trial reaches: their endpoint is ready, and no
	// more is known of them.
	Unasked []kube.Unasked `json:"unasked,omitempty"`
}

// KeptFields are those of one object.
type KeptFields struct {
	Object object.Ref  `json:"object"`
	By     []kube.Kept `json:"by"`
}

// Drift is one object that is not as it was applied.
type Drift struct {
	Object   object.Ref        `json:"object"`
	Missing  bool              `json:"missing,omitempty"`
	Replaced bool              `json:"replaced,omitempty"` // by another of the same name
	Fields   []kube.Difference `json:"fields,omitempty"`
	Images   []string          `json:"images,omitempty"` // that are not the bundle's
}

// Status compares what is installed with what was installed, and asks the webhooks that
// guard it. The result is whole even when the error is ErrDrift, ErrNotReady or
// ErrIncomplete.
func Status(ctx context.Context, target Target, sink event.Sink) (StatusResult, error) {
	sink.Emit(event.Event{Verb: statusVerb, Kind: event.Start})
	r, err := runStatus(ctx, target, sink)
	end := event.Event{Verb: statusVerb, Kind: event.End}
	if err != nil {
		end.Message = err.Error()
	}
	sink.Emit(end)
	if len(r.Components) > 0 {
		sink.Emit(event.Event{Verb: statusVerb, Kind: event.Result, Message: r.Stack + " " + r.Version, Fields: map[string]any{"generation": r.Generation, "components": r.Components}})
	}
	return r, err
}

func runStatus(ctx context.Context, target Target, sink event.Sink) (StatusResult, error) {
	s, err := openSession(ctx, target, statusVerb, sink)
	if err != nil {
		return StatusResult{}, err
	}
	if err := s.loadJournal(ctx, false); err != nil {
		return StatusResult{}, err
	}
	r := StatusResult{Stack: s.stack, Version: s.installedVersion(), Unfinished: s.unfinished()}
	if last := s.journal.Last(); last != nil {
		r.Generation = last.Generation
	}
	absent := s.listAbsent()
	if len(s.journal.Installed) == 0 && len(absent) == 0 {
		return r, fmt.Errorf("looking at stack %s: %w", s.stack, journal.ErrNone)
	}
	if r.Components, err = s.examineAll(ctx); err != nil {
		return r, err
	}
	r.Components = append(r.Components, absent...)
	return r, r.problem()
}

// examineAll examines what is installed, side by side: most of the time goes into waiting
// for webhooks that do not answer.
func (s *session) examineAll(ctx context.Context) ([]ComponentStatus, error) {
	defer s.tellWait("the cluster", "what is there is being held against what was installed")()
	common, err := s.newLook(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]ComponentStatus, len(s.journal.Installed))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(examiners)
	for i := range s.journal.Installed {
		g.Go(func() (err error) {
			out[i], err = s.examine(ctx, &s.journal.Installed[i], common)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// problem is what is wrong with the stack, the worst first, or nil.
func (r StatusResult) problem() error {
	var absent, drifted, unready []string
	for _, c := range r.Components {
		switch {
		case c.Absent:
			absent = append(absent, c.Name)
		case c.Drifted:
			drifted = append(drifted, c.Name)
		case !c.Ready:
			unready = append(unready, c.Name)
		}
	}
	switch {
	case len(absent) > 0:
		return fmt.Errorf("looking at stack %s: %w: not installed: %q", r.Stack, ErrIncomplete, absent)
	case len(drifted) > 0:
		return fmt.Errorf("looking at stack %s: %w: %q", r.Stack, ErrDrift, drifted)
	case len(unready) > 0:
		return fmt.Errorf("looking at stack %s: %w: %q", r.Stack, ErrNotReady, unready)
	case r.Unfinished != nil:
		return fmt.Errorf("looking at stack %s: %w: %s %s is %s", r.Stack, ErrIncomplete, r.Unfinished.Verb, r.Unfinished.Version, r.Unfinished.State)
	}
	return nil
}

// installedVersion is that of the component that changed last.
func (s *session) installedVersion() string {
	version, newest := "", -1
	for _, c := range s.journal.Installed {
		if c.Generation >= newest {
			version, newest = c.Version, c.Generation
		}
	}
	return version
}

// unfinished is the newest run over everything, if it did not come to its end and what
// it left was not put right since, one component after the other.
func (s *session) unfinished() *Entry {
	settled := map[string]bool{}
	for i, r := range slices.Backward(s.journal.Runs) {
		whole, last := isWhole(r), i == len(s.journal.Runs)-1
		if r.State != journal.Done && (last || whole && !areSettled(r, settled)) {
			e := entryOf(r)
			return &e
		}
		if whole {
			return nil
		}
		for _, c := range r.Components {
			settled[c.Name] = settled[c.Name] || isSettled(c)
		}
	}
	return nil
}

// isWhole says whether a run was over everything that it could be over.
func isWhole(r journal.Run) bool {
	if r.Verb == journal.Install {
		return !r.Partial
	}
	return r.Whole
}

func isSettled(c journal.Component) bool {
	return c.State == journal.Done || c.State == journal.Skipped
}

// areSettled says whether every component of a run came to its end, in it or since.
func areSettled(r journal.Run, since map[string]bool) bool {
	return !slices.ContainsFunc(r.Components, func(c journal.Component) bool { return !isSettled(c) && !since[c.Name] })
}

// listAbsent lists components that the last installations were to bring, that nobody took
// away since, and that are not there.
func (s *session) listAbsent() []ComponentStatus {
	var order []string
	why := map[string]string{}
	for _, r := range s.journal.Runs {
		switch {
		case r.Verb == journal.Install && !r.Partial:
			order, why = nil, map[string]string{}
			fallthrough
		case r.Verb == journal.Install:
			for _, c := range r.Components {
				order = append(order, c.Name)
				why[c.Name] = whyAbsent(r, c)
			}
		case r.Verb == journal.Uninstall && r.Whole:
			order, why = nil, map[string]string{}
		default:
			for _, c := range r.Components {
				if c.State == journal.Done {
					delete(why, c.Name)
				}
			}
		}
	}
	var out []ComponentStatus
	for _, name := range order {
		if text, wanted := why[name]; wanted && s.journal.Component(name) == nil {
			out = append(out, ComponentStatus{Name: name, Absent: true, Why: []string{text}})
			delete(why, name)
		}
	}
	return out
}

// whyAbsent says what became of a component in the run that was to install it.
func whyAbsent(r journal.Run, c journal.Component) string {
	text := fmt.Sprintf("not installed: in generation %d it is %s", r.Generation, c.State)
	if c.Error != "" {
		text += ": " + c.Error
	}
	return text
}

// Entry is one line of history.
type Entry struct {
	Generation int           `json:"generation"`
	Verb       journal.Verb  `json:"verb"`
	State      journal.State `json:"state"`
	Version    string        `json:"version,omitempty"`
	Began      time.Time     `json:"began"`
	Ended      time.Time     `json:"ended,omitzero"`
	Operator   string        `json:"operator,omitempty"`
	Index      digest.Digest `json:"index,omitempty"`
	Overrides  []string      `json:"overrides,omitempty"` // checks that the operator overruled
	Error      string        `json:"error,omitempty"`
}

// HistoryResult is what was done to a stack, oldest first.
type HistoryResult struct {
	Stack   string  `json:"stack"`
	Entries []Entry `json:"entries"`
}

// History reads the journal.
func History(ctx context.Context, target Target, sink event.Sink) (HistoryResult, error) {
	s, err := openSession(ctx, target, "history", sink)
	if err != nil {
		return HistoryResult{}, err
	}
	if err := s.loadJournal(ctx, false); err != nil {
		return HistoryResult{}, err
	}
	h := HistoryResult{Stack: s.stack}
	for _, r := range s.journal.Runs {
		h.Entries = append(h.Entries, entryOf(r))
	}
	sink.Emit(event.Event{Verb: "history", Kind: event.Result, Message: h.Stack, Fields: map[string]any{"entries": h.Entries}})
	return h, nil
}

func entryOf(r journal.Run) Entry {
	return Entry{
		Generation: r.Generation, Verb: r.Verb, State: r.State, Version: r.Version, Began: r.Began, Ended: r.Ended,
		Operator: r.Operator.User, Index: r.Index, Overrides: r.Overrides, Error: r.Error,
	}
}
