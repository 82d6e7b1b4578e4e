package resolve

import (
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
)

// resolveItem resolves one item between a Start and an End event. do returns the
// item's payload and evidence; its error becomes a problem.
func (s *session) resolveItem(kind lock.Kind, name string, at stackField, do func() (int64, evidence, error)) {
	fields := map[string]any{"kind": string(kind)}
	s.events.Emit(event.Event{Verb: verb, Kind: event.Start, Item: name, Fields: fields})
	bytes, found, err := do()
	end := event.Event{Verb: verb, Kind: event.End, Item: name, Bytes: bytes}
	if err != nil {
		s.addProblem(at, err)
		end.Message, end.Fields = "failed", fields
	} else {
		end.Fields = map[string]any{
			"kind": string(kind), "found": found.found, "carried": found.countCarried(), "missing": found.missing, "failed": found.failed,
		}
	}
	s.events.Emit(end)
}

func (s *session) warn(item, message string) {
	s.events.Emit(event.Event{Verb: verb, Kind: event.Warning, Item: item, Message: message})
}

func (s *session) resultOf(l *lock.Lock, path string) Result {
	r := Result{Lock: l, Path: path, Counts: map[lock.Kind]int{}, Evidence: s.found.evidence}
	for _, it := range l.Items {
		r.Counts[it.Kind]++
	}
	for _, slot := range l.Slots() {
		r.Payload += slot.Size
	}
	return r
}

func (r Result) eventFields() map[string]any {
	fields := map[string]any{
		"name": r.Lock.Metadata.Name, "version": r.Lock.Metadata.Version, "digest": string(r.Lock.Digest()),
		"payloadBytes": r.Payload,
		"evidence": map[string]int{
			"found": r.Evidence.Found, "carried": r.Evidence.Carried, "missing": r.Evidence.Missing,
			"failed": r.Evidence.Failed, "bare": r.Evidence.Bare,
		},
	}
	for _, k := range lock.Kinds() {
		fields[k.Plural] = r.Counts[k.Kind]
	}
	return fields
}
