// Package journal is what happened to a site: every run that changed it, step
// by step, with what was there before and after.
//
// It holds the journal's form; package archive keeps it. It decides nothing and
// reads no cluster. It never holds a value of a chart, a credential or any other
// secret: those are in the plan, which is kept beside it and named by digest.
package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/ledger"
	"github.com/caisson/caisson/internal/api/object"
)

// Format is the version of the journal's form.
const Format = 1

// maxRuns is how many runs a journal keeps; the oldest go first, but never the
// one that made what is installed.
const maxRuns = 50

// Errors of this package.
var (
	ErrNone    = errors.New("nothing is installed")
	ErrInvalid = errors.New("not a valid journal")
	ErrChanged = errors.New("the journal was changed by somebody else")
)

// Journal is the history of one stack on one cluster.
type Journal struct {
	Format  int    `json:"format"`
	Stack   string `json:"stack"`
	Cluster string `json:"cluster"` // UID
	Newest  Newest `json:"newest"`  // bundle ever installed, kept beyond Runs
	Runs    []Run  `json:"runs"`    // oldest first
	// Made are the things shared by components that the product created and
	// will remove: namespaces and custom resource definitions.
	Made []object.Ref `json:"made,omitempty"`
	// Installed is what is there now, by component in order of installation.
	Installed []Installed `json:"installed,omitempty"`
}

// Newest is the bundle with the highest sequence that an install began with: an
// older one is refused.
type Newest struct {
	Sequence int64         `json:"sequence"`
	Index    digest.Digest `json:"index,omitempty"`
}

// Verb is what a run did.
type Verb string

// The verbs that change a cluster.
const (
	Install   Verb = "install"
	Rollback  Verb = "rollback"
	Uninstall Verb = "uninstall"
)

// State is how far a run or a step has come.
type State string

// The states. A run that is Running while nobody holds the install lease was
// killed.
const (
	Pending    State = "pending"
	Running    State = "running"
	Done       State = "done"
	Skipped    State = "skipped" // it was as planned already, or as a rollback would make it
	Failed     State = "failed"
	RolledBack State = "rolled-back" // failed, and what was there before is there again
	Cancelled  State = "cancelled"
)

// Run is one execution of a verb.
type Run struct {
	ID         string        `json:"id"`
	Generation int           `json:"generation"` // of the stack on this cluster; each run that installs has its own
	Verb       Verb          `json:"verb"`
	State      State         `json:"state"`
	Began      time.Time     `json:"began"`
	Ended      time.Time     `json:"ended,omitzero"`
	Tool       string        `json:"tool,omitempty"` // version of the tool
	Operator   Operator      `json:"operator"`
	Version    string        `json:"version,omitempty"` // of the stack
	Plan       digest.Digest `json:"plan,omitempty"`
	Index      digest.Digest `json:"index,omitempty"`
	Lock       digest.Digest `json:"lock,omitempty"`
	Ledger     digest.Digest `json:"ledger,omitempty"`
	Sequence   int64         `json:"sequence,omitempty"`
	KeyIDs     []string      `json:"keyIDs,omitempty"`
	// Checks are those that the site made before it changed anything.
	Checks     []ledger.Check `json:"checks,omitempty"`
	Overrides  []string       `json:"overrides,omitempty"` // checks that the operator overruled, as options: allow-older
	Error      string         `json:"error,omitempty"`
	Whole      bool           `json:"whole,omitempty"`   // a rollback of all that the newest generation changed, or an uninstallation of everything
	Partial    bool           `json:"partial,omitempty"` // an installation of some of the plan's components
	Components []Component    `json:"components,omitempty"`
}

// Operator is who ran the tool, as far as the kubeconfig tells. It never holds a
// credential.
type Operator struct {
	Context  string `json:"context,omitempty"`
	Cluster  string `json:"cluster,omitempty"`
	AuthInfo string `json:"authInfo,omitempty"` // name of the kubeconfig's user entry
	User     string `json:"user,omitempty"`     // what the API server calls it
	Host     string `json:"host,omitempty"`     // where the tool ran
}

