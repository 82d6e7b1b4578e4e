package journal

import (
	"errors"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/object"
)

func sample() *Journal {
	j := &Journal{Format: Format, Stack: "demo", Cluster: "uid"}
	r := j.Begin(Run{ID: "1", Verb: Install, Began: time.Unix(1000, 0).UTC(), Plan: digest.FromString("plan")})
	c := r.Component("web")
	c.State = Running
	c.Steps = []Step{{Kind: StepRelease, Name: "web", State: Running}}
	j.Put(Installed{Name: "web", Plan: digest.FromString("plan"), Manifests: digest.FromString("objects")})
	j.Keep(object.Ref{APIVersion: "v1", Kind: "Namespace", Name: "web"})
	return j
}

func TestBeginSaysWhatWasCutOff(t *testing.T) {
	j := sample()
	j.Begin(Run{ID: "2", Verb: Install, Began: time.Unix(2000, 0).UTC()})
	old := j.Runs[0]
	if old.State != Cancelled || old.Components[0].State != Cancelled || old.Components[0].Steps[0].State != Cancelled || old.Ended.IsZero() {
		t.Errorf("%+v", old)
	}
	if j.Last().Generation != 2 || j.Last().State != Running {
		t.Errorf("%+v", j.Last())
	}
}

func TestRunsAreBoundedAndGenerationsGoOn(t *testing.T) {
	j := sample()
	for range 3 * maxRuns {
		j.Begin(Run{Verb: Install})
	}
	if len(j.Runs) != maxRuns || j.Last().Generation != 3*maxRuns+1 {
		t.Errorf("%d runs, generation %d", len(j.Runs), j.Last().Generation)
	}
}

func TestInstalledAndMade(t *testing.T) {
	j := sample()
	j.Put(Installed{Name: "db"})
	j.Put(Installed{Name: "web", Version: "2"})
	j.Arrange([]string{"db", "web"})
	if len(j.Installed) != 2 || j.Installed[0].Name != "db" || j.Component("web").Version != "2" {
		t.Errorf("%+v", j.Installed)
	}
	j.Keep(object.Ref{APIVersion: "v1", Kind: "Namespace", Name: "web", UID: "new"})
	if len(j.Made) != 1 || j.Made[0].UID != "new" {
		t.Errorf("%+v", j.Made)
	}
	j.Forget(object.Ref{APIVersion: "v1", Kind: "Namespace", Name: "web"})
	j.Drop("web")
	if len(j.Made) != 0 || j.Component("web") != nil {
		t.Errorf("%+v", j)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, bad := range map[string]string{"nothing": "", "a list": "[]", "another format": `{"format":2,"stack":"a"}`, "no stack": `{"format":1}`} {
		if _, err := Parse([]byte(bad)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	good, err := sample().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		j, err := Parse(data)
		if err != nil {
			return
		}
		text, err := j.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(text); err != nil {
			t.Fatalf("a journal that was written cannot be read: %v", err)
		}
		j.Begin(Run{Verb: Install})
	})
}
