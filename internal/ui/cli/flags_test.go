package cli

import (
	"testing"
	"time"
)

func TestByteSize(t *testing.T) {
	for in, want := range map[string]int64{
		"4000MiB": 4000 << 20, "4GiB": 4 << 30, "4g": 4 << 30, "650MB": 650e6, "1.5 GiB": 3 << 29, "1048576": 1 << 20, "0": 0,
	} {
		var b byteSize
		if err := b.Set(in); err != nil || int64(b) != want {
			t.Errorf("%q: %d, %v", in, b, err)
		}
		if again := b; b != 0 && (again.Set(b.String()) != nil || again != b) {
			t.Errorf("%q: String() = %q", in, b.String())
		}
	}
	for _, in := range []string{"", "-1", "x", "1 parsec", "99999999999TiB", "1e3"} {
		var b byteSize
		if err := b.Set(in); err == nil {
			t.Errorf("%q: taken as %d", in, b)
		}
	}
}

func TestSpan(t *testing.T) {
	for in, want := range map[string]time.Duration{"90d": 90 * 24 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute} {
		var d span
		if err := d.Set(in); err != nil || time.Duration(d) != want {
			t.Errorf("%q: %s, %v", in, time.Duration(d), err)
		}
	}
	for _, in := range []string{"", "0", "-1h", "0d", "-3d", "99999999d", "soon"} {
		var d span
		if err := d.Set(in); err == nil {
			t.Errorf("%q: taken as %s", in, time.Duration(d))
		}
	}
}
