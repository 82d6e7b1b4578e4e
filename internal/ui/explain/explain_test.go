package explain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/api/ledger"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/api/yamlfile"
	"github.com/caisson/caisson/internal/cargo"
	"github.com/caisson/caisson/internal/client/fetch"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/client/registry"
	"github.com/caisson/caisson/internal/client/sign"
	"github.com/caisson/caisson/internal/command/install"
	"github.com/caisson/caisson/internal/command/pack"
	"github.com/caisson/caisson/internal/command/verify"
)

// provoke gives an error for each row that matches by a function.
var provoke = map[string]error{
	"The bundle's lock cannot be read":              fmt.Errorf("%w: %w", bundle.ErrFormat, yamlfile.ErrNoDocument),
	"The file has mistakes":                         &yamlfile.Error{File: "x"},
	"The signature does not count":                  sign.ErrSignature,
	"The bundle is damaged or incomplete":           bundle.ErrMissing,
	"The upstream no longer has what the lock says": fetch.ErrSize,
	"The stack is too large for one bundle":         ledger.ErrTooLarge,
	"The upstream refuses access":                   &fetch.StatusError{Status: 401},
	"The upstream does not have it":                 &fetch.StatusError{Status: 404},
	"The upstream's answer cannot be accepted":      registry.ErrDigest,
	"The upstream failed again and again":           &fetch.StatusError{Status: 503},
	"Another run is changing this cluster":          kube.ErrLocked,
	"It is not clear which stack is meant":          install.ErrManyStacks,
	"Somebody else changed the journal meanwhile":   kube.ErrConflict,
	"The journal in the cluster cannot be read":     kube.ErrDamaged,
}

// TestEveryRowIsReached gives each row an error of its own and wants that row
// and no earlier one to explain it.
func TestEveryRowIsReached(t *testing.T) {
	for _, r := range table {
		err := r.is
		if err == nil {
			err = provoke[r.sentence]
		}
		if err == nil {
			t.Errorf("no error provokes %q", r.sentence)
			continue
		}
		got := Explain(fmt.Errorf("doing something: %w", err))
		if got.Sentence != r.sentence || got.Code != r.code || got.Hint != r.hint {
			t.Errorf("%v is explained by %q, want %q", err, got.Sentence, r.sentence)
		}
		if r.code != Interrupted && !strings.Contains(got.Why, err.Error()) {
			t.Errorf("%q loses the cause: %q", r.sentence, got.Why)
		}
	}
}

// causes is an error of several.
type causes []error

func (c causes) Error() string   { return errors.Join(c...).Error() }
func (c causes) Unwrap() []error { return c }
func (c causes) Causes() []error { return c }

// TestEachCauseIsToldAsItself: what is missing upstream and what is missing here are two
// things, each with its own advice.
func TestEachCauseIsToldAsItself(t *testing.T) {
	gone := func(what string) error { return fmt.Errorf("%s: %w", what, &fetch.StatusError{URL: "u", Status: 404}) }
	alike := Explain(causes{gone("a"), gone("b")})
	if alike.Sentence != "The upstream does not have it" || !strings.Contains(alike.Why, "a: ") || !strings.Contains(alike.Why, "b: ") {
		t.Errorf("of one kind: %+v", alike)
	}
	got := Explain(fmt.Errorf("resolving: %w", causes{gone("a"), fmt.Errorf("web.yaml: %w", fs.ErrNotExist), gone("b"), bundle.ErrNotTrusted}))
	want := []string{
		"The upstream does not have it:\n  a: u answered 404 Not Found\n  b: u answered 404 Not Found\ndo: check the name and version",
		"A file is not there:\n  web.yaml: file does not exist\ndo: check the path",
	}
	for _, w := range want {
		if !strings.Contains(got.Why, w) {
			t.Errorf("%q is missing in\n%s", w, got.Why)
		}
	}
	if got.Sentence != "4 things are wrong, of 3 kinds" || got.Code != NotTrusted || got.Hint == "" {
		t.Errorf("%+v", got)
	}
}