// Component is what a run did to one component.
type Component struct {
	Name  string    `json:"name"`
	State State     `json:"state"`
	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
	Error string    `json:"error,omitempty"`
	Steps []Step    `json:"steps,omitempty"`
}

// StepKind is what a step is about.
type StepKind string

// The kinds of steps.
const (
	StepNamespace  StepKind = "namespace"
	StepCredential StepKind = "credential"
	StepCRDs       StepKind = "crds"
	StepRelease    StepKind = "release"
	StepManifests  StepKind = "manifests"
	StepWebhooks   StepKind = "webhooks"
	StepReady      StepKind = "ready"
	StepRollback   StepKind = "rollback"
	StepNodes      StepKind = "nodes" // files taken away from nodes
)

// Step is one thing done.
type Step struct {
	Kind   StepKind  `json:"kind"`
	Name   string    `json:"name,omitempty"`
	State  State     `json:"state"`
	Began  time.Time `json:"began,omitzero"`
	Ended  time.Time `json:"ended,omitzero"`
	Error  string    `json:"error,omitempty"`
	Before int       `json:"before,omitempty"` // revision of the release
	After  int       `json:"after,omitempty"`
	Note   string    `json:"note,omitempty"`
}

// Installed is one component as it is.
type Installed struct {
	Name       string        `json:"name"`
	Needs      []string      `json:"needs,omitempty"`
	Namespace  string        `json:"namespace"`
	Generation int           `json:"generation"` // that last changed it
	Version    string        `json:"version"`    // of the stack it comes from
	Plan       digest.Digest `json:"plan"`
	Complete   bool          `json:"complete"` // it was seen ready; else a change to it has not ended
	Releases   []Release     `json:"releases,omitempty"`
	Manifests  digest.Digest `json:"manifests,omitempty"` // record of the applied manifests
	Objects    []object.Ref  `json:"objects,omitempty"`   // of manifests, as applied
	// Definitions is the record of the custom resource definitions it brings.
	Definitions digest.Digest   `json:"definitions,omitempty"`
	Ready       []object.Target `json:"ready,omitempty"`
	Former      *Former         `json:"former,omitempty"` // what rollback goes back to
	// Intact is what the component was before the change that has not ended: what a
	// failure of that change goes back to. For the first change from one plan to
	// another it is Former; a plan that is carried out again has it beside Former.
	Intact *Former `json:"intact,omitempty"`
	// Finished are those of Objects that were seen to have run to their end, like a
	// Job: going back does not make them run again.
	Finished []object.Ref `json:"finished,omitempty"`
}

// Former is what a component was before it last changed. Absent: it did not
// exist.
type Former struct {
	Version   string        `json:"version"`
	Plan      digest.Digest `json:"plan"`
	Releases  []Release     `json:"releases,omitempty"`
	Manifests digest.Digest `json:"manifests,omitempty"`
	Objects   []object.Ref  `json:"objects,omitempty"`
	// Definitions is the record of its custom resource definitions.
	Definitions digest.Digest   `json:"definitions,omitempty"`
	Ready       []object.Target `json:"ready,omitempty"`
	Generation  int             `json:"generation,omitempty"`
	// Former is what it could itself go back to, one step and no further; it
	// counts again when a change is taken back.
	Former *Former `json:"former,omitempty"`
	// Finished are those of Objects that had run to their end.
	Finished []object.Ref `json:"finished,omitempty"`
}

// Snapshot is the component as something to go back to.
func (c *Installed) Snapshot() *Former {
	f := &Former{
		Version: c.Version, Plan: c.Plan, Releases: c.Releases, Manifests: c.Manifests, Objects: c.Objects,
		Definitions: c.Definitions, Ready: c.Ready, Generation: c.Generation, Finished: c.Finished,
	}
	if c.Former != nil {
		before := *c.Former
		before.Former = nil
		f.Former = &before
	}
	return f
}

// Formers are all states that the component may go back to.
func (c *Installed) Formers() iter.Seq[*Former] {
	return func(yield func(*Former) bool) {
		for _, first := range []*Former{c.Intact, c.Former} {
			for f := first; f != nil; f = f.Former {
				if !yield(f) {
					return
				}
			}
		}
	}
}

