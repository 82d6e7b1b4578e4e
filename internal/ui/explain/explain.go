// Package explain is the one table from an error to what a person should know:
// what happened, what to do next, and the exit code for scripts.
//
// It holds the table alone. It never prints, and never decides what a verb
// does.
package explain

import (
	"errors"
	"strings"
)

// Exit codes, a promise to scripts.
const (
	Done        = 0
	Failed      = 1
	Usage       = 2
	NotTrusted  = 3
	Damaged     = 4
	Preflight   = 5
	Drift       = 6
	Interrupted = 130
)

// Explanation is an error in words.
type Explanation struct {
	Sentence string // what happened
	Why      string // the error's own text; may have several lines; may be empty
	Hint     string // the next command to run, or what to change
	Code     int    // exit code
}

// Coded is an error that brings its own exit code and hint, such as a wrong
// call.
type Coded interface {
	error
	ExitCode() int
	Hint() string
}

// Explain finds the words for err: those of the first row of the table that
// fits. A nil error is explained as done.
func Explain(err error) Explanation {
	if err == nil {
		return Explanation{Code: Done}
	}
	var coded Coded
	if errors.As(err, &coded) {
		return Explanation{Sentence: err.Error(), Hint: coded.Hint(), Code: coded.ExitCode()}
	}
	var many several
	if errors.As(err, &many) {
		if x, differ := explainCauses(many.Causes()); differ {
			return x
		}
	}
	return explainOne(err)
}

// explainOne explains an error by the first row that fits.
func explainOne(err error) Explanation {
	for _, r := range table {
		if r.fits(err) {
			return r.explain(err)
		}
	}
	return Explanation{Sentence: "The command failed", Why: err.Error(), Code: Failed}
}

// Code is the exit code for err alone.
func Code(err error) int { return Explain(err).Code }

// row is one line of the table.
type row struct {
	is       error            // matched by errors.Is
	as       func(error) bool // or by this
	sentence string
	hint     string
	code     int
}

func (r row) fits(err error) bool {
	if r.as != nil {
		return r.as(err)
	}
	return errors.Is(err, r.is)
}

func (r row) explain(err error) Explanation {
	x := Explanation{Sentence: r.sentence, Why: strings.TrimSpace(err.Error()), Hint: r.hint, Code: r.code}
	if r.code == Interrupted {
		x.Why = "" // the one who interrupted knows
	}
	return x
}

// isType matches an error type.
func isType[T error](err error) bool {
	var t T
	return errors.As(err, &t)
}
