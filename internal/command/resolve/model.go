package resolve

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/client/fetch"
	"github.com/caisson/caisson/internal/client/hub"
	"github.com/caisson/caisson/internal/listing"
)

const (
	hubHost      = "huggingface.co"
	smallFile    = 1 << 20 // of a model: always read now
	maxPlainFile = 1 << 30 // one outside LFS, which has to be read now
)

// models collects what the components want of each model at one commit.
type models struct {
	mu   sync.Mutex
	refs map[string]*wantedModel
}

// wantedModel is one repository at one commit and all that is wanted of it.
type wantedModel struct {
	model      *hub.Model
	revision   string // the first one that the stack gives
	order      [2]int // of the model whose revision that is
	at         stackField
	components map[string]bool
	files      map[string]bool
}

// resolveModel reads one model's listing and notes which files are wanted. What two
// components want of one commit becomes one item.
func (s *session) resolveModel(ctx context.Context, i, j int) {
	comp := &s.stack.Components[i]
	m := &comp.Models[j]
	at := stackField{
		field: fmt.Sprintf("components[%d].models[%d]", i, j),
		what:  fmt.Sprintf("component %s: model %s", comp.Name, m.Name),
	}
	revision := m.Revision
	if revision == "" {
		revision = "main"
	}
	repository := strings.TrimPrefix(m.Source, "hf://")
	info, err := s.infos.do(strings.ToLower(repository)+"@"+revision, func() (*hub.Model, error) { return s.hub.Info(ctx, repository, revision) })
	if err != nil {
		s.addProblem(at, err)
		return
	}
	files, err := chooseFiles(info.Files, m)
	if err != nil {
		s.addProblem(at, err)
		return
	}
	for _, f := range files {
		if isPickle(f) {
			s.warn(m.Source, fmt.Sprintf("carrying %s, which can run code when it is loaded", f))
		}
	}
	if other := s.models.wantFiles(info, revision, [2]int{i, j}, at, comp.Name, files); other != info.ID {
		s.addProblem(at, fmt.Errorf("the hub spells the repository both %q and %q", other, info.ID))
	}
}

// wantFiles adds files of a model and returns how the hub spelt its repository
// before.
func (m *models) wantFiles(info *hub.Model, revision string, order [2]int, at stackField, component string, files []string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refs == nil {
		m.refs = map[string]*wantedModel{}
	}
	ref := modelRef(info)
	w := m.refs[ref]
	if w == nil {
		w = &wantedModel{model: info, order: order, components: map[string]bool{}, files: map[string]bool{}}
		m.refs[ref] = w
	}
	before := w.model.ID
	if slices.Compare(order[:], w.order[:]) <= 0 {
		w.model, w.revision, w.order, w.at = info, revision, order, at
	}
	w.components[component] = true
	for _, f := range files {
		w.files[f] = true
	}
	return before
}

func modelRef(m *hub.Model) string {
	return hubHost + "/" + strings.ToLower(m.ID) + ":" + m.Commit
}

// chooseFiles applies a model's include and exclude patterns. Without include,
// it leaves out pickled weights, and what repeats safetensors in other formats.
func chooseFiles(files []hub.File, m *stack.Model) ([]string, error) {
	for _, pattern := range m.Include {
		if !slices.ContainsFunc(files, func(f hub.File) bool { return matchFile(pattern, f.Path) }) {
			return nil, fmt.Errorf("include %q: %w", pattern, ErrNoMatch)
		}
	}
	usual := usualFiles(files)
	var chosen, refused []string
	for _, f := range files {
		wanted := usual(f.Path)
		if len(m.Include) > 0 {
			wanted = matchAny(m.Include, f.Path)
		}
		switch {
		case !wanted || matchAny(m.Exclude, f.Path):
		case isPickle(f.Path) && !slices.Contains(m.Include, f.Path):
			refused = append(refused, f.Path)
		default:
			chosen = append(chosen, f.Path)
		}
	}
	if len(refused) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrPickle, listing.Some(refused, 5))
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("%w what include and exclude leave", ErrNoMatch)
	}
	return chosen, nil
}

