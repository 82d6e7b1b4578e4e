package sign_test

import (
	"errors"
	"testing"
	"time"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/testkit/bundletest"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestCheckTerm holds both ends of a statement's time, to the second.
func TestCheckTerm(t *testing.T) {
	const created, expires = "2026-01-02T00:00:00Z", "2026-02-01T00:00:00Z"
	for name, c := range map[string]struct {
		created, expires, now string
		want                  error
	}{
		"a day too early":       {created, expires, "2026-01-01T00:00:00Z", nil},
		"more than a day":       {created, expires, "2025-12-31T23:59:59Z", sign.ErrClock},
		"last second":           {created, expires, "2026-01-31T23:59:59Z", nil},
		"expiry itself":         {created, expires, expires, sign.ErrExpired},
		"another zone":          {created, "2026-02-01T00:00:00-01:00", "2026-02-01T00:30:00Z", nil},
		"never expires":         {created, "", "2100-01-01T00:00:00Z", nil},
		"expiry is no time":     {created, "soon", "2026-01-03T00:00:00Z", sign.ErrExpired},
		"creation is no time":   {"", expires, "2026-01-03T00:00:00Z", sign.ErrPredicate},
		"clock behind, no term": {created, "", "1970-01-01T00:00:00Z", sign.ErrClock},
	} {
		err := sign.CheckTerm(bundle.Predicate{Created: c.created, Expires: c.expires}, at(t, c.now))
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestOpenHoldsTheClockAgainstTheTerm(t *testing.T) {
	b := bundletest.Make(t, bundletest.Options{Expires: "2026-02-01T00:00:00Z"})
	for name, c := range map[string]struct {
		now   string
		allow bool
		want  error
		warn  int
	}{
		"in time":             {"2026-01-31T23:59:59Z", false, nil, 0},
		"expired":             {"2026-02-01T00:00:00Z", false, sign.ErrExpired, 0},
		"expired and allowed": {"2026-02-01T00:00:00Z", true, nil, 1},
		"not made yet":        {"2025-12-30T00:00:00Z", false, sign.ErrClock, 0},
		"that is no expiry":   {"2025-12-30T00:00:00Z", true, sign.ErrClock, 0},
	} {
		var rec event.Recorder
		opened, err := sign.Open([]string{b.Dir}, []string{b.KeyFile}, sign.OpenOptions{Now: at(t, c.now), AllowExpired: c.allow, Sink: &rec})
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		for _, one := range opened {
			if err := one.Close(); err != nil {
				t.Error(err)
			}
		}
		if got := rec.Events(); len(got) != c.warn || (c.warn > 0 && got[0].Kind != event.Warning) {
			t.Errorf("%s: events %+v", name, got)
		}
	}
}