// Release is one Helm release as it is.
type Release struct {
	Name         string        `json:"name"`
	Revision     int           `json:"revision"`
	Chart        imageref.Ref  `json:"chart"`
	ChartDigest  digest.Digest `json:"chartDigest"`
	ValuesDigest digest.Digest `json:"valuesDigest"`
	Objects      []object.Ref  `json:"objects,omitempty"`
}

// Last is the newest run, or nil.
func (j *Journal) Last() *Run {
	if len(j.Runs) == 0 {
		return nil
	}
	return &j.Runs[len(j.Runs)-1]
}

// Component finds what is installed under a name, or nil.
func (j *Journal) Component(name string) *Installed {
	for i := range j.Installed {
		if j.Installed[i].Name == name {
			return &j.Installed[i]
		}
	}
	return nil
}

// Put replaces or appends an installed component.
func (j *Journal) Put(c Installed) {
	if old := j.Component(c.Name); old != nil {
		*old = c
		return
	}
	j.Installed = append(j.Installed, c)
}

// Arrange sorts the installed components by an order of names. Others come
// first, as they were.
func (j *Journal) Arrange(order []string) {
	slices.SortStableFunc(j.Installed, func(a, b Installed) int {
		return slices.Index(order, a.Name) - slices.Index(order, b.Name)
	})
}

// Drop forgets an installed component.
func (j *Journal) Drop(name string) {
	j.Installed = slices.DeleteFunc(j.Installed, func(c Installed) bool { return c.Name == name })
}

// Keep remembers a shared object that the product made.
func (j *Journal) Keep(o object.Ref) {
	for i := range j.Made {
		if j.Made[i].Key() == o.Key() {
			j.Made[i] = o
			return
		}
	}
	j.Made = append(j.Made, o)
}

// Forget drops a shared object.
func (j *Journal) Forget(o object.Ref) {
	j.Made = slices.DeleteFunc(j.Made, func(m object.Ref) bool { return m.Key() == o.Key() })
}

// Begin appends a run. A run before it that never ended was killed, and is now
// said to be so.
func (j *Journal) Begin(r Run) *Run {
	for i := range j.Runs {
		if j.Runs[i].State == Running {
			j.Runs[i].interrupt(r.Began)
		}
	}
	r.State = Running
	r.Generation = 1
	if last := j.Last(); last != nil {
		r.Generation = last.Generation + 1
	}
	j.Runs = append(j.Runs, r)
	if n := len(j.Runs) - maxRuns; n > 0 {
		j.Runs = slices.Delete(j.Runs, 0, n)
	}
	return j.Last()
}

// interrupt says of everything still running that it was cut off.
func (r *Run) interrupt(now time.Time) {
	const why = "the tool was killed"
	r.State, r.Ended, r.Error = Cancelled, now, why
	for i := range r.Components {
		c := &r.Components[i]
		if c.State == Running {
			c.State, c.Ended, c.Error = Cancelled, now, why
		}
		for k := range c.Steps {
			if s := &c.Steps[k]; s.State == Running {
				s.State, s.Ended, s.Error = Cancelled, now, why
			}
		}
	}
}

// Component finds, or appends, the record of a component in the run. The
// pointer holds until the next call.
func (r *Run) Component(name string) *Component {
	for i := range r.Components {
		if r.Components[i].Name == name {
			return &r.Components[i]
		}
	}
	r.Components = append(r.Components, Component{Name: name, State: Pending})
	return &r.Components[len(r.Components)-1]
}

// Marshal writes the journal as JSON.
func (j *Journal) Marshal() ([]byte, error) {
	b, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("encoding journal: %w", err)
	}
	return b, nil
}

// Parse reads a journal. Errors wrap ErrInvalid.
func Parse(data []byte) (*Journal, error) {
	var j Journal
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if j.Format != Format {
		return nil, fmt.Errorf("%w: its format is %d, this tool knows %d", ErrInvalid, j.Format, Format)
	}
	if j.Stack == "" {
		return nil, fmt.Errorf("%w: it names no stack", ErrInvalid)
	}
	return &j, nil
}
