package ask

import (
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	for in, want := range map[string]int64{
		"4000MiB": 4000 << 20, "4GiB": 4 << 30, "4g": 4 << 30, "650MB": 650e6, "1.5 GiB": 3 << 29, "1048576": 1 << 20, "0": 0,
	} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-1", "x", "1 parsec", "99999999999TiB", "1e3"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("%q: taken as %d", in, got)
		}
	}
}

func TestSpans(t *testing.T) {
	for in, want := range map[string]time.Duration{"90d": 90 * 24 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute} {
		if got, err := parseSpan(in); err != nil || got != want {
			t.Errorf("%q: %s, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "0", "-1h", "0d", "-3d", "99999999d", "soon"} {
		if got, err := parseSpan(in); err == nil {
			t.Errorf("%q: taken as %s", in, got)
		}
	}
}
