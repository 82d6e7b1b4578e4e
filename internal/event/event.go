// Package event is how a verb speaks. Verbs emit events to a Sink; they never
// print or log. Text, JSON lines, the terminal interface and the report all
// render the same stream.
//
// It holds the event types and small sinks. It never writes to a terminal and
// never carries a secret.
package event

import (
	"sync"
	"time"
)

// Kind says what an event is.
type Kind string

const (
	// Start opens a verb or an item of it; an End with the same Verb and Item follows.
	Start Kind = "start"
	// Progress says how far an item, or the whole verb when Item is empty, has
	// come: Bytes of Total, or what it waits for: Wait. It is the only kind a renderer
	// may drop.
	Progress Kind = "progress"
	// Info is a fact worth a line.
	Info Kind = "info"
	// Warning is something the operator should look at although the verb goes on.
	Warning Kind = "warning"
	// FindingKind is one thing that a check found: it is in the event's Finding.
	FindingKind Kind = "finding"
	// Retry says that an attempt failed and another follows.
	Retry Kind = "retry"
	// End closes what Start opened.
	End Kind = "end"
	// Result is the verb's last event: its outcome in Fields.
	Result Kind = "result"
)

// Severity orders findings.
type Severity string

const (
	Error  Severity = "error"  // the verb cannot succeed
	Warn   Severity = "warn"   // it can, but somebody should decide
	Notice Severity = "notice" // worth knowing
)

// Finding is one observation of verify, plan or a lint. Every field but
// Severity and What may be empty.
type Finding struct {
	Severity Severity `json:"severity"`
	What     string   `json:"what"`             // what was found, one sentence
	Why      string   `json:"why,omitempty"`    // why it matters
	Hint     string   `json:"hint,omitempty"`   // the command or change that settles it
	Item     string   `json:"item,omitempty"`   // lock reference
	Blob     string   `json:"blob,omitempty"`   // blob digest
	Volume   string   `json:"volume,omitempty"` // volume file name
	Offset   int64    `json:"offset,omitempty"` // first byte concerned, in that volume
	Length   int64    `json:"length,omitempty"` // bytes concerned
	Code     string   `json:"code,omitempty"`   // stable machine word, e.g. block-mismatch
	Paste    string   `json:"paste,omitempty"`  // lines to put into a file, as they stand
}

// Wait is something that an item waits for, one of several it may be. The zero Wait says
// that the item waits for none of them any more.
type Wait struct {
	For string `json:"for"`           // Deployment web/front
	Why string `json:"why,omitempty"` // what it lacks, as far as is known; "" waits no more
}

// Event is one line of the stream. Verb is always set by the verb that emits
// it; Time is set by the sink chain's first stage when zero.
type Event struct {
	Time    time.Time      `json:"time"`
	Verb    string         `json:"verb"`
	Kind    Kind           `json:"kind"`
	Item    string         `json:"item,omitempty"`
	Message string         `json:"message,omitempty"`
	Bytes   int64          `json:"bytes,omitempty"`
	Total   int64          `json:"total,omitempty"`
	Wait    *Wait          `json:"wait,omitempty"` // of a Progress without bytes
	Finding *Finding       `json:"finding,omitempty"`
	Fields  map[string]any `json:"fields,omitempty"`
}

// Sink takes events. Emit may be called from many goroutines and must return
// quickly; it owns the event afterwards.
type Sink interface{ Emit(Event) }

// Func makes a Sink of a function, which must be safe for concurrent use.
type Func func(Event)

// Emit calls f.
func (f Func) Emit(e Event) { f(e) }

// Named makes a Sink that puts a verb into events which name none, such as those
// of the layers below a verb. A nil s drops every event.
func Named(s Sink, verb string) Sink {
	if s == nil {
		s = Discard
	}
	return Func(func(e Event) {
		if e.Verb == "" {
			e.Verb = verb
		}
		s.Emit(e)
	})
}

// Discard drops every event.
var Discard Sink = Func(func(Event) {})

// Recorder keeps every event, for tests and for reports.
type Recorder struct {
	mu     sync.Mutex
	events []Event
}

// Emit appends e.
func (r *Recorder) Emit(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// Events returns a copy of what was recorded, in order.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Event(nil), r.events...)
}
