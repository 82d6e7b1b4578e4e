package resolve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/fetch"
	"github.com/caisson/caisson/internal/rules/weights"
)

const (
	smallFile    = 1 << 20   // of a model: always read now
	maxPlainFile = 1 << 30   // one outside LFS, which has to be read now
	firstPart    = 256 << 10 // of safetensors: holds most headers whole
	largeHeader  = 8 << 20   // read one at a time
)

// modelReader reads what a lock must know of a model's files: the bytes of small
// ones and of those outside LFS, and of the others how they begin.
type modelReader struct {
	*session
	want  *wantedModel
	files []wantedFile // sorted by path

	mu    sync.Mutex
	sums  map[string]digest.Digest // of files read
	heads map[string]*lock.ModelHead
	code  map[string]string // why files run code, by their content
	texts map[string][]byte // of files that say what the model is
	set   weights.Set
	ggufs map[string]*weights.GGUF // nil where its head is longer than is read
	wrong []string                 // files that are not what their names say
}

func newModelReader(s *session, w *wantedModel) *modelReader {
	r := &modelReader{
		session: s, want: w, sums: map[string]digest.Digest{}, heads: map[string]*lock.ModelHead{},
		code: map[string]string{}, texts: map[string][]byte{},
		ggufs: map[string]*weights.GGUF{},
		set:   weights.Set{Headers: map[string]*weights.Header{}, Indexes: map[string]*weights.Index{}},
	}
	for _, f := range w.files {
		r.files = append(r.files, f)
	}
	slices.SortFunc(r.files, func(a, b wantedFile) int { return strings.Compare(a.Path, b.Path) })
	return r
}

// pinModel fills in the model's files and layers. Files up to 1 MiB, and all that
// the hub knows no SHA-256 of, are read and verified; a layer of such files
// alone gets its digest. Of the others the beginning is read. It is judged before
// the whole is read, and the whole must begin with it: a mirror may answer who asks
// for a part with other bytes.
func (r *modelReader) pinModel(ctx context.Context, m *lock.HubModel) error {
	for _, f := range r.files {
		m.Files = append(m.Files, lock.ModelFile{
			Path: f.Path, Size: f.Size, SHA256: f.SHA256, GitSHA1: f.GitSHA1, LFS: f.LFS(), URL: f.url,
		})
	}
	m.Layers = lock.ModelLayers(m.Files)
	if err := r.lookInto(ctx); err != nil {
		return err
	}
	for i := range m.Layers {
		if err := r.readLayer(ctx, m, i); err != nil {
			return err
		}
	}
	for i := range m.Files {
		if sum, ok := r.sums[m.Files[i].Path]; ok {
			m.Files[i].SHA256 = sum
		}
		if isLarge(r.files[i]) { // of the others the whole was read
			m.Files[i].Head = r.heads[m.Files[i].Path]
		}
	}
	return nil
}

// readLayer reads a layer's files and hashes it, unless it holds one that is large
// and in LFS; then only the others are read.
func (r *modelReader) readLayer(ctx context.Context, m *lock.HubModel, i int) error {
	pending := false
	for _, name := range m.Layers[i].Files {
		pending = pending || isLarge(r.findFile(name))
	}
	open := func(f lock.ModelFile) (io.ReadCloser, error) { return r.openFile(ctx, r.findFile(f.Path)) }
	if !pending {
		dg, err := m.LayerDigest(i, open)
		m.Layers[i].Digest = dg
		return err
	}
	for _, name := range m.Layers[i].Files {
		if f := r.findFile(name); !isLarge(f) {
			if err := r.drainFile(ctx, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// isLarge says whether a file stays unread until it is packed.
func isLarge(f wantedFile) bool { return f.LFS() && f.Size > smallFile }

func (r *modelReader) findFile(name string) wantedFile {
	i, _ := slices.BinarySearchFunc(r.files, name, func(f wantedFile, name string) int {
		return strings.Compare(f.Path, name)
	})
	return r.files[i]
}

func (r *modelReader) request(f wantedFile) fetch.Request {
	if f.url != "" {
		return r.hub.RequestURL(f.url, f.Size, r.want.model.ID+"/"+f.Path)
	}
	return r.hub.Request(r.want.model.ID, r.want.model.Commit, f.File)
}

// drainFile reads a file for its hash alone.
func (r *modelReader) drainFile(ctx context.Context, f wantedFile) error {
	rc, err := r.openFile(ctx, f)
	if err != nil {
		return err
	}
	defer rc.Close()
	_, err = io.Copy(io.Discard, rc)
	return err
}

// openFile fetches one file and verifies it by what the hub says of it. A small
// file is verified before a byte of it is handed on; of a larger one the last
// read fails when it is wrong.
func (r *modelReader) openFile(ctx context.Context, f wantedFile) (io.ReadCloser, error) {
	if f.Size > maxPlainFile {
		return nil, fmt.Errorf("file %s: %d bytes outside LFS, at most %d", f.Path, f.Size, maxPlainFile)
	}
	if f.Size > smallFile {
		return r.streamFile(ctx, f), nil
	}
	data, err := r.readWhole(ctx, f, smallFile)
	if err != nil {
		return nil, err
	}
	r.noteContent(f.Path, data)
	return io.NopCloser(bytes.NewReader(data)), nil
}

// readWhole reads a file of at most max bytes; wrong bytes are asked for once more.
func (r *modelReader) readWhole(ctx context.Context, f wantedFile, max int64) ([]byte, error) {
	sum := newFileSum(f.File)
	for try := 1; ; try++ {
		data, _, err := r.fetch.Read(ctx, r.request(f), max)
		if err != nil {
			return nil, err
		}
		sum.reset()
		sum.Write(data)
		if err = sum.check(); err == nil {
			return data, r.noteSum(f.Path, sum)
		}
		if try == 2 {
			return nil, err
		}
	}
}

// noteSum notes the hash of a file. One that is read twice is the same both times;
// git's SHA-1 alone does not hold a mirror to that.
func (r *modelReader) noteSum(path string, sum *fileSum) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if have, got := r.sums[path], sum.sha256(); have != "" && have != got {
		return fmt.Errorf("file %s: %w: %s, and %s when it was asked for again", path, ErrDigest, have, got)
	}
	r.sums[path] = sum.sha256()
	return nil
}

// streamFile fetches a file through a pipe: nothing of it is kept. The last read
// fails when it is not what the hub says, or does not begin as it was judged by.
func (r *modelReader) streamFile(ctx context.Context, f wantedFile) io.ReadCloser {
	pr, pw := io.Pipe()
	sum := newFileSum(f.File)
	sum.head = newHeadSum(r.heads[f.Path])
	go func() {
		err := r.fetch.Stream(ctx, r.request(f), &pipeDst{pipe: pw, sum: sum})
		if err == nil {
			err = sum.check()
		}
		if err == nil {
			err = r.noteSum(f.Path, sum)
		}
		pw.CloseWithError(err)
	}()
	return pr
}

// pipeDst hands a stream on. It cannot take bytes back.
type pipeDst struct {
	pipe *io.PipeWriter
	sum  *fileSum
}

func (d *pipeDst) Offset() int64 { return d.sum.n }
func (d *pipeDst) Reset() error  { return errors.New("the upstream's file changed while it was read") }
func (d *pipeDst) Write(p []byte) (int, error) {
	d.sum.Write(p)
	return d.pipe.Write(p)
}
