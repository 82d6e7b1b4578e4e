package archive

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/journal"
	"github.com/caisson/caisson/internal/api/object"
)

func sample() *journal.Journal {
	j := &journal.Journal{Format: journal.Format, Stack: "demo", Cluster: "uid"}
	r := j.Begin(journal.Run{ID: "1", Verb: journal.Install, Began: time.Unix(1000, 0).UTC(), Plan: digest.FromString("plan")})
	c := r.Component("web")
	c.State = journal.Running
	c.Steps = []journal.Step{{Kind: journal.StepRelease, Name: "web", State: journal.Running}}
	j.Put(journal.Installed{Name: "web", Plan: digest.FromString("plan"), Manifests: digest.FromString("objects")})
	j.Keep(object.Ref{APIVersion: "v1", Kind: "Namespace", Name: "web"})
	return j
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
		if err := s.writeCopy("demo", text); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.writeCopy("../demo", text); err == nil {
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
	if _, err := s.Copy("demo"); !errors.Is(err, journal.ErrNone) {
		t.Errorf("error is %v", err)
	}
	j := sample()
	j.Newest = journal.Newest{Sequence: 7}
	text, err := j.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.writeCopy("demo", text); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Copy("demo"); err != nil || got.Newest.Sequence != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := (&Store{cluster: "another", dir: dir}).Copy("demo"); !errors.Is(err, journal.ErrInvalid) {
		t.Errorf("error is %v", err)
	}
	if err := s.writeCopy("other", text); err != nil {
		t.Fatal(err)
	}
	for _, stack := range []string{"other", "../demo"} {
		if got, err := s.Copy(stack); err == nil {
			t.Errorf("stack %s has the journal %+v", stack, got)
		}
	}
}
