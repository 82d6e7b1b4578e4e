package resolve

import (
	"errors"
	"slices"
	"sort"
	"strings"
	"sync"
)

// What a Problem can be about, beside the errors of registry, hub, helm and
// fetch.
var (
	ErrPlatform = errors.New("not built for a platform of the stack")
	ErrForeign  = errors.New("a layer lies outside the registry (urls, or a non-distributable type)")
	ErrDigest   = errors.New("content has another digest")
	ErrCode     = errors.New("files of the model can run code when they are loaded")
	ErrWeights  = errors.New("the model's files contradict each other")
	ErrImports  = errors.New("the model lacks code that it names")
	ErrServe    = errors.New("the model lacks what it takes to serve it for")
	ErrManyGGUF = errors.New("the model is there several times over, in GGUF files of different precision")
	ErrNoMatch  = errors.New("no file of the model matches")
	ErrClash    = errors.New("two different things of the stack have this reference")
)

// Problem is one thing that keeps a stack from being resolved.
type Problem struct {
	Line  int    // in the stack file; 0 where unknown
	Place string // stack.yaml:12: component web: image ghcr.io/acme/web:1
	Err   error
}

func (p Problem) Error() string { return p.Place + ": " + p.Err.Error() }

// Unwrap gives what is wrong.
func (p Problem) Unwrap() error { return p.Err }

// Problems is everything found wrong with a stack, in the order of its lines.
type Problems []Problem

// Error begins each problem on a line of its own; further lines of one are
// indented.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = strings.ReplaceAll(strings.TrimSpace(p[i].Error()), "\n", "\n    ")
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes errors.Is and errors.As look into each problem.
func (p Problems) Unwrap() []error {
	errs := make([]error, len(p))
	for i := range p {
		errs[i] = p[i].Err
	}
	return errs
}

// Causes are the problems one by one, each an error with its place.
func (p Problems) Causes() []error {
	errs := make([]error, len(p))
	for i := range p {
		errs[i] = p[i]
	}
	return errs
}

// problems collects from many goroutines.
type problems struct {
	mu   sync.Mutex
	list Problems
}

func (p *problems) add(problem Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, problem)
}

func (p *problems) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.list) == 0 {
		return nil
	}
	sort.SliceStable(p.list, func(i, j int) bool {
		a, b := p.list[i], p.list[j]
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Error() < b.Error()
	})
	return slices.CompactFunc(p.list, func(a, b Problem) bool { return a.Error() == b.Error() })
}

// stackField is a field of the stack and what stands there.
type stackField struct {
	field string // components[1].images[0]
	what  string // component web: image ghcr.io/acme/web:1
}

// addProblem records err at a field of the stack.
func (s *session) addProblem(at stackField, err error) {
	o := s.stack.Origin(at.field)
	s.problems.add(Problem{Line: o.File.Line(o.Field), Place: o.Place() + ": " + at.what, Err: err})
}
