package bundle

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// benchFixture is one large blob, or many of middling size, 512 MiB in all.
func benchFixture(b *testing.B, count int) *fixture {
	sizes := make([]int64, count)
	for i := range sizes {
		sizes[i] = 512 * mib / int64(count)
	}
	return newFixture("bench", sizes...)
}

// patternReader repeats 1 MiB; producing bytes must cost less than taking them.
type patternReader struct{ block []byte }

func (r patternReader) Read(p []byte) (int, error) {
	n := copy(p, r.block)
	return n, nil
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// perGiB reports CPU seconds spent since start for each GiB handled.
func perGiB(b *testing.B, start float64, bytes int64) {
	b.ReportMetric((cpuSeconds()-start)/(float64(bytes)/(1<<30)), "cpu-s/GiB")
}

func BenchmarkWrite(b *testing.B) {
	for _, streams := range []int{1, 4} {
		for _, noSync := range []bool{true, false} {
			b.Run(fmt.Sprintf("streams=%d/nosync=%v", streams, noSync), func(b *testing.B) { benchmarkWrite(b, streams, noSync) })
		}
	}
}

func benchmarkWrite(b *testing.B, streams int, noSync bool) {
	size := int64(512*mib) / int64(streams)
	slots := make([]Slot, streams)
	for i := range slots {
		slots[i] = Slot{Key: fmt.Sprint(i), Size: size}
	}
	content := make([]byte, mib)
	_, _ = io.ReadFull(blobReader(1, mib), content)
	b.SetBytes(size * int64(streams))
	start := cpuSeconds()
	for b.Loop() {
		w, err := Create(context.Background(), b.TempDir(), "bench", sumOf(nil).digest(), slots, WriterOptions{NoSync: noSync})
		if err != nil {
			b.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range slots {
			wg.Go(func() {
				sw, err := w.Slot(context.Background(), i, nil)
				if err == nil {
					_, err = sw.ReadFrom(io.LimitReader(patternReader{content}, size))
				}
				if err == nil {
					_, err = sw.Commit()
				}
				if err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		if err := w.Flush(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		w.Close()
		os.RemoveAll(w.dir)
		b.StartTimer()
	}
	perGiB(b, start, size*int64(streams)*int64(b.N))
}

func BenchmarkCheck(b *testing.B) {
	for _, count := range []int{1, 64, 8192} {
		b.Run(fmt.Sprintf("blobs=%d", count), func(b *testing.B) {
			f := benchFixture(b, count)
			dir := b.TempDir()
			sign(b, dir, f.write(b, dir, WriterOptions{VolumeSize: 100 * mib, NoSync: true}))
			tr := openTrusted(b, dir)
			b.Run("check", func(b *testing.B) {
				b.SetBytes(tr.Table().StreamSize())
				start := cpuSeconds()
				for b.Loop() {
					if err := tr.Check(context.Background(), CheckOptions{}, func(f Finding) { b.Error(f) }); err != nil {
						b.Fatal(err)
					}
				}
				perGiB(b, start, tr.Table().StreamSize()*int64(b.N))
			})
			b.Run("sha256", func(b *testing.B) {
				b.SetBytes(tr.Table().StreamSize())
				start := cpuSeconds()
				for b.Loop() {
					hashFiles(b, dir)
				}
				perGiB(b, start, tr.Table().StreamSize()*int64(b.N))
			})
		})
	}
}

// hashFiles is what Check is measured against: SHA-256 of every volume, the
// volumes spread over all cores.
func hashFiles(b *testing.B, dir string) {
	paths, _ := filepath.Glob(filepath.Join(dir, "*.vol-*.tar"))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			buf := make([]byte, 256<<10)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(paths) {
					return
				}
				f, err := os.Open(paths[i])
				if err != nil {
					b.Error(err)
					return
				}
				h := sha256.New()
				_, _ = io.CopyBuffer(h, struct{ io.Reader }{f}, buf)
				f.Close()
			}
		})
	}
	wg.Wait()
}

func BenchmarkRead(b *testing.B) {
	f := benchFixture(b, 1)
	dir := b.TempDir()
	sign(b, dir, f.write(b, dir, WriterOptions{NoSync: true}))
	tr := openTrusted(b, dir)
	for _, little := range []bool{false, true} {
		b.Run(fmt.Sprintf("sieve=%v", little), func(b *testing.B) {
			blob, err := tr.Open(f.slots[0].Digest)
			if err != nil {
				b.Fatal(err)
			}
			if little {
				blob.rooms = make(rooms)
			}
			b.SetBytes(blob.Size())
			start := cpuSeconds()
			for b.Loop() {
				if _, err := blob.NewReader(0, blob.Size()).WriteTo(io.Discard); err != nil {
					b.Fatal(err)
				}
			}
			perGiB(b, start, blob.Size()*int64(b.N))
		})
	}
}