// usualFiles says what a model without include carries: everything, but where
// there are safetensors neither pickled weights nor other copies of them.
func usualFiles(files []hub.File) func(string) bool {
	weights, doubtful := 0, 0
	for _, f := range files {
		if strings.HasSuffix(f.Path, ".safetensors") {
			weights++
			if isDuplicate(f.Path) {
				doubtful++
			}
		}
	}
	return func(name string) bool {
		switch {
		case weights == 0:
			return true
		case strings.HasSuffix(name, ".safetensors") && weights == doubtful:
			return true // all there is
		}
		return !isPickle(name) && !isDuplicate(name)
	}
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matchFile(p, name) })
}

// finishModels turns what is wanted of each model into its item.
func (s *session) finishModels(ctx context.Context) error {
	var todo tasks
	for ref, w := range s.models.refs {
		todo.add(func(ctx context.Context) { s.finishModel(ctx, ref, w) })
	}
	return todo.run(ctx, s.workers)
}

func (s *session) finishModel(ctx context.Context, ref string, w *wantedModel) {
	s.resolveItem(lock.Model, ref, w.at, func() (int64, evidence, error) {
		m := &lock.HubModel{
			Repository: w.model.ID, Revision: w.revision, Commit: w.model.Commit, License: w.model.License,
			Platform: s.platforms[0].String(),
		}
		reader := &modelReader{session: s, model: w.model, sums: map[string]digest.Digest{}}
		if err := reader.pinModel(ctx, m, w.files); err != nil {
			return 0, evidence{}, err
		}
		s.found.addItem(lock.Item{Ref: imageref.Ref(ref), Kind: lock.Model, Source: "hf://" + m.Repository + "@" + m.Commit, Content: m}, sortedKeys(w.components)...)
		var total int64
		for _, l := range m.Layers {
			total += l.Size
		}
		return total, evidence{}, nil
	})
}

// modelReader reads those files of a model that a lock must know the bytes of.
type modelReader struct {
	*session
	model *hub.Model
	sums  map[string]digest.Digest // of files read
}

// pinModel fills in the model's files and layers. Files up to 1 MiB, and all that
// the hub knows no SHA-256 of, are read and verified; a layer of such files
// alone gets its digest.
func (r *modelReader) pinModel(ctx context.Context, m *lock.HubModel, wanted map[string]bool) error {
	var files []hub.File
	for _, f := range r.model.Files {
		if wanted[f.Path] {
			files = append(files, f)
		}
	}
	for _, f := range files {
		m.Files = append(m.Files, lock.ModelFile{Path: f.Path, Size: f.Size, SHA256: f.SHA256, GitSHA1: f.GitSHA1, LFS: f.LFS()})
	}
	m.Layers = lock.ModelLayers(m.Files)
	for i := range m.Layers {
		if err := r.readLayer(ctx, m, i, files); err != nil {
			return err
		}
	}
	for i := range m.Files {
		if sum, ok := r.sums[m.Files[i].Path]; ok {
			m.Files[i].SHA256 = sum
		}
	}
	return nil
}

