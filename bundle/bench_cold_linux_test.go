package bundle

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkCheckCold is BenchmarkCheck with the volumes dropped from the page
// cache before each pass.
func BenchmarkCheckCold(b *testing.B) {
	f := benchFixture(b, 16)
	dir := b.TempDir()
	sign(b, dir, f.write(b, dir, WriterOptions{VolumeSize: 256 * mib}))
	tr := openTrusted(b, dir)
	for name, pass := range map[string]func(){
		"check":  func() { _ = tr.Check(context.Background(), CheckOptions{}, func(f Finding) { b.Error(f) }) },
		"sha256": func() { hashFiles(b, dir) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(tr.Table().StreamSize())
			for b.Loop() {
				b.StopTimer()
				dropCache(b, dir)
				b.StartTimer()
				pass()
			}
		})
	}
}

func dropCache(b *testing.B, dir string) {
	paths, _ := filepath.Glob(filepath.Join(dir, "*.vol-*.tar"))
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
