// Package kustomize makes manifests of what projects publish as archives of their sources:
// it fetches archives, finds what kustomizations name outside them, fetches that too, and
// builds. Equal archives and wishes come to equal bytes.
//
// Archives and kustomizations are hostile. Archives are read within bounds, into files
// without a name. Kustomize runs in a process of its own that bounds itself, reads nothing
// but files that this package gives it one by one, and reaches no network, no git, no
// plugin and no other program: what a kustomization names outside its archive is fetched
// here, or refused by its name.
package kustomize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/fetch"
	"github.com/caisson/caisson/internal/client/subprocess"
)

// Version names what builds: with another one, equal inputs may come to other bytes.
const Version = "kustomize v0.21.1"

// timeout bounds one build, without what is fetched for it.
const timeout = 2 * time.Minute

var (
	// ErrWorker: the process that builds ended without an answer, as it does when a
	// kustomization uses up its memory or its stack.
	ErrWorker = errors.New("building ended without an answer")
	// ErrRemote: a kustomization names something outside its archive, and nothing says
	// where that comes from.
	ErrRemote = errors.New("nothing says where that comes from")
	// ErrArchive: an archive stands where one YAML file was expected.
	ErrArchive = errors.New("it is an archive")
)

// DiffersError is content with another digest than was wanted.
type DiffersError struct {
	URL       string
	Want, Got digest.Digest
}

func (e *DiffersError) Error() string {
	return fmt.Sprintf("%s has %s, not %s", fetch.Redact(e.URL), e.Got, e.Want)
}

// RemoteError says what a kustomization names outside its archive. It is ErrRemote.
type RemoteError struct {
	File, Field, Name string
	Line              int
	OnlyFile          bool
}

func (e *RemoteError) Error() string {
	return fmt.Sprintf("%s:%d: %s has %s, outside the archive, and %v", e.File, e.Line, e.Field, e.Name, ErrRemote)
}

// Is reports true for ErrRemote.
func (e *RemoteError) Is(target error) bool { return target == ErrRemote }

// Recipe says what is built. In what is embedded, an empty digest of a source is filled in;
// one that is there must be met.
type Recipe struct {
	lock.Build
	// Sum is the digest of what Source.URL gives, or of the tar in it; "" where it is not
	// known.
	Sum digest.Digest
	// Place says where something comes from that a kustomization names. False: nobody knows.
	Place func(name string, onlyFile bool) (lock.BuildSource, bool)
}

// Builder builds manifests. It keeps what it fetched, so that several can be built of one
// archive, and may be used from several goroutines.
type Builder struct {
	fetch   *fetch.Client
	command []string
	free    chan struct{} // has room for as many as may build

	mu       sync.Mutex
	archives map[string]func() (*Archive, error) // by URL
}

// NewBuilder makes a builder. command calls Work in a process that bounds itself. The
// caller closes the builder.
func NewBuilder(client *fetch.Client, command []string) *Builder {
	return &Builder{
		fetch: client, command: command, free: make(chan struct{}, runtime.GOMAXPROCS(0)),
		archives: map[string]func() (*Archive, error){},
	}
}

// Close drops what was fetched.
func (b *Builder) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, open := range b.archives {
		if a, err := open(); err == nil {
			_ = a.Close()
		}
	}
	b.archives = nil
}