// readLayer reads a layer's files and hashes it, unless it holds one that is large
// and in LFS; then only the others are read.
func (r *modelReader) readLayer(ctx context.Context, m *lock.HubModel, i int, files []hub.File) error {
	pending := false
	for _, name := range m.Layers[i].Files {
		pending = pending || isLarge(files[findFile(files, name)])
	}
	open := func(f lock.ModelFile) (io.ReadCloser, error) { return r.openFile(ctx, files[findFile(files, f.Path)]) }
	if !pending {
		dg, err := m.LayerDigest(i, open)
		m.Layers[i].Digest = dg
		return err
	}
	for _, name := range m.Layers[i].Files {
		if f := files[findFile(files, name)]; !isLarge(f) {
			if err := r.drainFile(ctx, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// isLarge says whether a file stays unread until it is packed.
func isLarge(f hub.File) bool { return f.LFS() && f.Size > smallFile }

func findFile(files []hub.File, name string) int {
	return slices.IndexFunc(files, func(f hub.File) bool { return f.Path == name })
}

// drainFile reads a file for its hash alone.
func (r *modelReader) drainFile(ctx context.Context, f hub.File) error {
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
func (r *modelReader) openFile(ctx context.Context, f hub.File) (io.ReadCloser, error) {
	if f.Size > maxPlainFile {
		return nil, fmt.Errorf("file %s: %d bytes outside LFS, at most %d", f.Path, f.Size, maxPlainFile)
	}
	request := fetch.Request{
		URL: hub.FileURL(r.model.ID, r.model.Commit, f.Path), Header: r.hub.Header(), Size: f.Size,
		Item: r.model.ID + "/" + f.Path,
	}
	if f.Size <= smallFile {
		sum := newFileSum(f)
		data, err := r.readSmall(ctx, request, sum)
		if err != nil {
			return nil, err
		}
		r.sums[f.Path] = sum.sha256()
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	return r.streamFile(ctx, request, f), nil
}

// readSmall reads a file whole; wrong bytes are asked for once more.
func (r *modelReader) readSmall(ctx context.Context, request fetch.Request, sum *fileSum) ([]byte, error) {
	for try := 1; ; try++ {
		data, _, err := r.fetch.Read(ctx, request, smallFile)
		if err != nil {
			return nil, err
		}
		sum.reset()
		sum.Write(data)
		if err = sum.check(); err == nil {
			return data, nil
		}
		if try == 2 {
			return nil, err
		}
	}
}

// streamFile fetches a file through a pipe: nothing of it is kept.
func (r *modelReader) streamFile(ctx context.Context, request fetch.Request, f hub.File) io.ReadCloser {
	pr, pw := io.Pipe()
	dst := &pipeDst{pipe: pw, sum: newFileSum(f)}
	go func() {
		err := r.fetch.Stream(ctx, request, dst)
		if err == nil {
			err = dst.sum.check()
		}
		pw.CloseWithError(err)
	}()
	return &streamed{PipeReader: pr, done: func() { r.sums[f.Path] = dst.sum.sha256() }}
}

// streamed notes the hash once the whole content was read.
type streamed struct {
	*io.PipeReader
	done func()
}

func (s *streamed) Read(p []byte) (int, error) {
	n, err := s.PipeReader.Read(p)
	if err == io.EOF {
		s.done()
	}
	return n, err
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

// fileSum hashes a file as the hub does: SHA-256 of the content, and git's
// SHA-1 of a blob.
type fileSum struct {
	file hub.File
	n    int64
	sum  hash.Hash
	git  hash.Hash
}

func newFileSum(f hub.File) *fileSum {
	s := &fileSum{file: f, sum: sha256.New(), git: sha1.New()}
	s.reset()
	return s
}

func (s *fileSum) reset() {
	s.n = 0
	s.sum.Reset()
	s.git.Reset()
	fmt.Fprintf(s.git, "blob %d\x00", s.file.Size)
}

func (s *fileSum) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	s.git.Write(p)
	return s.sum.Write(p)
}

func (s *fileSum) sha256() digest.Digest { return digest.NewDigest(digest.SHA256, s.sum) }

func (s *fileSum) check() error {
	if s.file.LFS() {
		if got := s.sha256(); got != s.file.SHA256 {
			return fmt.Errorf("file %s: %w: %s, the hub says %s", s.file.Path, ErrDigest, got, s.file.SHA256)
		}
		return nil
	}
	if got := hex.EncodeToString(s.git.Sum(nil)); got != s.file.GitSHA1 {
		return fmt.Errorf("file %s: %w: git blob %s, the hub says %s", s.file.Path, ErrDigest, got, s.file.GitSHA1)
	}
	return nil
}
