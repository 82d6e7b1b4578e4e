package cli

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
	"github.com/caisson/caisson/internal/ui/explain"
)

const (
	kills    = 20
	killSeed = 7
)

// packing starts caisson pack as a process of its own.
func (r *road) packing(out string, workers int) *exec.Cmd {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "caisson", "pack", r.path("demo.lock.yaml"), "-o", r.path(out), "--upstreams", r.path("upstreams.yaml"),
		"--signing-key", r.path("keys/caisson.key"), "--volume-size", "1MiB", "--sequence", "1", "--workers", strconv.Itoa(workers))
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	return cmd
}

// TestPackKilled kills pack with SIGKILL at twenty moments, each time inside a
// blob chosen by chance, after a number of its bytes chosen by chance, with a
// number of workers chosen by chance. What it leaves in the end is what one
// undisturbed run with other workers writes, and what was complete when it was
// killed is not fetched again.
func TestPackKilled(t *testing.T) {
	r := newRoad(t)
	r.must("keys", "generate", "--out", r.path("keys"))
	r.resolve()
	if err := r.packing("clean", 7).Wait(); err != nil {
		t.Fatal(err)
	}
	r.up.ResetStats()
	rng := rand.New(rand.NewPCG(killSeed, killSeed))
	complete := map[int]int64{} // slot → how often its content had been asked for
	inside := 0
	for n := range kills {
		r.up.ClearFaults()
		i := r.pick(rng, complete)
		s := r.lock().Slots()[i]
		after := rng.Int64N(s.Size)
		armed := r.up.Fault(upstreamtest.Fault{Match: contentOf(s), Kind: upstreamtest.Stall, After: after})
		cmd := r.packing("killed", 1+rng.IntN(4))
		r.holds(armed, cmd, n%2 == 0)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("kill %d: pack ended by itself: %v", n, err)
		}
		if after > 0 {
			inside++
		}
		r.complete(complete)
	}
	r.up.ClearFaults()
	if err := r.packing("killed", 3).Wait(); err != nil {
		t.Fatal(err)
	}
	stats, lost := r.up.Stats(), 0
	for _, c := range stats.Blobs {
		if c.Ended > 1 {
			lost++ // sent whole, and pack was killed before that was on disk
		}
	}
	t.Logf("killed %d times, %d of them inside a blob; %d blobs were complete before the last run, %d were lost in memory", kills, inside, len(complete), lost)
	if len(complete) == 0 {
		t.Error("no blob was complete before the last run")
	}
	for i, n := range complete {
		s := r.lock().Slots()[i]
		if got := stats.Sum(contentOf(s)).Gets; got != n {
			t.Errorf("%s was complete and asked for %d times more", s.Items, got-n)
		}
	}
	r.same("clean", "killed")
	r.must("verify", r.path("killed"), "--key", r.key())
}

// pick chooses among the blobs that pack would fetch next.
func (r *road) pick(rng *rand.Rand, complete map[int]int64) int {
	r.t.Helper()
	var rest []int
	for i, s := range r.lock().Slots() {
		if _, done := complete[i]; !done && s.Size > 0 && contentOf(s) != nil {
			rest = append(rest, i)
		}
	}
	if len(rest) == 0 {
		r.t.Fatal("nothing is left to be killed in")
	}
	return rest[rng.IntN(len(rest))]
}

// contentOf matches the path that a blob is fetched from, nil for a local file
// and a model's layer, which comes from many.
func contentOf(s lock.Slot) *regexp.Regexp {
	if s.Parts != nil || len(s.Sources) == 0 {
		return nil
	}
	switch src := s.Sources[0]; src.Kind {
	case lock.FromRegistry:
		return regexp.MustCompile("/blobs/" + regexp.QuoteMeta(string(s.Digest)) + "$")
	case lock.FromURL:
		u, err := url.Parse(src.URL)
		if err != nil {
			return nil
		}
		return regexp.MustCompile("^" + regexp.QuoteMeta(u.Path) + "$")
	}
	return nil
}

// holds waits until an upstream stalls, and with patience until pack has
// written down what is complete by then or has had the time to.
func (r *road) holds(armed *upstreamtest.Armed, cmd *exec.Cmd, patience bool) {
	r.t.Helper()
	select {
	case <-armed.Fired():
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		r.t.Fatalf("the upstream was not asked for %s", armed.Match)
	}
	if !patience {
		return
	}
	journal := r.path("killed/" + packName + ".pack-journal")
	before, _ := os.Stat(journal)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(time.Second); time.Now().Before(end); <-poll.C {
		if now, err := os.Stat(journal); err == nil && (before == nil || now.Size() > before.Size()) {
			return
		}
	}
}

// complete notes what a killed run had finished, and how often it had been asked
// for.
func (r *road) complete(done map[int]int64) {
	r.t.Helper()
	l := r.lock()
	var slots []bundle.Slot
	for _, s := range l.Slots() {
		slots = append(slots, bundle.Slot{Key: s.Key, Digest: s.Digest, Size: s.Size})
	}
	w, err := bundle.Create(context.Background(), r.path("killed"), packName, l.Digest(), slots, bundle.WriterOptions{VolumeSize: 1 << 20})
	if err != nil {
		r.t.Fatal(err)
	}
	defer w.Close()
	stats := r.up.Stats()
	for i, s := range l.Slots() {
		if _, known := done[i]; !known && w.Finished(i) && contentOf(s) != nil {
			done[i] = stats.Sum(contentOf(s)).Gets
		}
	}
}

// same requires equal heads, volumes and ledgers in two directories.
func (r *road) same(a, b string) {
	r.t.Helper()
	list, err := os.ReadDir(r.path(a))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range list {
		if strings.HasSuffix(f.Name(), ".sigstore.json") {
			continue // ECDSA signatures differ
		}
		x, err := os.ReadFile(filepath.Join(r.path(a), f.Name()))
		if err != nil {
			r.t.Fatal(err)
		}
		if y, err := os.ReadFile(filepath.Join(r.path(b), f.Name())); err != nil || !bytes.Equal(x, y) {
			r.t.Errorf("%s differs: %v", f.Name(), err)
		}
	}
	more, err := os.ReadDir(r.path(b))
	if err != nil || len(more) != len(list) {
		r.t.Errorf("%d files, not %d: %v", len(more), len(list), err)
	}
}

// TestInterrupted: either signal ends pack in order, with a code of its own.
func TestInterrupted(t *testing.T) {
	r := newRoad(t)
	r.must("keys", "generate", "--out", r.path("keys"))
	r.resolve()
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		armed := r.up.Fault(upstreamtest.Fault{Match: regexp.MustCompile("/driver.run$"), Method: "GET", Kind: upstreamtest.Stall, After: 100})
		cmd := r.packing("out", 2)
		r.holds(armed, cmd, false)
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != explain.Interrupted {
			t.Errorf("%v: exit code %d", signal, got)
		}
		if _, err := os.Stat(r.path("out/" + packName + ".head.tar")); err == nil {
			t.Errorf("%v: the bundle is sealed", signal)
		}
		r.up.ClearFaults()
	}
	if err := r.packing("out", 2).Wait(); err != nil {
		t.Error(err)
	}
}
