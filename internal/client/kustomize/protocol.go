package kustomize

import (
	"encoding/json"
	"io"

	"github.com/caisson/caisson/internal/api/lock"
)

// Bounds of what passes between a worker and the program that asks it, for one build.
const (
	maxOutput   = 32 << 20  // of what is built
	maxRead     = 256 << 20 // bytes of all files that a build reads
	maxAsks     = 100_000   // questions of one build
	maxMessage  = 48 << 20  // one message, with 32 MiB in it
	maxRequest  = 64 << 20  // patches
	maxProblem  = 4096      // bytes of what went wrong
	maxRemotes  = 100       // of one build
	sourceMount = "/source" // where what is built lies
)

// request is what a worker is asked to build.
type request struct {
	Folder    string               `json:"folder,omitempty"` // below sourceMount
	Files     []string             `json:"files,omitempty"`  // below sourceMount
	Namespace string               `json:"namespace,omitempty"`
	Patches   []lock.ManifestPatch `json:"patches,omitempty"`
}

// message is what a worker says: a question or, last, what the build came to.
type message struct {
	Stat    string       `json:"stat,omitempty"`    // what lies at a path?
	Read    string       `json:"read,omitempty"`    // the content of a file
	Remotes []remoteName `json:"remotes,omitempty"` // where is what kustomizations name outside?
	Built   []byte       `json:"built,omitempty"`
	Problem string       `json:"problem,omitempty"` // why nothing was built
}

// remoteName is something that a kustomization names outside its archive.
type remoteName struct {
	Name     string `json:"name"`
	Field    string `json:"field"` // resources
	File     string `json:"file"`  // the kustomization
	Line     int    `json:"line"`
	OnlyFile bool   `json:"onlyFile,omitempty"` // no folder can stand there
}

// reply answers a question.
type reply struct {
	Found   found    `json:"found,omitzero"`
	Data    []byte   `json:"data,omitempty"`
	Remotes []remote `json:"remotes,omitempty"` // one for each name
	Problem string   `json:"problem,omitempty"`
}

// found is what lies at a path.
type found struct {
	Path   string `json:"path,omitempty"` // without links; "" where nothing is
	Folder bool   `json:"folder,omitempty"`
}

// remote is where something that a kustomization names has been put: a folder, or a file
// as it is.
type remote struct {
	Folder string `json:"folder,omitempty"`
	Data   []byte `json:"data,omitempty"`
}

// boundedDecoder reads messages of bounded length.
type boundedDecoder struct {
	limit   io.LimitedReader
	decoder *json.Decoder
}

func newDecoder(r io.Reader) *boundedDecoder {
	d := &boundedDecoder{limit: io.LimitedReader{R: r}}
	d.decoder = json.NewDecoder(&d.limit)
	d.decoder.DisallowUnknownFields()
	return d
}

func (d *boundedDecoder) next(into any, most int64) error {
	d.limit.N = most
	return d.decoder.Decode(into)
}

func newEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}
