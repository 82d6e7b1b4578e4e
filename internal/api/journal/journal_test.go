package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/client/kube"
)

func sample() *Journal {
	j := &Journal{Format: Format, Stack: "demo", Cluster: "uid"}
	r := j.Begin(Run{ID: "1", Verb: Install, Began: time.Unix(1000, 0).UTC(), Plan: digest.FromString("plan")})
	c := r.Component("web")
	c.State = Running
	c.Steps = []Step{{Kind: StepRelease, Name: "web", State: Running}}
	j.Put(Installed{Name: "web", Plan: digest.FromString("plan"), Manifests: digest.FromString("objects")})
	j.Keep(kube.Object{APIVersion: "v1", Kind: "Namespace", Name: "web"})
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
	j.Keep(kube.Object{APIVersion: "v1", Kind: "Namespace", Name: "web", UID: "new"})
	if len(j.Made) != 1 || j.Made[0].UID != "new" {
		t.Errorf("%+v", j.Made)
	}
	j.Forget(kube.Object{APIVersion: "v1", Kind: "Namespace", Name: "web"})
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
		j.documents()
	})
}

func TestDir(t *testing.T) {
	if got, err := Dir("/given"); err != nil || got != "/given" {
		t.Error(got, err)
	}
	t.Setenv("XDG_STATE_HOME", "/state")
	if got, err := Dir(""); err != nil || got != "/state/caisson" {
		t.Error(got, err)
	}
	t.Setenv("XDG_STATE_HOME", "relative") // the specification says to ignore it
	t.Setenv("HOME", "/home/op")
	if got, err := Dir(""); err != nil || got != "/home/op/.local/state/caisson" {
		t.Error(got, err)
	}
}

func TestCopiesOnDisk(t *testing.T) {
	dir := t.TempDir()
	s := &Store{cluster: "uid", dir: filepath.Join(dir, "uid")}
	text, err := sample().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.copy("demo", text); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.copy("../demo", text); err == nil {
		t.Error("a stack name led out of the directory")
	}
	if err := os.WriteFile(filepath.Join(dir, "uid", "junk.json"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := ReadCopies(dir)
	if err != nil || len(all) != 1 || all[0].Stack != "demo" {
		t.Errorf("%d copies, %v", len(all), err)
	}
	if all, err := ReadCopies(filepath.Join(dir, "absent")); err != nil || len(all) != 0 {
		t.Errorf("%d copies, %v", len(all), err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "uid"))
	if err != nil || len(entries) != 2 {
		t.Errorf("%d files, %v: temporary ones must not stay", len(entries), err)
	}
}

func TestCopyIsOfThisStackAndCluster(t *testing.T) {
	dir := t.TempDir()
	s := &Store{cluster: "uid", dir: dir}
	if _, err := s.Copy("demo"); !errors.Is(err, ErrNone) {
		t.Errorf("error is %v", err)
	}
	j := sample()
	j.Newest = Newest{Sequence: 7}
	text, err := j.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.copy("demo", text); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Copy("demo"); err != nil || got.Newest.Sequence != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := (&Store{cluster: "another", dir: dir}).Copy("demo"); !errors.Is(err, ErrInvalid) {
		t.Errorf("error is %v", err)
	}
	if err := s.copy("other", text); err != nil {
		t.Fatal(err)
	}
	for _, stack := range []string{"other", "../demo"} {
		if got, err := s.Copy(stack); err == nil {
			t.Errorf("stack %s has the journal %+v", stack, got)
		}
	}
}
