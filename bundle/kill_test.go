package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
)

// The test binary runs itself as a writer that kills itself with SIGKILL after a
// given number of bytes, again and again, until one run reaches the end.
const (
	killDir   = "CAISSON_TEST_KILL_DIR"
	killAfter = "CAISSON_TEST_KILL_AFTER"
)

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
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
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
	w.noteEvery = mib
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
		burning.burn(len(m))
	}
	if err := w.Flush(context.Background()); err != nil {
		return err
	}
	burning.burn(mib) // between the last slot and the head
	if _, err := w.Seal(context.Background(), f.contents()); err != nil {
		return err
	}
	burning.burn(mib) // sealed, not closed
	return w.Close()
}

// fetch fills a slot and says so first on standard output.
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
	_, err = sw.Commit()
	return err
}

// durableSlots is what a journal says is finished, read from a copy of it.
type durableSlots map[int]bool

func (d durableSlots) job(jobRecord) error         { return nil }
func (d durableSlots) progress(int, []sum) bool    { return true }
func (d durableSlots) commit(slot int, _ sum) bool { d[slot] = true; return true }
func (d durableSlots) reset(slot int) bool         { delete(d, slot); return true }

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
	if _, err := j.replay(d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestKilledAtAnyMoment(t *testing.T) {
	f := killFixture()
	whole := t.TempDir()
	f.write(t, whole, WriterOptions{VolumeSize: 2 * mib})
	want := digests(t, whole)
	for seed := range uint64(3) {
		dir := t.TempDir()
		kills := killUntilDone(t, dir, rand.New(rand.NewPCG(seed, 1)))
		if kills < 8 {
			t.Errorf("only %d kills", kills)
		}
		if got := digests(t, dir); !maps.Equal(got, want) {
			t.Errorf("after %d kills the bytes differ: %v", kills, got)
		}
	}
}

// killUntilDone requires that no slot is fetched that was finished before, and
// that partial ones are not fetched from the start when blocks were noted.
func killUntilDone(t *testing.T, dir string, rng *rand.Rand) (kills int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for {
		before := readDurable(t, dir)
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), killDir+"="+dir, killAfter+"="+strconv.Itoa(rng.IntN(8*mib)))
		var mu sync.Mutex
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &lockedWriter{w: &out, mu: &mu}, &lockedWriter{w: &errs, mu: &mu}
		err := cmd.Run()
		for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
			var slot, offset int
			if _, e := fmt.Sscanf(line, "fetch %d %d", &slot, &offset); e == nil && before[slot] {
				t.Errorf("slot %d was finished and is fetched again", slot)
			}
		}
		if err == nil {
			return kills
		}
		if errs.Len() > 0 {
			t.Fatalf("writer failed: %s", errs.String())
		}
		if kills++; kills > 500 {
			t.Fatal("no progress")
		}
	}
}

type lockedWriter struct {
	w  io.Writer
	mu *sync.Mutex
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
