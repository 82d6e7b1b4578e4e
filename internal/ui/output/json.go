package output

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/caisson/caisson/internal/event"
)

// everyJSON is how often progress of one item, or of the whole, is written.
const everyJSON = time.Second

// JSON writes each event as one line. It is safe for concurrent use.
type JSON struct {
	verb string
	mu   sync.Mutex
	enc  *json.Encoder
	err  error
	last map[string]time.Time // of progress, by item; items leave with their End
}

// NewJSON makes a sink that writes to w. Events without a verb get the given
// one.
func NewJSON(w io.Writer, verb string) *JSON {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &JSON{verb: verb, enc: enc, last: map[string]time.Time{}}
}

// Emit writes e, unless it is progress that follows too closely.
func (j *JSON) Emit(e event.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e = completeEvent(e, j.verb)
	if j.tooSoon(e) || j.err != nil {
		return
	}
	j.err = j.enc.Encode(e)
}

// Err is the first error of writing, after which nothing more is written.
func (j *JSON) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

func (j *JSON) tooSoon(e event.Event) bool {
	switch e.Kind {
	case event.End:
		delete(j.last, e.Item)
	case event.Progress:
		if e.Time.Sub(j.last[e.Item]) < everyJSON {
			return true
		}
		j.last[e.Item] = e.Time
	}
	return false
}

func completeEvent(e event.Event, verb string) event.Event {
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	if e.Verb == "" {
		e.Verb = verb
	}
	return e
}
