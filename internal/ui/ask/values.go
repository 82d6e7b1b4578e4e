package ask

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	sizeRule  = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) *([A-Za-z]*)$`)
	sizeUnits = map[string]float64{
		"": 1, "B": 1,
		"K": 1 << 10, "KIB": 1 << 10, "M": 1 << 20, "MIB": 1 << 20, "G": 1 << 30, "GIB": 1 << 30, "T": 1 << 40, "TIB": 1 << 40,
		"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	}
)

// parseSize reads bytes: 4000MiB, 4GiB, 650MB or a plain number.
func parseSize(s string) (int64, error) {
	m := sizeRule.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size like 4000MiB", s)
	}
	unit, ok := sizeUnits[strings.ToUpper(m[2])]
	if !ok {
		return 0, fmt.Errorf("%q is not a unit of size; known: KiB, MiB, GiB, TiB, KB, MB, GB, TB", m[2])
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil || n*unit >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is too large", s)
	}
	return int64(n * unit), nil
}

// parseSpan reads a time that knows days: 90d, 12h.
func parseSpan(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > 36500 {
			return 0, fmt.Errorf("%q is not a number of days like 90d", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	v, err := time.ParseDuration(s)
	if err != nil || v <= 0 {
		return 0, fmt.Errorf("%q is not a span of time like 90d or 12h", s)
	}
	return v, nil
}

func parseDuration(s string) (time.Duration, error) { return time.ParseDuration(s) }

func parseNumber(s string) (int64, error) { return strconv.ParseInt(s, 0, 64) }

// checkWith makes a check of a parser.
func checkWith[T any](parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		_, err := parse(s)
		return err
	}
}

// valueOf is the zero value for no answer, and for one that its field's check has
// refused already.
func valueOf[T any](parse func(string) (T, error), said string) T {
	var none T
	if said == "" {
		return none
	}
	v, err := parse(said)
	if err != nil {
		return none
	}
	return v
}

func sizeOf(said string) int64 { return valueOf(parseSize, said) }

func spanOf(said string) time.Duration { return valueOf(parseSpan, said) }

func durationOf(said string) time.Duration { return valueOf(parseDuration, said) }

func numberOf(said string) int64 { return valueOf(parseNumber, said) }