// Build fetches what a recipe names and builds it. The second result is how it was built,
// to the last digest. Errors are DiffersError, RemoteError, ErrWorker, ErrTooLarge,
// ErrMalformed, ErrNoFile, those of package fetch, and what kustomize says.
func (b *Builder) Build(ctx context.Context, r Recipe) ([]byte, *lock.Build, error) {
	made := r.Build
	made.Builder, made.Remotes = Version, nil
	source, err := b.open(ctx, &made.Source)
	if err != nil {
		return nil, nil, err
	}
	if r.Sum != "" && r.Sum != source.Sum && r.Sum != source.Digest {
		return nil, nil, &DiffersError{made.Source.URL, r.Sum, source.Sum}
	}
	if err := source.checkFolder(made.Source.Folder); err != nil {
		return nil, nil, err
	}
	q := request{Folder: made.Source.Folder, Namespace: made.Namespace, Patches: made.Patches}
	if len(made.Files) > 0 {
		if made.Files, err = source.match(made.Files); err != nil {
			return nil, nil, err
		}
		q.Files = made.Files
	}
	if !made.Source.Archive {
		q.Files = []string{made.Source.FileName()}
	}
	c := &conversation{builder: b, place: r.Place, made: &made, mounts: map[string]*Archive{sourceMount: source}}
	built, err := c.build(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(made.Remotes, func(x, y lock.BuildSource) int { return strings.Compare(x.Name, y.Name) })
	return built, &made, nil
}

// conversation is one build, as the program sees it that asks for it.
type conversation struct {
	builder *Builder
	place   func(name string, onlyFile bool) (lock.BuildSource, bool)
	made    *lock.Build // takes the remotes
	mounts  map[string]*Archive
	failed  error // what an answer could not be given for
	bytes   int64 // of all files that were read
	asks    int
}

func (c *conversation) build(ctx context.Context, q request) ([]byte, error) {
	select {
	case c.builder.free <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-c.builder.free }()
	if len(c.builder.command) == 0 {
		return nil, fmt.Errorf("%w: no program is known that builds", ErrWorker)
	}
	p, err := subprocess.Start(c.builder.command)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWorker, err)
	}
	watch := &stopwatch{kill: p.Kill, left: timeout}
	stop := context.AfterFunc(ctx, p.Kill)
	built, err := c.converse(ctx, p, watch, q)
	stop()
	ended := p.End()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case watch.ran():
		return nil, fmt.Errorf("%w: it took longer than %v", ErrWorker, timeout)
	case errors.Is(err, ErrWorker) && ended != nil:
		return nil, fmt.Errorf("%w: %w", ErrWorker, ended)
	}
	return built, err
}

// converse sends the request, answers the worker's questions and returns what was built.
func (c *conversation) converse(
	ctx context.Context, p *subprocess.Process, watch *stopwatch, q request,
) ([]byte, error) {
	to, from := newEncoder(p.In), newDecoder(p.Out)
	if err := to.Encode(&q); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWorker, err)
	}
	for {
		var m message
		watch.start()
		err := from.next(&m, maxMessage)
		watch.stop()
		if c.asks++; err != nil || c.asks > maxAsks {
			return nil, ErrWorker
		}
		switch {
		case m.Problem != "" && c.failed != nil:
			return nil, c.failed
		case m.Problem != "":
			return nil, errors.New(strings.TrimSpace(m.Problem))
		case m.Built != nil:
			return m.Built, nil
		}
		if err := c.answer(ctx, to, m); err != nil {
			return nil, err
		}
	}
}

// answer answers one question.
func (c *conversation) answer(ctx context.Context, to *json.Encoder, m message) error {
	var r reply
	var err error
	switch {
	case m.Stat != "":
		r.Found, _, err = c.stat(m.Stat)
	case m.Read != "":
		r.Data, err = c.read(m.Read)
	case len(m.Remotes) > 0:
		r.Remotes, err = c.placeAll(ctx, m.Remotes)
		if err != nil && c.failed == nil {
			c.failed = err
		}
	default:
		return ErrWorker
	}
	if err != nil {
		r = reply{Problem: err.Error()}
	}
	if err := to.Encode(&r); err != nil {
		return fmt.Errorf("%w: %w", ErrWorker, err)
	}
	return nil
}

// locate says which archive a path leads into, and where in it.
func (c *conversation) locate(name string) (mount, inside string) {
	for mount := range c.mounts {
		if name == mount {
			return mount, "."
		}
		if rest, ok := strings.CutPrefix(name, mount+"/"); ok {
			return mount, rest
		}
	}
	return "", ""
}

