package upstreamtest

import (
	"net/http"
	"regexp"
	"slices"
	"sync"
)

// Kind names what a fault does to a reply.
type Kind string

const (
	// Stall sends After body bytes, then nothing, until the client gives up, the
	// fault is disarmed or the upstream closes; then the connection breaks.
	Stall Kind = "stall"
	// Truncate ends the body after After bytes as if it were complete: chunked,
	// without a Content-Length that would give it away.
	Truncate Kind = "truncate"
	// Drop breaks the connection after After body bytes.
	Drop Kind = "drop"
	// Corrupt inverts the byte at offset After of the whole content; a Range reply
	// that does not hold that byte is left alone.
	Corrupt Kind = "corrupt"
	// WrongLength adds Add to every length a reply states: Content-Length,
	// X-Linked-Size, and in a Range reply only the total of Content-Range. A body
	// longer than stated is cut, after a shorter one the connection breaks.
	WrongLength Kind = "wrong-length"
	// WrongSize adds Add to the size that the hub's listings give for a file. Match
	// is tested against the file's resolve path with the commit as revision.
	WrongSize Kind = "wrong-size"
	// Status answers with the code Status, and with RetryAfter unless empty.
	Status Kind = "status"
	// IgnoreRange answers a Range request with 200 and the whole content.
	IgnoreRange Kind = "ignore-range"
	// OtherRange answers a Range request for a part with letters x in place of the
	// content, as a mirror does that wants its files judged by others.
	OtherRange Kind = "other-range"
	// ChangeETag answers as if the content had another version since: another
	// ETag, so that an If-Range with the old one gets 200 and the whole content.
	ChangeETag Kind = "change-etag"
)

func (k Kind) isKnown() bool {
	switch k {
	case Stall, Truncate, Drop, Corrupt, WrongLength, WrongSize, Status, IgnoreRange, OtherRange, ChangeETag:
		return true
	}
	return false
}

// Fault describes one kind of misbehaviour for requests whose path matches.
// Faults that concern a body touch GET requests only.
type Fault struct {
	Match      *regexp.Regexp `json:"match"`                // tested against the URL path; nil matches all
	Method     string         `json:"method,omitempty"`     // "" means GET or HEAD
	Kind       Kind           `json:"kind"`                 //
	Times      int            `json:"times,omitempty"`      // how many replies it changes; 0 means all
	After      int64          `json:"after,omitempty"`      // bytes; see Kind
	Add        int64          `json:"add,omitempty"`        // bytes, may be negative; see WrongLength and WrongSize
	Status     int            `json:"status,omitempty"`     // for Kind Status
	RetryAfter string         `json:"retryAfter,omitempty"` // for Kind Status, as in the header: seconds or a date
}

// Armed is a fault in force. Its methods may be called concurrently.
type Armed struct {
	Fault
	set   *faults
	left  int // guarded by set.mu; counts down from Times
	hits  int // guarded by set.mu
	fired chan struct{}
	gone  chan struct{}
}

// Fired returns a channel that is closed when the fault has changed a reply for
// the first time; for Stall, when it begins to hold.
func (a *Armed) Fired() <-chan struct{} { return a.fired }

// Hits returns how many replies the fault has changed.
func (a *Armed) Hits() int {
	a.set.mu.Lock()
	defer a.set.mu.Unlock()
	return a.hits
}

// Disarm ends the fault, and the replies that it holds.
func (a *Armed) Disarm() {
	a.set.mu.Lock()
	defer a.set.mu.Unlock()
	a.set.disarmMatching(func(b *Armed) bool { return a == b })
}

// recordHit records that the fault took effect.
func (a *Armed) recordHit() {
	a.set.mu.Lock()
	defer a.set.mu.Unlock()
	if a.hits++; a.hits == 1 {
		close(a.fired)
	}
}

// faults is the set of faults in force, in the order of arming.
type faults struct {
	mu    sync.Mutex
	armed []*Armed
}

func (s *faults) armFault(f Fault) *Armed {
	a := &Armed{Fault: f, set: s, left: f.Times, fired: make(chan struct{}), gone: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = append(s.armed, a)
	return a
}

// listedFault is a fault in force as the control server shows it.
type listedFault struct {
	Fault
	Hits int `json:"hits"`
}

func (s *faults) listFaults() []listedFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []listedFault{}
	for _, a := range s.armed {
		list = append(list, listedFault{a.Fault, a.hits})
	}
	return list
}

func (s *faults) disarmAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disarmMatching(func(*Armed) bool { return true })
}

// disarmMatching is called with mu held.
func (s *faults) disarmMatching(match func(*Armed) bool) {
	s.armed = slices.DeleteFunc(s.armed, func(a *Armed) bool {
		if !match(a) {
			return false
		}
		close(a.gone)
		return true
	})
}

// takeFault returns the first fault that is meant for the request and uses up one
// of its times, or nil. The caller gives it back if it had no effect.
func (s *faults) takeFault(r *http.Request) *Armed {
	return s.findArmed(func(a *Armed) bool { return a.Kind != WrongSize && a.concernsRequest(r.Method, r.URL.Path) })
}

// sizeLie returns what the hub adds to the size of the file at path.
func (s *faults) sizeLie(path string) int64 {
	a := s.findArmed(func(a *Armed) bool { return a.Kind == WrongSize && a.concernsRequest(http.MethodGet, path) })
	if a == nil {
		return 0
	}
	a.recordHit()
	return a.Add
}

func (s *faults) findArmed(match func(*Armed) bool) *Armed {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.armed {
		if a.Times > 0 && a.left == 0 || !match(a) {
			continue
		}
		a.left--
		return a
	}
	return nil
}

func (s *faults) giveBack(a *Armed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.left++
}

func (f Fault) concernsRequest(method, path string) bool {
	if f.Match != nil && !f.Match.MatchString(path) {
		return false
	}
	if f.Method != "" {
		return f.Method == method
	}
	return method == http.MethodGet || method == http.MethodHead && !f.needsBody()
}

// needsBody reports whether the fault can only be seen in a body.
func (f Fault) needsBody() bool {
	switch f.Kind {
	case Truncate, Corrupt, IgnoreRange, OtherRange:
		return true
	case Stall, Drop:
		return f.After > 0
	}
	return false
}
