package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
)

// The test binary runs itself as a writer that kills itself with SIGKILL after a
// number of bytes, or at a named moment near the end.
const (
	killDir    = "CAISSON_TEST_KILL_DIR"
	killAfter  = "CAISSON_TEST_KILL_AFTER"
	killMoment = "CAISSON_TEST_KILL_MOMENT"
)

var killMoments = []string{"metas", "flushed", "sealed", "never"}

func killFixture() *fixture {
	sizes := []int64{9 * mib, 100, 5*mib + 7, 0, 3 * mib, 13 * mib, 512, 2 * mib}
	for i := range 40 {
		sizes = append(sizes, int64((i+1)*(i+1)*40))
	}
	return newFixture("demo", sizes...).pend(5)
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		if err := writeAndDie(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fuse kills the process when so many bytes have passed.
type fuse struct{ left atomic.Int64 }

func (f *fuse) burn(n int) {
	if f.left.Add(-int64(n)) < 0 {
		die()
	}
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func moment(name string) {
	if os.Getenv(killMoment) == name {
		die()
	}
}

type fused struct {
	io.Reader
	fuse *fuse
}

func (r fused) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p[:min(len(p), 10_000)])
	r.fuse.burn(n)
	return n, err
}

func writeAndDie(dir string) error {
	f := killFixture()
	after, err := strconv.ParseInt(os.Getenv(killAfter), 10, 64)
	if err != nil {
		return err
	}
	burning := &fuse{}
	burning.left.Store(after)
	w, err := Create(context.Background(), dir, f.name, sumOf(f.lock).digest(), f.slots, WriterOptions{VolumeSize: 2 * mib})
	if err != nil {
		return err
	}
	w.noteEvery, w.syncEvery = mib, mib
	var g errgroup.Group
	g.SetLimit(3)
	for i := range f.slots {
		if !w.Finished(i) {
			g.Go(func() error { return f.fetch(w, i, burning) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, m := range f.metas {
		w.PutMeta(m)
		moment("metas")
	}
	if err := w.Flush(context.Background()); err != nil {
		return err
	}
	moment("flushed")
	if _, err := w.Seal(context.Background(), f.contents()); err != nil {
		return err
	}
	moment("sealed")
	return w.Close()
}

// fetch fills a slot and says so before and after on standard output.
func (f *fixture) fetch(w *Writer, i int, burning *fuse) error {
	sw, err := w.Slot(context.Background(), i, nil)
	if err != nil {
		return err
	}
	defer sw.Close()
	fmt.Printf("fetch %d %d\n", i, sw.Offset())
	r := blobReader(f.seeds[i], f.sizes[i])
	if _, err := io.CopyN(io.Discard, r, sw.Offset()); err != nil {
		return err
	}
	if _, err := io.Copy(sw, fused{r, burning}); err != nil {
		return err
	}
	if _, err = sw.Commit(); err != nil {
		return err
	}
	fmt.Printf("done %d\n", i)
	return nil
}

// durableSlots is what a journal says is finished, read from a copy of it.
type durableSlots map[int]bool

func (d durableSlots) replayJob(jobRecord) error         { return nil }
func (d durableSlots) replayProgress(int, []sum) bool    { return true }
func (d durableSlots) replayCommit(slot int, _ sum) bool { d[slot] = true; return true }
func (d durableSlots) replayReset(slot int) bool         { delete(d, slot); return true }

func readDurable(t *testing.T, dir string) durableSlots {
	t.Helper()
	d := durableSlots{}
	b, err := os.ReadFile(filepath.Join(dir, "demo.pack-journal"))
	if errors.Is(err, os.ErrNotExist) {
		return d
	}
	if err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	if err := os.WriteFile(filepath.Join(copied, "demo.pack-journal"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(copied, "demo", true)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if _, err := j.replayRecords(d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestKilledAtAnyMoment(t *testing.T) {
	f := killFixture()
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(5, 1))
	var finished []int
	for i := range 20 {
		if runWriter(t, dir, killAfter+"="+strconv.Itoa(rng.IntN(12*mib))) {
			t.Logf("complete after %d kills", i)
			break
		}
		finished = append(finished, len(readDurable(t, dir)))
	}
	t.Logf("slots finished after each kill: %d", finished)
	if !slices.IsSorted(finished) {
		t.Error("finished slots were lost")
	}
	runWriter(t, dir, killAfter+"=1000000000")
	f.compare(t, dir)
}

func TestKilledNearTheEnd(t *testing.T) {
	f := killFixture()
	dir := t.TempDir()
	for _, m := range killMoments {
		if done := runWriter(t, dir, killAfter+"=1000000000", killMoment+"="+m); done != (m == "never") {
			t.Errorf("moment %s: done %v", m, done)
		}
		if n := len(readDurable(t, dir)); m == "flushed" && n != len(f.slots) {
			t.Errorf("%d of %d slots finished after a flush", n, len(f.slots))
		}
	}
	f.compare(t, dir)
}

// compare requires in dir what an undisturbed writer writes.
func (f *fixture) compare(t *testing.T, dir string) {
	t.Helper()
	whole := t.TempDir()
	f.write(t, whole, WriterOptions{VolumeSize: 2 * mib})
	if got, want := digests(t, dir), digests(t, whole); !maps.Equal(got, want) {
		t.Errorf("the bytes differ: %v", got)
	}
}

// runWriter runs a writer until it dies, or reports that it came to the end. It
// requires that no slot is fetched that was finished before, and that each slot
// it finished is in the journal, however soon it died after that.
func runWriter(t *testing.T, dir string, env ...string) (done bool) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before := readDurable(t, dir)
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), killDir+"="+dir), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if errs.Len() > 0 {
		t.Fatalf("writer failed: %s", &errs)
	}
	after := readDurable(t, dir)
	for line := range strings.Lines(out.String()) {
		var what string
		var slot int
		if _, e := fmt.Sscan(line, &what, &slot); e != nil {
			t.Fatalf("%q: %v", line, e)
		}
		if what == "fetch" && before[slot] {
			t.Errorf("slot %d was finished and is fetched again", slot)
		}
		if what == "done" && err != nil && !after[slot] && len(after) > 0 {
			t.Errorf("slot %d was finished and is forgotten", slot)
		}
	}
	return err == nil
}
