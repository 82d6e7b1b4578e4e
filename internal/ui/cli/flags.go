package cli

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// byteSize is a flag of bytes: 4000MiB, 4GiB, 650MB or a plain number.
type byteSize int64

var (
	sizeRule  = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) *([A-Za-z]*)$`)
	sizeUnits = map[string]float64{
		"": 1, "B": 1,
		"K": 1 << 10, "KIB": 1 << 10, "M": 1 << 20, "MIB": 1 << 20, "G": 1 << 30, "GIB": 1 << 30, "T": 1 << 40, "TIB": 1 << 40,
		"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	}
)

func (b *byteSize) Set(s string) error {
	m := sizeRule.FindStringSubmatch(s)
	if m == nil {
		return fmt.Errorf("%q is not a size like 4000MiB", s)
	}
	unit, ok := sizeUnits[strings.ToUpper(m[2])]
	if !ok {
		return fmt.Errorf("%q is not a unit of size; known: KiB, MiB, GiB, TiB, KB, MB, GB, TB", m[2])
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil || n*unit >= math.MaxInt64 {
		return fmt.Errorf("%q is too large", s)
	}
	*b = byteSize(n * unit)
	return nil
}

func (b *byteSize) String() string {
	switch n := int64(*b); {
	case n == 0:
		return ""
	case n%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", n>>20)
	default:
		return strconv.FormatInt(n, 10)
	}
}

func (b *byteSize) Type() string { return "SIZE" }

// span is a flag of time that knows days: 90d, 12h.
type span time.Duration

func (d *span) Set(s string) error {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > 36500 {
			return fmt.Errorf("%q is not a number of days like 90d", s)
		}
		*d = span(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil || v <= 0 {
		return fmt.Errorf("%q is not a span of time like 90d or 12h", s)
	}
	*d = span(v)
	return nil
}

func (d *span) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

func (d *span) Type() string { return "DUR" }

// keyFlag adds the public keys that bundles are trusted by.
func keyFlag(f *pflag.FlagSet, keys *[]string) {
	f.StringArrayVar(keys, "key", nil, "public key `FILE.pub` that bundles are trusted by; repeat for more")
}

func expiredFlag(f *pflag.FlagSet, allow *bool) {
	f.BoolVar(allow, "allow-expired", false, "go on although the bundle has expired")
}

func workersFlag(f *pflag.FlagSet, n *int, what string) {
	f.IntVar(n, "workers", 0, what+" side by side, `N` at most (default: what fits this machine)")
}

func upstreamsFlag(f *pflag.FlagSet, path *string) {
	f.StringVar(path, "upstreams", "", "`FILE` (kind Upstreams) that names the mirrors to use")
}

// cluster is the flags that verbs at a cluster share.
type cluster struct {
	kubeconfig, context, stateDir string
}

func (c *cluster) flags(f *pflag.FlagSet) {
	c.connectFlags(f)
	c.stateFlag(f)
}

// connectFlags are those of verbs that keep nothing.
func (c *cluster) connectFlags(f *pflag.FlagSet) {
	f.StringVar(&c.kubeconfig, "kubeconfig", "", "`FILE` that leads to the cluster (default: KUBECONFIG, ~/.kube/config)")
	f.StringVar(&c.context, "context", "", "`NAME` of the context in it (default: the site's, or the current one)")
}

func (c *cluster) stateFlag(f *pflag.FlagSet) {
	f.StringVar(&c.stateDir, "state-dir", "", "`DIR` for the journal's copy (default ~/.local/state/caisson)")
}
