package kustomize

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/fetch"
)

// open fetches a source, once for all who ask, and fills in what is known of it from then
// on. A digest that is there already must be met.
func (b *Builder) open(ctx context.Context, s *lock.BuildSource) (*Archive, error) {
	a, err := b.fetchOnce(ctx, s)
	if err != nil {
		return nil, err
	}
	if s.Digest != "" && s.Digest != a.Digest {
		return nil, &DiffersError{s.URL, s.Digest, a.Digest}
	}
	s.Digest, s.Size, s.Commit = a.Digest, a.Size, a.Commit
	return a, nil
}

func (b *Builder) fetchOnce(ctx context.Context, s *lock.BuildSource) (*Archive, error) {
	key := fmt.Sprint(s.Archive, " ", s.URL)
	b.mu.Lock()
	get, known := b.archives[key]
	if !known {
		from := *s
		get = sync.OnceValues(func() (*Archive, error) { return b.download(ctx, &from) })
		b.archives[key] = get
	}
	b.mu.Unlock()
	a, err := get()
	if err != nil && !known {
		b.mu.Lock() // another try may have more luck
		delete(b.archives, key)
		b.mu.Unlock()
	}
	return a, err
}

func (b *Builder) download(ctx context.Context, s *lock.BuildSource) (*Archive, error) {
	if !s.Archive {
		data, err := ReadYAML(ctx, b.fetch, s.URL)
		if err != nil {
			return nil, err
		}
		return oneFile(s.FileName(), data)
	}
	f, err := openKept()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dst := &download{file: f, url: fetch.Redact(s.URL)}
	if err := b.fetch.Stream(ctx, fetch.Request{URL: s.URL, Size: -1}, dst); err != nil {
		return nil, err
	}
	a, err := readArchive(ctx, io.NewSectionReader(f, 0, dst.n))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", fetch.Redact(s.URL), err)
	}
	return a, nil
}

// ReadYAML fetches one file of YAML. An archive is ErrArchive.
func ReadYAML(ctx context.Context, client *fetch.Client, url string) ([]byte, error) {
	data, _, err := client.Get(ctx, url, maxFile)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(data, gzipMagic) {
		return nil, fmt.Errorf(
			"reading %s: %w: say with kustomize which folder of it is built, or with files what is taken from it",
			fetch.Redact(url), ErrArchive)
	}
	return data, nil
}

// download is a fetch.Dst in a file.
type download struct {
	file *os.File
	n    int64
	url  string
}

func (d *download) Offset() int64 { return d.n }

func (d *download) Reset() error {
	d.n = 0
	return d.file.Truncate(0)
}

func (d *download) Write(p []byte) (int, error) {
	if d.n+int64(len(p)) > maxFetched {
		return 0, fmt.Errorf("reading %s: %w", d.url, ErrTooLarge)
	}
	n, err := d.file.WriteAt(p, d.n)
	d.n += int64(n)
	return n, err
}
