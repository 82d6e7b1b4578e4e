package bytesize

import (
	"math"
	"testing"
)

func TestText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 9: "9 B", 64: "64 B", 1023: "1023 B", 1024: "1.00 KiB", 10 << 10: "10.0 KiB", 100 << 10: "100 KiB", 1023 << 10: "1023 KiB",
		1<<20 - 1: "1.00 MiB", 1<<30 - 1: "1.00 GiB", 1<<40 - 1: "1.00 TiB", 4000 << 20: "3.91 GiB", 1 << 62: "4.00 EiB",
		math.MaxInt64: "8.00 EiB", -2048: "-2.00 KiB", 10239: "10.0 KiB",
	} {
		if got := Text(n); got != want {
			t.Errorf("Text(%d) = %q, want %q", n, got, want)
		}
	}
}
