// Package support packs what somebody needs who is asked for help with a site:
// versions, plans, journals, events, the state of pods, and the logs of those
// that fail.
//
// It reads and never changes anything. It holds no value of a Secret and none of
// a chart's values: what it finds of them in a log or a message is replaced, and
// where the Secrets cannot be read, so that nobody knows what to look for, logs
// and messages are left out.
package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caisson/caisson/internal/client/archive"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/redact"
)

const verb = "support"

// maxArchive bounds what is packed, in bytes before compression.
const maxArchive = 64 << 20

// Options are the inputs of support.
type Options struct {
	Output     string // archive to write: FILE.tar.gz; an existing one is an error
	Kubeconfig string
	Context    string
	StateDir   string // default: see archive.Dir
	Tool       string // version of the tool
}

// Result says what was written.
type Result struct {
	Path  string
	Bytes int64
	Files []string // sorted
	// Missing says what could not be had, and why.
	Missing []string
}

// Run writes the archive. What cannot be read is left out and listed; without a
// cluster that answers there are the journal's copies.
func Run(ctx context.Context, opt Options, sink event.Sink) (Result, error) {
	sink.Emit(event.Event{Verb: verb, Kind: event.Start})
	r, err := writeArchive(ctx, opt)
	end := event.Event{Verb: verb, Kind: event.End}
	if err != nil {
		end.Message = err.Error()
	}
	for _, m := range r.Missing {
		sink.Emit(event.Event{Verb: verb, Kind: event.Warning, Message: "left out: " + m})
	}
	sink.Emit(end)
	if err == nil {
		sink.Emit(event.Event{Verb: verb, Kind: event.Result, Message: r.Path, Fields: map[string]any{"path": r.Path, "bytes": r.Bytes, "files": r.Files}})
	}
	return r, err
}

func writeArchive(ctx context.Context, opt Options) (Result, error) {
	a := &ticket{files: map[string][]byte{}, clean: redact.New()}
	dir, err := archive.Dir(opt.StateDir)
	if err != nil {
		return Result{}, err
	}
	client, err := kube.Connect(ctx, kube.Options{Kubeconfig: opt.Kubeconfig, Context: opt.Context})
	if err != nil {
		a.addMissing("the cluster", err)
		a.addVersions(opt.Tool, nil)
		a.addCopies(dir)
	} else {
		(&gatherer{ticket: a, client: client}).gatherAll(ctx, opt.Tool)
	}
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	return a.writeTo(opt.Output)
}

// ticket is what will be written. Whatever enters it is redacted.
type ticket struct {
	files   map[string][]byte
	size    int
	missing []string
	clean   *redact.Redactor
}

func (a *ticket) addMissing(what string, err error) {
	a.missing = append(a.missing, a.clean.Text(fmt.Sprintf("%s: %v", what, err)))
}

// addJSON adds v as a file.
func (a *ticket) addJSON(name string, v any) {
	data, err := json.Marshal(v)
	if err == nil {
		var tree any
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		if err = decoder.Decode(&tree); err == nil {
			data, err = json.MarshalIndent(a.clean.Tree(tree), "", "  ")
		}
	}
	if err != nil {
		a.addMissing(name, err)
		return
	}
	a.addFile(name, append(data, '\n'))
}

// addText adds a text as a file.
func (a *ticket) addText(name, text string) { a.addFile(name, []byte(a.clean.Text(text))) }

var errFull = errors.New("the archive is full")

func (a *ticket) addFile(name string, data []byte) {
	if a.size += len(data); a.size > maxArchive {
		a.addMissing(name, errFull)
		return
	}
	a.files[name] = data
}

// addCopies adds the journals of the state directory.
func (a *ticket) addCopies(dir string) {
	list, err := archive.ReadCopies(dir)
	if err != nil {
		a.addMissing("the copies of journals", err)
	}
	for _, j := range list {
		a.addJSON("stacks/"+safeName(j.Stack)+"/journal.json", j)
	}
}

// safeName is a name that leads nowhere else.
func safeName(name string) string {
	return strings.NewReplacer("/", "_", "\\", "_", "..", "_").Replace(name)
}

func (a *ticket) writeTo(path string) (Result, error) {
	if len(a.missing) > 0 {
		a.addText("missing.txt", strings.Join(a.missing, "\n")+"\n")
	}
	a.addText("README.txt", about)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Result{}, fmt.Errorf("writing the archive: %w", err)
	}
	if err := errors.Join(a.packInto(f), f.Sync(), f.Close()); err != nil {
		return Result{}, errors.Join(fmt.Errorf("writing the archive: %w", err), os.Remove(path))
	}
	r := Result{Path: path, Missing: a.missing, Files: a.sortedNames()}
	if info, err := os.Stat(path); err == nil {
		r.Bytes = info.Size()
	}
	return r, nil
}

func (a *ticket) sortedNames() []string {
	var out []string
	for name := range a.files {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (a *ticket) packInto(f *os.File) error {
	z := gzip.NewWriter(f)
	t := tar.NewWriter(z)
	root := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(f.Name()), ".gz"), ".tar")
	now := time.Now().UTC().Truncate(time.Second)
	for _, name := range a.sortedNames() {
		if err := t.WriteHeader(&tar.Header{Name: root + "/" + name, Mode: 0o600, Size: int64(len(a.files[name])), ModTime: now}); err != nil {
			return err
		}
		if _, err := t.Write(a.files[name]); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close())
}

const about = `What caisson support found at this site.

versions.json                 of the tool, the cluster and its nodes
stacks/NAME/journal.json      what was done here, step by step
stacks/NAME/plans/*.json      the plans, without the values of charts
stacks/NAME/objects.json      how each installed object is
namespaces/NAME/pods.json     the state of pods
namespaces/NAME/events.json   what the cluster said about them
namespaces/NAME/logs/         the end of the logs of pods that fail
missing.txt                   what could not be had, and why

Values of Secrets and of charts are not in it: where one was found in a log or
a message it reads [redacted]. Names of hosts, namespaces and images are.
`
