// Package cli is the command line: it fills the answers of package ask from
// flags, runs the verb, and shows its events and its outcome.
//
// It holds the commands and their help. It never does a verb's work and decides
// nothing that the terminal interface would have to decide again. Nobody imports
// it but main.
package cli

import (
	"context"
	"errors"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"
	"k8s.io/klog/v2"

	"github.com/caisson/caisson/internal/ui/explain"
)

// Streams are where a command reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Main runs the process's command line and returns its exit code. The first
// SIGINT or SIGTERM ends the command in order; a second one ends the process.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	log.SetOutput(io.Discard) // libraries log there and to klog; a verb speaks in events
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	self, err := os.Executable()
	program := ownFile(self, err, os.Args[0])
	return run(ctx, &app{
		streams: Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, lookup: os.LookupEnv,
		args: os.Args[1:], worker: []string{program, "agent", "render"}, builder: []string{program, "agent", "build"},
	})
}

// Run runs one command line and returns its exit code. An ended context is an
// interruption. Charts are rendered in this process, and
// nothing is built.
func Run(ctx context.Context, args []string, s Streams) int {
	return run(ctx, &app{streams: s, lookup: os.LookupEnv, args: args})
}

func run(ctx context.Context, a *app) int {
	a.format = "text"
	root := a.rootCommand()
	root.SetArgs(a.args)
	root.SetIn(a.streams.In)
	root.SetOut(a.streams.Out)
	root.SetErr(a.streams.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return explain.Done
	}
	if ctx.Err() != nil {
		err = context.Canceled
	}
	return a.explainFailure(a.asUsage(root, err))
}

// usageError is a wrong call.
type usageError struct {
	text string
	hint string
}

func (e *usageError) Error() string { return e.text }
func (e *usageError) ExitCode() int { return explain.Usage }
func (e *usageError) Hint() string  { return e.hint }

// asUsage recognises those mistakes in a call that cobra finds by itself.
func (a *app) asUsage(root interface{ CommandPath() string }, err error) error {
	var u *usageError
	if errors.As(err, &u) || !strings.HasPrefix(err.Error(), "unknown command") {
		return err
	}
	return &usageError{text: err.Error(), hint: root.CommandPath() + " --help lists the commands"}
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
