package resolve

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/imageref"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/client/fetch"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/document"
)

const maxManifestFile = 32 << 20

// resolveFile resolves one file of a component. Its digest comes from the stack, and the
// upstream's content must have it: what differs is found here, before a lock promises it.
func (s *session) resolveFile(ctx context.Context, i, j int) {
	comp := &s.stack.Components[i]
	f := &comp.Files[j]
	at := stackField{
		field: fmt.Sprintf("components[%d].files[%d]", i, j),
		what:  fmt.Sprintf("component %s: file %s", comp.Name, f.Name),
	}
	dg := digest.NewDigestFromEncoded(digest.SHA256, strings.TrimPrefix(f.SHA256, "sha256:"))
	raw := &lock.RawFile{Name: f.Name, URL: f.URL, Digest: dg, MediaType: lock.MediaTypeFile}
	it := rawItem(lock.File, comp.Name, raw, f.URL)
	s.resolveItem(lock.File, string(it.Ref), at, func() (int64, evidence, error) {
		size, err := s.files.do(f.URL+" "+string(dg), func() (int64, error) { return s.proveFile(ctx, string(it.Ref), f.URL, dg) })
		if err != nil {
			return 0, evidence{}, err
		}
		raw.Size = size
		s.found.addItem(it, comp.Name)
		return size, evidence{}, nil
	})
}

// proveFile streams the content at url once, compares it with the digest that the stack
// says, and returns its length.
func (s *session) proveFile(ctx context.Context, item, url string, want digest.Digest) (int64, error) {
	size, _, err := s.fetch.Size(ctx, url)
	if err != nil {
		return 0, err
	}
	c := &counter{hash: sha256.New()}
	c.report = func() {
		s.events.Emit(event.Event{Verb: verb, Kind: event.Progress, Item: item, Bytes: c.n, Total: max(size, 0)})
	}
	if err := s.fetch.Stream(ctx, fetch.Request{URL: url, Size: size, Item: item}, c); err != nil {
		return 0, err
	}
	if got := digest.NewDigest(digest.SHA256, c.hash); got != want {
		return 0, &stack.DiffersError{Want: string(want), Got: string(got)}
	}
	return c.n, nil
}

// reportEvery is how many bytes are read between two reports.
const reportEvery = 4 << 20

// counter is a fetch.Dst that keeps nothing but a length and a hash.
type counter struct {
	n        int64
	hash     hash.Hash
	report   func()
	reported int64
}

func (c *counter) Offset() int64 { return c.n }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	if c.n-c.reported >= reportEvery {
		c.reported = c.n
		c.report()
	}
	return c.hash.Write(p)
}

func (c *counter) Reset() error {
	c.n, c.reported = 0, 0
	c.hash.Reset()
	return nil
}

// resolveManifest resolves one file of plain Kubernetes YAML and finds its images.
func (s *session) resolveManifest(i, j int) {
	comp := &s.stack.Components[i]
	name := comp.Manifests[j]
	at := stackField{
		field: fmt.Sprintf("components[%d].manifests[%d]", i, j),
		what:  fmt.Sprintf("component %s: manifest %s", comp.Name, name),
	}
	s.resolveItem(lock.Manifest, name, at, func() (int64, evidence, error) {
		data, err := s.stack.Origin(at.field).File.Read(name, maxManifestFile)
		if err != nil {
			return 0, evidence{}, err
		}
		raw := &lock.RawFile{Name: filepath.Base(name), Digest: digest.FromBytes(data), Size: int64(len(data)), MediaType: lock.MediaTypeManifest}
		source, err := s.locateManifest(raw, at.field, name)
		if err != nil {
			return 0, evidence{}, err
		}
		_, path, _ := strings.Cut(source, ":")
		docs, err := document.Split(path, string(data))
		if err != nil {
			return 0, evidence{}, err
		}
		s.discoverImages(docs, comp.Name, "manifest "+filepath.ToSlash(filepath.Clean(name)), at)
		it := rawItem(lock.Manifest, comp.Name, raw, source)
		s.found.addItem(it, comp.Name)
		s.found.addManifest(i, j, it.Ref)
		return raw.Size, evidence{}, nil
	})
}

// locateManifest notes in raw where the manifest lies that a field names, and returns the
// same as the item's source.
func (s *session) locateManifest(raw *lock.RawFile, field, name string) (source string, err error) {
	file := s.stack.Origin(field).File
	if file.Shipped() {
		raw.Shipped = path.Clean(name)
		return "caisson:stacks/" + raw.Shipped, nil
	}
	raw.Path, err = s.fromLock(file.Path(name))
	return "file:" + raw.Path, err
}

// fromLock is the slash-separated path from the lock file's folder to a file.
func (s *session) fromLock(path string) (string, error) {
	from, err := filepath.Abs(s.output)
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(from, to)
	if err != nil {
		return "", fmt.Errorf("leading from the lock to %s: %w", path, err)
	}
	return filepath.ToSlash(rel), nil
}

// rawItem is the item of a file or manifest.
func rawItem(kind lock.Kind, component string, f *lock.RawFile, source string) lock.Item {
	return lock.Item{Ref: imageref.Ref(lock.FilesHost + component + "/" + nameInRef(f.Name) + ":" + f.Digest.Encoded()[:12]), Kind: kind, Source: source, Content: f}
}

var notAlphanumeric = regexp.MustCompile(`[^a-z0-9]+`)

// nameInRef spells a file's name as one element of a repository path.
func nameInRef(name string) string {
	name = notAlphanumeric.ReplaceAllStringFunc(strings.ToLower(name), func(run string) string {
		if run == "." || run == "_" || run == "__" {
			return run
		}
		return "-"
	})
	if name = strings.Trim(name, "._-"); name == "" {
		return "file"
	}
	return name
}
