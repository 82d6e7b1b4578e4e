package helm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/caisson/caisson/internal/rules/document"
)

// ErrWorker: the process that renders charts ended without an answer, as it does
// when a chart's templates use up its memory or its stack.
var ErrWorker = errors.New("rendering ended without an answer")

// Bounds of what passes between a worker and the program that asks it.
const (
	maxAsked    = 2*MaxArchiveSize + 2*maxValues // base64 and text
	maxAnswered = 4 * document.MaxBytes
	maxLastWord = 16 << 10 // bytes kept of a worker's error stream
)

// programName is what a worker is called, whatever its file is.
const programName = "caisson"

// asked is what a worker is asked.
type asked struct {
	Archive []byte        `json:"archive"`
	Options RenderOptions `json:"options"`
}

// answered is what it answers: documents or why there are none.
type answered struct {
	Documents []document.Document `json:"documents"`
	Problem   string              `json:"problem"`
	TooLarge  bool                `json:"tooLarge"` // the problem is ErrTooLarge
}

// Work is the worker's side: it reads one question from in, renders, and writes
// the answer to out. Only a question that is none is an error. The caller bounds
// the process beforehand.
func Work(ctx context.Context, in io.Reader, out io.Writer) error {
	var q asked
	if err := json.NewDecoder(io.LimitReader(in, maxAsked)).Decode(&q); err != nil {
		return fmt.Errorf("reading what to render: %w", err)
	}
	var a answered
	docs, err := q.render(ctx)
	if a.Documents = docs; err != nil {
		a = answered{Problem: err.Error(), TooLarge: errors.Is(err, ErrTooLarge)}
	}
	return json.NewEncoder(out).Encode(a)
}

func (q asked) render(ctx context.Context) ([]document.Document, error) {
	c, err := LoadArchive(q.Archive)
	if err != nil {
		return nil, err
	}
	return Render(ctx, c, q.Options)
}

// renderApart asks a worker. Templates that bring it down, or do not end, cost
// nothing but the worker: it is killed when ctx ends.
func renderApart(ctx context.Context, c *Chart, opt RenderOptions) ([]document.Document, error) {
	worker := opt.Worker
	opt.Worker = nil
	question, err := json.Marshal(asked{c.archive, opt})
	if err != nil {
		return nil, fmt.Errorf("rendering chart %s %s: encoding values: %w", c.Name(), c.Version(), err)
	}
	cmd := exec.CommandContext(ctx, worker[0], worker[1:]...)
	cmd.Args[0] = programName
	cmd.Env = []string{} // nothing of the operator's
	cmd.Dir = "/"
	cmd.Stdin = bytes.NewReader(question)
	answer, last := &reply{max: maxAnswered}, &reply{max: maxLastWord}
	cmd.Stdout, cmd.Stderr = answer, last
	err = cmd.Run()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("rendering chart %s %s: %w", c.Name(), c.Version(), ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("rendering chart %s %s: %w: %w%s", c.Name(), c.Version(), ErrWorker, err, last.said())
	}
	return answer.documents(c)
}

// reply keeps the beginning of what is written to it.
type reply struct {
	bytes.Buffer
	max int
}

func (b *reply) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(b.max-b.Len(), 0))])
	return len(p), nil
}

// said is the first line of an error stream: Go's own word for why it ended.
func (b *reply) said() string {
	line, _, _ := strings.Cut(strings.TrimSpace(b.String()), "\n")
	if line == "" {
		return ""
	}
	return ": " + line
}

func (b *reply) documents(c *Chart) ([]document.Document, error) {
	var a answered
	if err := json.Unmarshal(b.Bytes(), &a); err != nil {
		return nil, fmt.Errorf("rendering chart %s %s: %w: %w", c.Name(), c.Version(), ErrWorker, err)
	}
	switch {
	case a.TooLarge:
		return nil, tooLarge(a.Problem)
	case a.Problem != "":
		return nil, errors.New(a.Problem)
	}
	return a.Documents, nil
}

// tooLarge is a worker's word for what exceeds the limits.
type tooLarge string

func (e tooLarge) Error() string { return string(e) }
func (e tooLarge) Unwrap() error { return ErrTooLarge }
