package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/caisson/caisson/internal/testkit/bundletest"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

// running are the upstreams of the scripts under way.
var running sync.Map // *testscript.TestScript → *upstreamtest.Upstream

// upstream starts a test upstream, writes what belongs to it into the working
// directory and sets UPSTREAM to its registry's address.
func upstream(ts *testscript.TestScript, neg bool, args []string) {
	u, err := upstreamtest.Start(upstreamtest.Options{})
	ts.Check(err)
	ts.Defer(func() {
		running.Delete(ts)
		_ = u.Close()
	})
	running.Store(ts, u)
	ts.Check(u.WriteDir(ts.MkAbs(".")))
	ts.Setenv("UPSTREAM", u.Addresses().Registry)
}

func upstreamOf(ts *testscript.TestScript) *upstreamtest.Upstream {
	u, ok := running.Load(ts)
	if !ok {
		ts.Fatalf("no upstream was started")
	}
	return u.(*upstreamtest.Upstream)
}

// fault KIND PATTERN [KEY=N]... arms a fault; "fault clear" disarms all.
func fault(ts *testscript.TestScript, neg bool, args []string) {
	u := upstreamOf(ts)
	if len(args) == 1 && args[0] == "clear" {
		u.ClearFaults()
		return
	}
	if len(args) < 2 {
		ts.Fatalf("usage: fault KIND PATTERN [times=N] [after=N] [add=N] [status=N]")
	}
	f := upstreamtest.Fault{Kind: upstreamtest.Kind(args[0]), Match: regexp.MustCompile(args[1])}
	for _, a := range args[2:] {
		key, text, _ := strings.Cut(a, "=")
		n, err := strconv.ParseInt(text, 10, 64)
		ts.Check(err)
		switch key {
		case "times":
			f.Times = int(n)
		case "after":
			f.After = n
		case "add":
			f.Add = n
		case "status":
			f.Status = int(n)
		default:
			ts.Fatalf("fault: unknown key %q", key)
		}
	}
	u.Fault(f)
}

// advance publishes the upstream's next generation.
func advance(ts *testscript.TestScript, neg bool, args []string) { ts.Check(upstreamOf(ts).Advance()) }

// fetched [!] fails when the upstream was asked for a blob since the last time
// (with "!": when it was not).
func fetched(ts *testscript.TestScript, neg bool, args []string) {
	u := upstreamOf(ts)
	n := len(u.Stats().Blobs)
	u.ResetStats()
	if (n > 0) == neg {
		ts.Fatalf("the upstream sent %d blobs", n)
	}
}

// registry NAME [sparse] starts an empty OCI registry and puts its address into
// $NAME. With sparse it takes indexes whose children it lacks.
func registry(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 && (len(args) != 2 || args[1] != "sparse") {
		ts.Fatalf("usage: registry NAME [sparse]")
	}
	r := bundletest.NewRegistry(scriptTB{ts: ts}, len(args) == 2)
	ts.Setenv(args[0], r.Host)
}

// scriptTB lets helpers for tests work within a script.
type scriptTB struct {
	testing.TB
	ts *testscript.TestScript
}

func (scriptTB) Helper()                             {}
func (s scriptTB) Cleanup(f func())                  { s.ts.Defer(f) }
func (s scriptTB) Fatal(args ...any)                 { s.ts.Fatalf("%s", fmt.Sprint(args...)) }
func (s scriptTB) Fatalf(format string, args ...any) { s.ts.Fatalf(format, args...) }
func (s scriptTB) Logf(format string, args ...any)   { s.ts.Logf(format, args...) }

// jsonhas FILE PATH=VALUE... wants one line of JSON in FILE (or stdout) that has
// each value at its dotted path; PATH alone wants any value that is not empty.
func jsonhas(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: jsonhas FILE PATH=VALUE...")
	}
	found := false
	scan := bufio.NewScanner(strings.NewReader(ts.ReadFile(args[0])))
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		var line any
		if err := json.Unmarshal(scan.Bytes(), &line); err != nil {
			ts.Fatalf("not JSON: %v: %s", err, scan.Text())
		}
		found = found || hasAll(line, args[1:])
	}
	if found == neg {
		ts.Fatalf("a line with %s: %v", strings.Join(args[1:], " "), found)
	}
}

func hasAll(line any, wants []string) bool {
	for _, w := range wants {
		path, value, exact := strings.Cut(w, "=")
		got, ok := at(line, strings.Split(path, "."))
		if !ok || (exact && fmt.Sprint(got) != value) || (!exact && fmt.Sprint(got) == "") {
			return false
		}
	}
	return true
}

func at(v any, path []string) (any, bool) {
	for _, step := range path {
		switch x := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = x[step]; !ok {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	if f, ok := v.(float64); ok && f == float64(int64(f)) {
		return int64(f), true
	}
	return v, true
}

// exitcode N COMMAND ARG... runs a command that must end with exit code N. Its
// output is compared like that of exec.
func exitcode(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exitcode N COMMAND ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// flip FILE OFFSET inverts one byte; a negative offset counts from the end.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	offset := offsetIn(ts, f, args[1])
	b := make([]byte, 1)
	_, err = f.ReadAt(b, offset)
	ts.Check(err)
	b[0] = ^b[0]
	_, err = f.WriteAt(b, offset)
	ts.Check(err)
}

func offsetIn(ts *testscript.TestScript, f *os.File, text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	ts.Check(err)
	if n < 0 {
		end, err := f.Seek(0, io.SeekEnd)
		ts.Check(err)
		n += end
	}
	return n
}

// cut FILE SIZE shortens a file; a negative size counts from its end.
func cut(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: cut FILE SIZE")
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	ts.Check(f.Truncate(offsetIn(ts, f, args[1])))
}

// freeport NAME puts a free loopback address into $NAME.
func freeport(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: freeport NAME")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	ts.Setenv(args[0], l.Addr().String())
}

// answers URL waits until URL answers 200.
func answers(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: answers URL")
	}
	req, err := http.NewRequest(http.MethodGet, args[0], nil)
	ts.Check(err)
	req.Header.Set("Accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, */*")
	deadline := time.Now().Add(30 * time.Second)
	for {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
			err = errors.New(resp.Status)
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not answer: %v", args[0], err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// until FILE waits until FILE is there.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: until FILE")
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not appear", args[0])
		}
		<-time.After(20 * time.Millisecond)
	}
}

// envsubst FILE puts variables into FILE where it names them: $NAME.
func envsubst(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: envsubst FILE")
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(path, []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o644))
}