func (c *conversation) stat(name string) (found, entry, error) {
	mount, inside := c.locate(path.Clean(name))
	if mount == "" {
		return found{}, entry{}, nil
	}
	real, e, ok, err := c.mounts[mount].find(inside)
	switch {
	case err != nil || !ok:
		return found{}, entry{}, err
	case e.kind == isUnread:
		return found{}, entry{}, fmt.Errorf("%.200q %w", inside, errUnread)
	}
	return found{path.Join(mount, real), e.kind == isFolder}, e, nil
}

func (c *conversation) read(name string) ([]byte, error) {
	at, e, err := c.stat(name)
	if err != nil {
		return nil, err
	}
	if at.Path == "" || at.Folder {
		return nil, fmt.Errorf("'%s' is not a file", name)
	}
	if err := c.count(e.size); err != nil {
		return nil, err
	}
	mount, _ := c.locate(at.Path)
	return c.mounts[mount].read(e)
}

// count counts bytes that a build reads.
func (c *conversation) count(n int64) error {
	if c.bytes += n; c.bytes > maxRead {
		return fmt.Errorf("the build reads more than %d bytes", int64(maxRead))
	}
	return nil
}

// placeAll places everything that one kustomization names outside. All that has no place
// is said at once.
func (c *conversation) placeAll(ctx context.Context, names []remoteName) ([]remote, error) {
	out := make([]remote, len(names))
	var lost []error
	for i, n := range names {
		var err error
		if out[i], err = c.placeOne(ctx, n); errors.Is(err, ErrRemote) {
			lost = append(lost, err)
		} else if err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", inArchive(n.File), n.Line, n.Field, err)
		}
	}
	return out, errors.Join(lost...)
}

// inArchive is a file's name without the folder that archives lie in.
func inArchive(file string) string { return strings.TrimPrefix(file, sourceMount+"/") }

func (c *conversation) placeOne(ctx context.Context, n remoteName) (remote, error) {
	at := c.made.Remote(n.Name)
	if at == nil {
		if len(c.made.Remotes) >= maxRemotes {
			return remote{}, fmt.Errorf("more than %d things lie outside the archive", maxRemotes)
		}
		s, known := c.place(n.Name, n.OnlyFile)
		if !known {
			return remote{}, &RemoteError{inArchive(n.File), n.Field, n.Name, n.Line, n.OnlyFile}
		}
		s.Name = n.Name
		a, err := c.builder.open(ctx, &s)
		if err != nil {
			return remote{}, err
		}
		c.mounts[remoteMount(len(c.made.Remotes))] = a
		c.made.Remotes = append(c.made.Remotes, s)
		at = &s
	}
	i := slices.IndexFunc(c.made.Remotes, func(s lock.BuildSource) bool { return s.Name == n.Name })
	mount := remoteMount(i)
	if at.Archive {
		return remote{Folder: path.Join(mount, at.Folder)}, nil
	}
	a := c.mounts[mount]
	if err := c.count(a.Size); err != nil {
		return remote{}, err
	}
	data, err := a.read(a.entries[at.FileName()])
	return remote{Data: data}, err
}

func remoteMount(i int) string { return fmt.Sprintf("/remotes/%d", i) }

// stopwatch ends a process that works for too long. Time in which others work does not
// count.
type stopwatch struct {
	kill  func()
	left  time.Duration
	timer *time.Timer
	since time.Time
}

func (s *stopwatch) start() {
	s.since = time.Now()
	s.timer = time.AfterFunc(max(s.left, 0), s.kill)
}

func (s *stopwatch) stop() {
	s.timer.Stop()
	s.left -= time.Since(s.since)
}

// ran says whether the time is over.
func (s *stopwatch) ran() bool { return s.left <= 0 }
