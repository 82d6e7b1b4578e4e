package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// startPhases returns what is called at the end of each phase: it logs how long
// it took.
func startPhases(t *testing.T) func(what string) {
	began, last := time.Now(), time.Now()
	return func(what string) {
		t.Helper()
		t.Logf("%6.1f s  %6.1f s in all  %s", time.Since(last).Seconds(), time.Since(began).Seconds(), what)
		last = time.Now()
	}
}

// watchMemory measures once a second, until the test ends, and returns what
// tells the most that all processes had at a time, in MiB, without the pages of
// files, which many of them share.
func watchMemory(t *testing.T) func() int64 {
	var peak atomic.Int64
	tick, done := time.NewTicker(time.Second), make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				peak.Store(max(peak.Load(), usedMemory()))
			}
		}
	}()
	return func() int64 { return peak.Load() >> 10 }
}

// usedMemory is the sum over all processes, in KiB. Inside the namespaces these
// are the test's own.
func usedMemory() int64 {
	files, _ := filepath.Glob("/proc/[0-9]*/status") // the pattern is well-formed
	var sum int64
	for _, file := range files {
		text, _ := os.ReadFile(file) // the process may have ended
		for line := range strings.Lines(string(text)) {
			kind, size, _ := strings.Cut(line, ":")
			var n int64
			if kind == "RssAnon" || kind == "RssShmem" {
				_, _ = fmt.Sscan(size, &n) // 0 where it is no number
			}
			sum += n
		}
	}
	return sum
}
