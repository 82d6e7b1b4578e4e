package preflight

import "github.com/caisson/caisson/internal/event"

// stages tells what a plan is waiting for while it is made.
type stages struct {
	sink    event.Sink // which names the verb
	current string
}

// begin ends the stage before. what is asked something, and why says what.
func (s *stages) begin(what, why string) {
	s.end()
	s.current = what
	s.sink.Emit(event.Event{Kind: event.Progress, Message: what + ": " + why, Wait: &event.Wait{For: what, Why: why}})
}

func (s *stages) end() {
	if s.current != "" {
		s.sink.Emit(event.Event{Kind: event.Progress, Wait: &event.Wait{For: s.current}})
	}
	s.current = ""
}
