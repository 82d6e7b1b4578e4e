package stacks

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caisson/caisson/internal/api/stack"
	"github.com/caisson/caisson/internal/atomicfile"
	"github.com/caisson/caisson/internal/event"
)

// InitOptions say what a new stack file holds.
type InitOptions struct {
	Name     string
	Version  string
	Extends  string   // a stack that comes with the program
	Profiles []string // of it; nil: all
	Output   string   // the file to write
}

// ErrExists: the file to write is there already.
var ErrExists = errors.New("the file is there already")

// Created is a stack file that was written.
type Created struct {
	Path       string
	Stack      *stack.Stack
	Components []string
}

// Init writes a stack file that extends a stack which comes with the program. It
// replaces no file.
func Init(opt InitOptions, sink event.Sink) (Created, error) {
	base, err := stack.ReadShipped(opt.Extends)
	if err != nil {
		return Created{}, err
	}
	cut, err := base.Carried(opt.Profiles)
	if err != nil {
		return Created{}, err
	}
	text := writeStack(opt, cut)
	s, err := stack.ParseStack(opt.Output, []byte(text))
	if err != nil {
		return Created{}, err
	}
	if _, err := os.Lstat(opt.Output); err == nil {
		return Created{}, fmt.Errorf("writing %s: %w", opt.Output, ErrExists)
	}
	if err := atomicfile.Write(opt.Output, []byte(text), 0o644); err != nil {
		return Created{}, err
	}
	out := Created{Path: opt.Output, Stack: s}
	for _, c := range cut.Components {
		out.Components = append(out.Components, c.Name)
	}
	sink.Emit(event.Event{Verb: Verb, Kind: event.Result, Item: opt.Name, Message: opt.Output,
		Fields: map[string]any{"path": opt.Output, "extends": opt.Extends, "components": out.Components}})
	return out, nil
}

// writeStack is the text of a stack that extends another, which cut is the carried part of.
func writeStack(opt InitOptions, cut *stack.Stack) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: caisson.dev/v1alpha1\nkind: Stack\nmetadata: {name: %s, version: %s}\n", opt.Name, opt.Version)
	fmt.Fprintf(&b, "extends: %s # caisson stack show %s\n", opt.Extends, opt.Extends)
	if len(opt.Profiles) > 0 {
		fmt.Fprintf(&b, "carry: [%s] # profiles of it, with what they need\n", strings.Join(cut.Carry, ", "))
	}
	example := cut.Components[0]
	b.WriteString("\n# What differs: a component of the same name adds to the one above, and values merge as Helm's do.\n")
	if len(opt.Profiles) > 0 {
		fmt.Fprintf(&b, "# A component of your own belongs to a profile: profiles: [{name: %s, components: [NAME]}]\n", cut.Carry[0])
	}
	b.WriteString("# components:\n")
	fmt.Fprintf(&b, "#   - name: %s\n", example.Name)
	if len(example.Charts) > 0 {
		fmt.Fprintf(&b, "#     charts:\n#       - name: %s\n#         values: {}\n", example.Charts[0].Name)
	}
	return b.String()
}
