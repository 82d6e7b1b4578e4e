package install

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/client/archive"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
)

// saveTimeout bounds writing the journal, which goes on when ctx has ended.
const saveTimeout = 30 * time.Second

// session is one verb at work on one stack of one cluster.
type session struct {
	cluster *kube.Client
	uid     string
	stack   string
	verb    journal.Verb
	sink    event.Sink
	dir     string
	store   *archive.Store
	timeout time.Duration // for each thing that is waited for

	overrides []string // checks that the operator overruled, for the run

	mu      sync.Mutex
	journal *journal.Journal
	lost    error // the journal could not be written: nothing more may be done
}

// openSession connects and finds the stack's journal. It changes nothing.
func openSession(ctx context.Context, target Target, verb journal.Verb, sink event.Sink) (*session, error) {
	c, err := kube.Connect(ctx, kube.Options{Kubeconfig: target.Kubeconfig, Context: target.Context})
	if err != nil {
		return nil, err
	}
	s := &session{cluster: c, stack: target.Stack, verb: verb, sink: sink, timeout: DefaultTimeout}
	if s.uid, err = c.UID(ctx); err != nil {
		return nil, err
	}
	if s.dir, err = archive.Dir(target.StateDir); err != nil {
		return nil, err
	}
	s.store = archive.Open(c, s.uid, s.dir)
	if s.stack == "" {
		if s.stack, err = s.onlyStack(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// loadJournal reads the journal. One that does not exist is made where empty allows it.
func (s *session) loadJournal(ctx context.Context, empty bool) (err error) {
	s.journal, err = s.store.Load(ctx, s.stack)
	if empty && errors.Is(err, journal.ErrNone) {
		s.journal, err = &journal.Journal{Format: journal.Format, Stack: s.stack, Cluster: s.uid}, nil
	}
	if err != nil {
		return err
	}
	return s.rememberNewest()
}

// rememberNewest takes the newest bundle from the copy on disk where the cluster
// knows of none as new.
func (s *session) rememberNewest() error {
	there, err := s.store.Copy(s.stack)
	switch {
	case errors.Is(err, journal.ErrNone):
		return nil
	case errors.Is(err, journal.ErrInvalid):
		s.warn("", "leaving the copy of the journal aside: %v", err)
		return nil
	case err != nil:
		return err
	}
	if there.Newest.Sequence > s.journal.Newest.Sequence {
		s.journal.Newest = there.Newest
	}
	return nil
}

// changeUnderLease holds the install lease while act runs. act gets a context that also
// ends when the lease or the journal is lost.
func (s *session) changeUnderLease(ctx context.Context, act func(context.Context) error) (Result, error) {
	held, release, err := s.cluster.Hold(ctx)
	if err != nil {
		return Result{}, err
	}
	defer release()
	if err := s.loadJournal(held, s.verb == journal.Install); err != nil {
		return Result{}, err
	}
	err = act(held)
	if cause := context.Cause(held); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return s.resultSoFar(), err
}

func (s *session) resultSoFar() Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Result{Stack: s.stack, Components: map[string]journal.State{}, StatePath: filepath.Join(s.dir, s.uid, s.stack+".journal.json")}
	if last := s.journal.Last(); last != nil && last.Verb == s.verb {
		r.Version, r.Generation = last.Version, last.Generation
		for _, c := range last.Components {
			r.Components[c.Name] = c.State
		}
	}
	return r
}

// beginRun opens the run in the journal.
func (s *session) beginRun(r journal.Run) error {
	r.ID, r.Verb, r.Began, r.Operator = runID(), s.verb, now(), s.cluster.Identity()
	r.Overrides = s.overrides
	return s.record(func(j *journal.Journal, _ *journal.Run) { j.Begin(r) })
}

// finishRun closes the run with what err says.
func (s *session) finishRun(ctx context.Context, err error) error {
	saved := s.record(func(j *journal.Journal, r *journal.Run) {
		r.Ended, r.State = now(), outcomeOf(ctx, err)
		if err != nil {
			r.Error = err.Error()
		}
	})
	if saved == nil && err == nil {
		pruning, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
		defer cancel()
		saved = s.store.Prune(pruning, s.journal)
	}
	return errors.Join(err, saved)
}

// outcomeOf is the state of something that ended with err.
func outcomeOf(ctx context.Context, err error) journal.State {
	switch {
	case err == nil:
		return journal.Done
	case ctx.Err() != nil:
		return journal.Cancelled
	}
	return journal.Failed
}

// record changes the journal and saves it. Once saving has failed, every call
// fails: what cannot be written down is not done.
func (s *session) record(change func(*journal.Journal, *journal.Run)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost != nil {
		return s.lost
	}
	change(s.journal, s.journal.Last())
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	s.lost = s.store.Save(ctx, s.journal)
	return s.lost
}

// readJournal reads from the journal.
func (s *session) readJournal(read func(*journal.Journal)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	read(s.journal)
}

// installedCopy is a copy of what is installed under a name, or nil.
func (s *session) installedCopy(name string) (found *journal.Installed) {
	s.readJournal(func(j *journal.Journal) {
		if c := j.Component(name); c != nil {
			copied := *c
			found = &copied
		}
	})
	return found
}

// runStep runs one step of a component and writes down its beginning and end. The
// runStep may set its own fields.
func (s *session) runStep(ctx context.Context, component string, st journal.Step, act func(*journal.Step) error) error {
	st.State, st.Began = journal.Running, now()
	at := 0
	err := s.record(func(_ *journal.Journal, r *journal.Run) {
		c := r.Component(component)
		at = len(c.Steps)
		c.Steps = append(c.Steps, st)
	})
	if err != nil {
		return err
	}
	acted := act(&st)
	st.Ended = now()
	if st.State == journal.Running || acted != nil {
		st.State = outcomeOf(ctx, acted)
	}
	if acted != nil {
		st.Error = acted.Error()
	}
	return errors.Join(acted, s.record(func(_ *journal.Journal, r *journal.Run) { r.Component(component).Steps[at] = st }))
}

// markComponent marks a component's state in the run.
func (s *session) markComponent(name string, state journal.State, why error) error {
	return s.record(func(_ *journal.Journal, r *journal.Run) {
		c := r.Component(name)
		c.State = state
		switch {
		case state == journal.Running:
			c.Began = now()
		case state != journal.Pending:
			c.Ended = now()
		}
		if why != nil {
			c.Error = why.Error()
		}
	})
}

func (s *session) info(component, format string, args ...any) {
	s.sink.Emit(event.Event{Verb: string(s.verb), Kind: event.Info, Item: component, Message: fmt.Sprintf(format, args...)})
}

func (s *session) warn(component, format string, args ...any) {
	s.sink.Emit(event.Event{Verb: string(s.verb), Kind: event.Warning, Item: component, Message: fmt.Sprintf(format, args...)})
}

// reportWaiting tells what a component waits for, and with an empty message that it
// does no more; a renderer may drop it.
func (s *session) reportWaiting(component string) func(object.Ref, string) {
	return func(o object.Ref, message string) {
		e := event.Event{Verb: string(s.verb), Kind: event.Progress, Item: component, Wait: &event.Wait{For: o.String(), Why: message}}
		if message != "" {
			e.Message = o.String() + ": " + message
		}
		s.sink.Emit(e)
	}
}

// tellWait tells what the verb itself waits for until end is called; a renderer may drop it.
func (s *session) tellWait(what, why string) (end func()) { return s.tellComponentsWait("", what, why) }

// tellComponentsWait is tellWait for a component at work.
func (s *session) tellComponentsWait(component, what, why string) (end func()) {
	tell := func(message, why string) {
		w := &event.Wait{For: what, Why: why}
		s.sink.Emit(event.Event{Verb: string(s.verb), Kind: event.Progress, Item: component, Message: message, Wait: w})
	}
	tell(what+": "+why, why)
	return func() { tell("", "") }
}

// emitFramed frames a verb's events.
func emitFramed(verb journal.Verb, sink event.Sink, act func() (Result, error)) (Result, error) {
	sink.Emit(event.Event{Verb: string(verb), Kind: event.Start})
	r, err := act()
	end := event.Event{Verb: string(verb), Kind: event.End}
	if err != nil {
		end.Message = err.Error()
	}
	sink.Emit(end)
	if err == nil {
		sink.Emit(event.Event{Verb: string(verb), Kind: event.Result, Message: r.Stack + " " + r.Version, Fields: map[string]any{"generation": r.Generation, "components": r.Components}})
	}
	return r, err
}

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func runID() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
