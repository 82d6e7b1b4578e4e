package pack_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/upstreamtest"
)

// advanced packs, lets the upstream move on, resolves again and returns where the older
// bundle lies and what lies between the two locks.
func (w *world) advanced() (older string, between lock.Changes) {
	w.t.Helper()
	older = w.t.TempDir()
	w.pack(w.options(older))
	before := w.readLock()
	if err := w.up.Advance(); err != nil {
		w.t.Fatal(err)
	}
	w.resolve("stack.yaml")
	return older, lock.Diff(before, w.readLock())
}

func (w *world) readLock() *lock.Lock {
	w.t.Helper()
	l, err := lock.Read(w.lock)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// TestReuse fetches what the older bundle does not have, as many bytes as diff counts,
// and makes the same bundle as a pack that fetches everything.
func TestReuse(t *testing.T) {
	w := newWorld(t)
	older, between := w.advanced()
	out := t.TempDir()
	opt := w.options(out)
	opt.Reuse = []string{older}
	r := w.pack(opt)
	if r.Fetched != between.AddedBytes || r.Fetched == 0 || r.Reused != r.Payload-r.Fetched || r.Reused == 0 {
		t.Errorf("%d of %d bytes were fetched and %d reused; between the locks lie %d", r.Fetched, r.Payload, r.Reused, between.AddedBytes)
	}
	for path, c := range w.up.Stats().Paths {
		if strings.HasSuffix(path, "/driver.run") && c.Gets > 0 {
			t.Errorf("%s was fetched", path)
		}
	}
	whole := t.TempDir()
	w.pack(w.options(whole))
	sameFiles(t, snapshot(t, out), snapshot(t, whole))
	h, err := cargo.Find("test", out)
	if err != nil || len(h) != 1 {
		t.Errorf("%d bundles, %v", len(h), err)
	}
}

// TestReuseProvesWhatItCopies: a damaged older bundle costs what is damaged, and makes no
// difference to the newer one.
func TestReuseProvesWhatItCopies(t *testing.T) {
	w := newWorld(t)
	older, between := w.advanced()
	volumes, err := filepath.Glob(filepath.Join(older, "*.vol-*.tar"))
	if err != nil || len(volumes) < 3 {
		t.Fatalf("%d volumes, %v", len(volumes), err)
	}
	data, err := os.ReadFile(volumes[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] ^= 1
	}
	if err := os.WriteFile(volumes[0], data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(volumes[1]); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	opt := w.options(out)
	opt.Reuse = []string{older}
	var heard event.Recorder
	r, err := pack.Run(t.Context(), opt, &heard)
	if err != nil {
		t.Fatal(err)
	}
	warned := 0
	for _, e := range heard.Events() {
		if e.Kind == event.Warning && strings.Contains(e.Message, "cannot be reused, and is fetched") {
			warned++
		}
	}
	if warned == 0 || r.Fetched <= between.AddedBytes || r.Reused == 0 || r.Fetched+r.Reused != r.Payload {
		t.Errorf("%d warnings; %d bytes were fetched and %d reused of %d", warned, r.Fetched, r.Reused, r.Payload)
	}
	whole := t.TempDir()
	w.pack(w.options(whole))
	sameFiles(t, snapshot(t, out), snapshot(t, whole))
	opt.Output, opt.Reuse = t.TempDir(), []string{t.TempDir()}
	if _, err := pack.Run(t.Context(), opt, nil); !errors.Is(err, cargo.ErrNoBundle) {
		t.Errorf("a folder without a bundle: %v", err)
	}
}

// TestRowsSayHowTheyEnded: what was begun and is not complete ends with a word.
func TestRowsSayHowTheyEnded(t *testing.T) {
	w := newWorld(t)
	armed := w.up.Fault(upstreamtest.Fault{Match: driver, Kind: upstreamtest.Stall, After: 10, Times: 1})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-armed.Fired(); cancel() }()
	opt := w.options(t.TempDir())
	opt.Fetch.Stall = time.Minute
	ends := func(ctx context.Context, item string) (messages []string) {
		var heard event.Recorder
		if _, err := pack.Run(ctx, opt, &heard); err == nil {
			t.Error("no error")
		}
		for _, e := range heard.Events() {
			if e.Kind == event.End && strings.Contains(e.Item, item) {
				messages = append(messages, e.Message)
			}
		}
		return messages
	}
	if got := ends(ctx, "/driver:"); len(got) != 1 || !strings.HasPrefix(got[0], "interrupted at ") || !strings.HasSuffix(got[0], "of 3.00 MiB") {
		t.Errorf("interrupted, the row says %q", got)
	}
	w.up.Fault(upstreamtest.Fault{Match: driver, Kind: upstreamtest.Status, Status: 404})
	opt.Output = t.TempDir()
	if got := ends(t.Context(), "/driver:"); len(got) != 1 || !strings.HasPrefix(got[0], "failed at 0 B of") {
		t.Errorf("failed, the row says %q", got)
	}
}
