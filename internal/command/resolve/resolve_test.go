package resolve

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// site is a folder with a stack and the upstream it is resolved against.
type site struct {
	*upstreamtest.Upstream
	testing.TB
	dir    string
	events event.Recorder
}

func newSite(tb testing.TB, opt upstreamtest.Options) *site {
	tb.Helper()
	tb.Setenv("NETRC", filepath.Join(tb.TempDir(), "none"))
	tb.Setenv("DOCKER_CONFIG", tb.TempDir())
	s := &site{Upstream: upstreamtest.New(tb, opt), TB: tb, dir: tb.TempDir()}
	if err := s.WriteDir(s.dir); err != nil {
		tb.Fatal(err)
	}
	return s
}

func (s *site) write(name, text string) {
	s.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.Fatal(err)
	}
}

func (s *site) options(output string) Options {
	return Options{
		Stack: filepath.Join(s.dir, "stack.yaml"), Output: filepath.Join(s.dir, output),
		Upstreams: filepath.Join(s.dir, "upstreams.yaml"), backoff: time.Millisecond,
	}
}

func (s *site) resolve(opt Options) (Result, error) {
	s.Helper()
	return Run(context.Background(), opt, &s.events)
}

func (s *site) mustResolve(opt Options) (Result, []byte) {
	s.Helper()
	r, err := s.resolve(opt)
	if err != nil {
		s.Fatal(err)
	}
	data, err := os.ReadFile(opt.Output)
	if err != nil {
		s.Fatal(err)
	}
	return r, data
}

func TestDemoGolden(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	r, got := s.mustResolve(s.options("demo.lock.yaml"))
	golden := filepath.Join("testdata", "golden", "demo.lock.yaml")
	if *update {
		if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the demo's lock differs from %s:\n%s", golden, got)
	}
	if bytes.Contains(got, []byte("127.0.0.1")) {
		t.Error("the lock names a mirror's address")
	}
	if r.Counts[lock.Image] == 0 || r.Payload == 0 {
		t.Errorf("result %+v", r)
	}
}

func TestSameBytesWhateverTheWorkers(t *testing.T) {
	s := newSite(t, upstreamtest.Options{})
	var first []byte
	for _, workers := range []int{1, 3, 16} {
		opt := s.options("demo.lock.yaml")
		opt.Workers = workers
		_, got := s.mustResolve(opt)
		if first == nil {
			first = got
		}
		if !bytes.Equal(first, got) {
			t.Fatalf("%d workers gave another lock", workers)
		}
	}
}
