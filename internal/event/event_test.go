package event

import (
	"encoding/json"
	"sync"
	"testing"
)

func TestRecorderKeepsEveryEventOfManyVerbs(t *testing.T) {
	const verbs, each = 16, 200
	var r Recorder
	var wg sync.WaitGroup
	for range verbs {
		wg.Go(func() {
			for i := range each {
				r.Emit(Event{Verb: "pack", Kind: Progress, Bytes: int64(i)})
				_ = r.Events()
			}
		})
	}
	wg.Wait()
	if n := len(r.Events()); n != verbs*each {
		t.Errorf("%d events, want %d", n, verbs*each)
	}
	r.Events()[0].Verb = "changed"
	if r.Events()[0].Verb != "pack" {
		t.Error("Events hands out the recorder's own list")
	}
}

func TestJSONNamesAreThoseThatScriptsRead(t *testing.T) {
	e := Event{Verb: "verify", Kind: FindingKind, Finding: &Finding{Severity: Error, What: "a block is damaged", Volume: "x.vol-00001.tar", Offset: 7, Code: "bad-block"}}
	got, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"time":"0001-01-01T00:00:00Z","verb":"verify","kind":"finding","finding":{"severity":"error","what":"a block is damaged","volume":"x.vol-00001.tar","offset":7,"code":"bad-block"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