// TestAnUnreadableLockInABundleIsNotForTheReaderToCorrect: whoever reads a lock
// file of their own is told to correct it, whoever has it in a bundle is not.
func TestAnUnreadableLockInABundleIsNotForTheReaderToCorrect(t *testing.T) {
	for _, c := range []struct {
		err  error
		hint string
	}{
		{&yamlfile.Error{File: "lock"}, "correct the lines"},
		{yamlfile.ErrNoDocument, "check apiVersion and kind"},
		{fmt.Errorf("%w: %w", bundle.ErrFormat, &yamlfile.Error{File: "lock"}), "get the bundle again from whoever packed it"},
		{fmt.Errorf("%w: %w", bundle.ErrFormat, yamlfile.ErrNoDocument), "get the bundle again from whoever packed it"},
	} {
		if got := Explain(fmt.Errorf("doing something: %w", c.err)); !strings.Contains(got.Hint, c.hint) || got.Code != Failed {
			t.Errorf("%v: exit code %d, hint %q, want %q", c.err, got.Code, got.Hint, c.hint)
		}
	}
}

func TestRowsReadWell(t *testing.T) {
	for _, r := range table {
		if utf8.RuneCountInString(r.sentence) > 70 || strings.HasSuffix(r.sentence, ".") || r.sentence[0] < 'A' || r.sentence[0] > 'Z' {
			t.Errorf("sentence %q", r.sentence)
		}
		if r.hint == "" || (strings.HasSuffix(r.hint, ".") && !strings.HasSuffix(r.hint, "...")) {
			t.Errorf("%q: hint %q", r.sentence, r.hint)
		}
		if (r.is == nil) == (r.as == nil) {
			t.Errorf("%q: has not exactly one way to match", r.sentence)
		}
	}
}

// TestCodes holds the promise of the exit codes.
func TestCodes(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("anything"), 1},
		{fs.ErrNotExist, 1},
		{syscall.ENOSPC, 1},
		{fmt.Errorf("%w: %w", kube.ErrConfig, fs.ErrNotExist), 1},
		{sign.ErrNoKey, 2},
		{&coded{}, 2},
		{bundle.ErrNotTrusted, 3},
		{verify.ErrNotTrusted, 3},
		{install.ErrOlder, 3},
		{cargo.ErrExpired, 3},
		{cargo.ErrClock, 3},
		{fmt.Errorf("%w: %w", verify.ErrOutOfTerm, cargo.ErrExpired), 3},
		{pack.ErrUnproven, 3},
		{bundle.ErrTampered, 4},
		{verify.ErrDamaged, 4},
		{cargo.ErrNoBundle, 4},
		{plan.ErrPreflight, 5},
		{install.ErrImages, 5},
		{install.ErrDrift, 6},
		{install.ErrIncomplete, 6},
		{install.ErrNotReady, 6},
		{context.Canceled, 130},
	} {
		if got := Code(tc.err); got != tc.want {
			t.Errorf("%v: code %d, want %d", tc.err, got, tc.want)
		}
	}
}

// TestWhatSaysMoreStandsFirst: an error that several rows fit is explained by
// the one that names the thing at fault.
func TestWhatSaysMoreStandsFirst(t *testing.T) {
	for want, err := range map[string]error{
		"The kubeconfig does not lead to a cluster": fmt.Errorf("%w: %w", kube.ErrConfig, fs.ErrNotExist),
		"The cluster does not answer":               fmt.Errorf("%w: %w", kube.ErrUnreachable, syscall.ECONNREFUSED),
	} {
		if got := Explain(err); got.Sentence != want || got.Hint == "" {
			t.Errorf("%v: %+v", err, got)
		}
	}
}

type coded struct{}

func (*coded) Error() string { return "called wrong" }
func (*coded) ExitCode() int { return Usage }
func (*coded) Hint() string  { return "call it right" }

func TestCodedErrorsExplainThemselves(t *testing.T) {
	want := Explanation{Sentence: "called wrong", Hint: "call it right", Code: Usage}
	if got := Explain(fmt.Errorf("x: %w", &coded{})); !reflect.DeepEqual(got, Explanation{Sentence: "x: called wrong", Hint: want.Hint, Code: want.Code}) {
		t.Errorf("got %+v", got)
	}
}
