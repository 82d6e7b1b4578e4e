package resolve

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/rules/weights"
)

// lookInto looks into the files that were not read whole: into safetensors for
// their headers, into what says what the model is for all of it, and into the
// first bytes of the others for what they really are.
func (r *modelReader) lookInto(ctx context.Context) error {
	var todo tasks
	errs := make([]error, len(r.files))
	for i, f := range r.files {
		if f.Size <= smallFile {
			continue // read and noted
		}
		todo.add(func(ctx context.Context) {
			if err := r.lookAt(ctx, f); err != nil {
				errs[i] = fmt.Errorf("file %s: %w", f.Path, err)
			}
		})
	}
	if err := todo.run(ctx, r.workers); err != nil {
		return err
	}
	return errors.Join(errs...)
}

func (r *modelReader) lookAt(ctx context.Context, f wantedFile) error {
	switch {
	case weights.IsSafetensors(f.Path):
		return r.readHeader(ctx, f)
	case weights.IsGGUF(f.Path):
		return r.readGGUF(ctx, f)
	case limitOf(f.Path) >= f.Size:
		data, err := r.readWhole(ctx, f, limitOf(f.Path))
		if err == nil {
			r.noteContent(f.Path, data)
		}
		return err
	}
	head, err := r.readHead(ctx, f, weights.SniffLength)
	if err == nil {
		r.noteHead(f, head)
	}
	return err
}

// limitOf is up to which size a file is read whole because it says what the model
// is; 0 for one that does not.
func limitOf(file string) int64 {
	switch {
	case weights.IsIndex(file):
		return weights.MaxIndex
	case isDescription(file):
		return weights.MaxConfig
	}
	return 0
}

// isDescription says whether a file of the model, not of one below it, says how to
// serve it.
func isDescription(file string) bool {
	return file == "chat_template.json" || slices.Contains(namingCode, file)
}

// namingCode are the files that may name code in auto_map.
var namingCode = []string{"config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json"}

// readHeader reads the header of a large safetensors file. One of a few megabytes
// is already unusual; longer ones are read one at a time.
func (r *modelReader) readHeader(ctx context.Context, f wantedFile) error {
	data, err := r.readHead(ctx, f, firstPart)
	if err != nil {
		return err
	}
	length, err := weights.HeaderLength(data, f.Size)
	if err != nil {
		r.noteWrong(f.Path, err)
		return nil
	}
	if length > largeHeader {
		r.largeHeaders.Lock()
		defer r.largeHeaders.Unlock()
	}
	end := weights.PrefixLength + length
	if have := int64(len(data)); have < end {
		rest, err := r.fetch.ReadPart(ctx, r.request(f), have, end-have)
		if err != nil {
			return err
		}
		data = append(data, rest...)
	}
	header, err := weights.ParseHeader(data[weights.PrefixLength:end], f.Size)
	if err != nil {
		r.noteWrong(f.Path, err)
		return nil
	}
	r.noteHead(f, data[:end])
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set.Headers[f.Path] = header
	return nil
}

// firstGGUF of a GGUF file holds the metadata of most; that with a large vocabulary
// takes more.
const firstGGUF = 2 << 20

// readGGUF reads what a large GGUF file says at its head.
func (r *modelReader) readGGUF(ctx context.Context, f wantedFile) error {
	data, err := r.readHead(ctx, f, firstGGUF)
	if err != nil {
		return err
	}
	said, err := weights.ParseGGUF(data, f.Size)
	if end := min(f.Size, weights.MaxGGUFHead); errors.Is(err, weights.ErrShort) && int64(len(data)) < end {
		rest, err := r.fetch.ReadPart(ctx, r.request(f), int64(len(data)), end-int64(len(data)))
		if err != nil {
			return err
		}
		data = append(data, rest...)
		said, err = weights.ParseGGUF(data, f.Size)
		return r.noteGGUF(f, data, said, err)
	}
	return r.noteGGUF(f, data, said, err)
}

// noteGGUF notes the head of a GGUF file. One longer than is read tells nothing.
func (r *modelReader) noteGGUF(f wantedFile, head []byte, said *weights.GGUF, err error) error {
	switch {
	case err != nil && !errors.Is(err, weights.ErrShort):
		r.noteWrong(f.Path, err)
		return nil
	case err != nil && int64(len(head)) == f.Size:
		r.noteWrong(f.Path, err)
		return nil
	}
	r.noteHead(f, head)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ggufs[f.Path] = said
	return nil
}

// readHead reads the first bytes of a file, at most as many as it has.
func (r *modelReader) readHead(ctx context.Context, f wantedFile, most int64) ([]byte, error) {
	return r.fetch.ReadPart(ctx, r.request(f), 0, min(most, f.Size))
}

// noteHead notes how a file begins.
func (r *modelReader) noteHead(f wantedFile, head []byte) {
	code := ""
	if !weights.IsSafetensors(f.Path) {
		code = weights.CodeByContent(head)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heads[f.Path] = &lock.ModelHead{Size: int64(len(head)), SHA256: digest.FromBytes(head)}
	if code != "" {
		r.code[f.Path] = code
	}
}

func (r *modelReader) noteWrong(file string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, fmt.Sprintf("%s: %v", file, err))
}

// noteContent notes what the whole content of a file says.
func (r *modelReader) noteContent(file string, data []byte) {
	switch {
	case weights.IsSafetensors(file):
		r.noteSafetensors(file, data)
		return
	case weights.IsGGUF(file):
		said, err := weights.ParseGGUF(data, int64(len(data)))
		if err != nil {
			r.noteWrong(file, err)
			return
		}
		r.mu.Lock()
		r.ggufs[file] = said
		r.mu.Unlock()
		return
	case weights.IsIndex(file):
		x, err := weights.ParseIndex(data)
		if err != nil {
			r.noteWrong(file, err)
			return
		}
		r.mu.Lock()
		r.set.Indexes[file] = x
		r.mu.Unlock()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if isDescription(file) {
		r.texts[file] = data
	}
	if code := weights.CodeByContent(data[:min(len(data), weights.SniffLength)]); code != "" {
		r.code[file] = code
	}
}

func (r *modelReader) noteSafetensors(file string, data []byte) {
	length, err := weights.HeaderLength(data, int64(len(data)))
	if err == nil {
		var header *weights.Header
		if header, err = weights.ParseHeader(data[weights.PrefixLength:weights.PrefixLength+length], int64(len(data))); err == nil {
			r.mu.Lock()
			r.set.Headers[file] = header
			r.mu.Unlock()
			return
		}
	}
	r.noteWrong(file, err)
}

// inFolder says whether a file lies directly in the model's own folder.
func inFolder(file string) bool { return path.Dir(file) == "." && !strings.HasPrefix(file, ".") }
