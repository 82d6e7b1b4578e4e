package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
	"github.com/caisson/caisson/internal/ui/explain"
)

// packName is what the demo stack's bundle is called.
const packName = "demo-1.0.0"

// road is a working directory beside a test upstream, with a home of its own.
type road struct {
	t   *testing.T
	up  *upstreamtest.Upstream
	dir string
}

func newRoad(t *testing.T) *road {
	t.Helper()
	r := &road{t: t, up: upstreamtest.New(t, upstreamtest.Options{}), dir: t.TempDir()}
	for name, value := range map[string]string{
		"HOME": t.TempDir(), "CAISSON_PASSWORD": "correct horse", "SOURCE_DATE_EPOCH": "1767225600",
		"HF_TOKEN": "", "NETRC": "", "DOCKER_CONFIG": t.TempDir(), "XDG_STATE_HOME": "", "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": "", "XDG_DATA_HOME": "",
	} {
		t.Setenv(name, value)
	}
	if err := r.up.WriteDir(r.dir); err != nil {
		t.Fatal(err)
	}
	return r
}

// packedRoad is one that has the demo stack's lock and its signed bundle in out.
func packedRoad(t *testing.T, volumeSize string) *road {
	t.Helper()
	r := newRoad(t)
	r.must("keys", "generate", "--out", r.path("keys"))
	r.resolve()
	r.must("pack", r.path("demo.lock.yaml"), "-o", r.path("out"), "--upstreams", r.path("upstreams.yaml"),
		"--signing-key", r.path("keys/caisson.key"), "--volume-size", volumeSize)
	return r
}

func (r *road) resolve() {
	r.t.Helper()
	r.must("resolve", "-f", r.path("stack.yaml"), "-o", r.path("demo.lock.yaml"), "--upstreams", r.path("upstreams.yaml"))
}

func (r *road) path(name string) string { return filepath.Join(r.dir, filepath.FromSlash(name)) }

func (r *road) key() string { return r.path("keys/caisson.pub") }

// said is how a command line ended.
type said struct {
	code     int
	out, err string
}

// events reads the lines of --output json.
func (s said) events(t *testing.T) []event.Event {
	t.Helper()
	var all []event.Event
	for line := range strings.Lines(s.out) {
		var e event.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("not an event: %v: %s", err, line)
		}
		all = append(all, e)
	}
	return all
}

// findings are those among the events.
func (s said) findings(t *testing.T) []event.Finding {
	t.Helper()
	var all []event.Finding
	for _, e := range s.events(t) {
		if e.Finding != nil {
			all = append(all, *e.Finding)
		}
	}
	return all
}

// say runs a command line in this process.
func say(ctx context.Context, args ...string) said {
	var out, errs bytes.Buffer
	code := Run(ctx, args, Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	return said{code, out.String(), errs.String()}
}

func (r *road) must(args ...string) said {
	r.t.Helper()
	s := say(r.t.Context(), args...)
	if s.code != explain.Done {
		r.t.Fatalf("caisson %s: exit code %d\n%s%s", strings.Join(args, " "), s.code, s.out, s.err)
	}
	return s
}

func (r *road) lock() *lock.Lock {
	r.t.Helper()
	l, err := lock.Read(r.path("demo.lock.yaml"))
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// tools are the independent readers.
type tools struct {
	t   *testing.T
	bin string
	dir string // where they run
}

// needTools skips a test where the readers are not built, and fails it where
// tests must not be left out.
func needTools(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("CAISSON_TEST_TOOLS_BIN")
	switch {
	case bin == "" && os.Getenv("CAISSON_TEST_REQUIRE") == "":
		t.Skip("crane, cosign, helm and oras are not built: set CAISSON_TEST_TOOLS_BIN to what test/build.sh tools prints")
	case bin == "":
		t.Fatal("CAISSON_TEST_TOOLS_BIN is not set: run test/build.sh tools")
	}
	return bin
}

// command runs a line of shell with the tools in its PATH.
func (s tools) command(line string) (string, error) {
	cmd := exec.CommandContext(s.t.Context(), "sh", "-ec", line)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PATH="+s.bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s tools) run(line string) string {
	s.t.Helper()
	out, err := s.command(line)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}
