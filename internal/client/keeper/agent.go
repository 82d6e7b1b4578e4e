// Package keeper is the node agent at work: it holds the directories of a node's
// container runtime to the files that package mirror makes, and takes them away
// again.
//
// The keepers of several stacks share what is equal: a file names the stacks that
// want it and goes with the last. A keeper writes only files of its own, keeps
// what an administrator had, restarts nothing, and never talks to a cluster or a
// registry.
package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/atomicfile"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/mirror"
)

// Verb names the agent in events.
const Verb = "mirror"

// Interval is how long the agent waits between looks at the node.
const Interval = 15 * time.Second

// maxConfig bounds the agent's configuration.
const maxConfig = 1 << 20

// maxLogin bounds the pull secret; a Secret has no more.
const maxLogin = 1 << 20

// ErrConflict: something on the node stands in the way and was left alone.
var ErrConflict = errors.New("the node's files are not as they should be")

// Options are the inputs of the agent. Directories left empty are not kept.
type Options struct {
	Config     string        // file with a Config as JSON
	Digest     digest.Digest // of that file; another content is waited out
	Containerd string        // ContainerdDir as the agent sees it
	RuntimeDir string        // containerd's own directory, to read its configuration
	Login      string        // pull secret's mirror.LoginFile with the registry's login, read at each look
	CRIO       string        // CRIODir as the agent sees it
	CRIOCerts  string        // CRIOCertsDir as the agent sees it
	Status     string        // file that tells of the newest look
	Remove     bool          // take everything away instead
	Once       bool          // look once
	Tick       <-chan time.Time
}

// Status is what the agent last saw.
type Status struct {
	Ready    bool     `json:"ready"`
	Removed  bool     `json:"removed,omitempty"` // the files are gone
	Files    int      `json:"files"`             // in place, or taken away
	Problems []string `json:"problems,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Run keeps a node's files until ctx ends, and leaves them where they are then.
// With Once it returns ErrConflict when something stands in the way.
func Run(ctx context.Context, opt Options, sink event.Sink) error {
	tick := opt.Tick
	if tick == nil {
		t := time.NewTicker(Interval)
		defer t.Stop()
		tick = t.C
	}
	a := &agent{opt: opt, sink: sink}
	for {
		s := a.keepNode()
		a.emitStatus(s)
		if opt.Status != "" {
			if err := writeStatus(opt.Status, s); err != nil {
				return err
			}
		}
		if opt.Once {
			return s.Err()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
	}
}

// Err is nil when the node is as it should be.
func (s Status) Err() error {
	if s.Ready {
		return nil
	}
	errs := []error{ErrConflict}
	for _, p := range s.Problems {
		errs = append(errs, errors.New(p))
	}
	return errors.Join(errs...)
}

type agent struct {
	opt  Options
	sink event.Sink
	last string
}

// emitStatus reports a look that differs from the one before.
func (a *agent) emitStatus(s Status) {
	text, _ := json.Marshal(s)
	if string(text) == a.last {
		return
	}
	a.last = string(text)
	verb := "keeping"
	if s.Removed {
		verb = "removed"
	}
	a.sink.Emit(event.Event{Verb: Verb, Kind: event.Info, Message: fmt.Sprintf("%s %d files", verb, s.Files)})
	for _, p := range append(s.Problems, s.Warnings...) {
		a.sink.Emit(event.Event{Verb: Verb, Kind: event.Warning, Message: p})
	}
}

// keepNode makes the node what it should be, once.
func (a *agent) keepNode() Status {
	var s Status
	c, err := readConfig(a.opt.Config, a.opt.Digest)
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
		return s
	}
	files, err := a.containerdFiles(c)
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
	}
	a.keepDirectory(&s, a.opt.Containerd, c.Stack, files)
	a.keepDirectory(&s, a.opt.CRIOCerts, c.Stack, c.CRIOCerts())
	a.keepDirectory(&s, a.opt.CRIO, c.Stack, c.CRIO())
	a.reportRivals(&s, c)
	a.checkRuntime(&s)
	s.Ready = len(s.Problems) == 0
	s.Removed = s.Ready && a.opt.Remove
	return s
}

// keepDirectory keeps, or clears, one directory.
func (a *agent) keepDirectory(s *Status, dir, stack string, files []mirror.File) {
	if dir == "" {
		return
	}
	k, err := openKeeper(dir, stack)
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
		return
	}
	defer func() { _ = k.close() }()
	act := k.keepFiles
	if a.opt.Remove {
		act = k.removeFiles
	}
	_, err = act(files)
	for _, e := range splitJoined(err) {
		var c *Conflict
		if a.opt.Remove && errors.As(e, &c) { // it was never ours
			s.Warnings = append(s.Warnings, e.Error())
			continue
		}
		s.Problems = append(s.Problems, e.Error())
	}
	if err == nil {
		s.Files += len(files)
	}
}

// splitJoined takes joined errors apart.
func splitJoined(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, splitJoined(e)...)
	}
	return out
}

// checkRuntime asks whether containerd will read the files at all.
func (a *agent) checkRuntime(s *Status) {
	if a.opt.RuntimeDir == "" || a.opt.Remove {
		return
	}
	err := CheckContainerd(a.opt.RuntimeDir)
	switch {
	case errors.Is(err, ErrNotRead):
		s.Problems = append(s.Problems, err.Error())
	case err != nil:
		s.Warnings = append(s.Warnings, err.Error())
	}
}

func readConfig(path string, want digest.Digest) (mirror.Config, error) {
	var c mirror.Config
	data, err := atomicfile.ReadFile(path, maxConfig)
	if err != nil {
		return c, fmt.Errorf("reading the agent's configuration: %w", err)
	}
	if got := digest.FromBytes(data); want != "" && got != want {
		return c, fmt.Errorf("reading the agent's configuration: it is %s, not yet %s", got, want)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("reading the agent's configuration: %w", err)
	}
	return c, c.Check()
}

func writeStatus(path string, s Status) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding the status: %w", err)
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, data, 0o644); err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	return os.Rename(temp, path)
}

// ReadStatus reads what an agent wrote.
func ReadStatus(path string) (Status, error) {
	var s Status
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return s, fmt.Errorf("reading the agent's status: %w", err)
	}
	return s, nil
}
