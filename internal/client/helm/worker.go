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

	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/caisson/caisson/internal/rules/document"
	"github.com/caisson/caisson/internal/rules/lookup"
)

// ErrWorker: the process that renders charts ended without an answer, as it does
// when a chart's templates use up its memory or its stack.
var ErrWorker = errors.New("rendering ended without an answer")

// Bounds of what passes between a worker and the program that asks it.
const (
	maxAsked    = 2*MaxArchiveSize + 2*maxValues // base64 and text
	maxAnswered = 4*document.MaxBytes + 2*maxNotes + maxQuestions*4096
	maxLastWord = 16 << 10 // bytes kept of a worker's error stream
)

// programName is what a worker is called, whatever its file is.
const programName = "caisson"

// renderRequest is what a worker is asked.
type renderRequest struct {
	Archive []byte        `json:"archive"`
	Options RenderOptions `json:"options"`
	Lookups bool          `json:"lookups"` // questions are answered
}

// workerMessage is what a worker says: a question of a template, or what the
// rendering came to.
type workerMessage struct {
	Question  *lookup.Question    `json:"question,omitempty"`
	Documents []document.Document `json:"documents,omitempty"`
	Notes     string              `json:"notes,omitempty"`
	Problem   string              `json:"problem,omitempty"`  // why there are no documents
	TooLarge  bool                `json:"tooLarge,omitempty"` // the problem is ErrTooLarge
}

// lookupReply is what a worker hears of its question.
type lookupReply struct {
	Found   json.RawMessage `json:"found,omitempty"`
	Problem string          `json:"problem,omitempty"`
}

// Work is the worker's side: it reads one request from in, renders, and writes
// the answer to out. Before that it may write questions, each of which is
// answered on in. Only a request that is none is an error. The caller bounds the
// process beforehand; out must not keep what is written to it.
func Work(ctx context.Context, in io.Reader, out io.Writer) error {
	decoder := json.NewDecoder(io.LimitReader(in, maxAsked+2*maxAllAnswers))
	var q renderRequest
	if err := decoder.Decode(&q); err != nil {
		return fmt.Errorf("reading what to render: %w", err)
	}
	if q.Options.Later {
		setClockAhead()
	}
	pipe := workerPipe{decoder, json.NewEncoder(out)}
	if q.Options.Lookup = nil; q.Lookups {
		q.Options.Lookup = pipe.ask
	}
	r, err := q.render(ctx)
	answer := workerMessage{Documents: r.Documents, Notes: r.Notes}
	if err != nil {
		answer = workerMessage{Problem: err.Error(), TooLarge: errors.Is(err, ErrTooLarge)}
	}
	return pipe.out.Encode(answer)
}

func (q renderRequest) render(ctx context.Context) (Rendering, error) {
	c, err := LoadArchive(q.Archive)
	if err != nil {
		return Rendering{}, err
	}
	return Render(ctx, c, q.Options)
}

// workerPipe is the worker's end of the way to the program that asked it.
type workerPipe struct {
	in  *json.Decoder
	out *json.Encoder
}

// ask is a Lookup.
func (p workerPipe) ask(_ context.Context, q lookup.Question) (map[string]any, error) {
	if err := p.out.Encode(workerMessage{Question: &q}); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	var r lookupReply
	if err := p.in.Decode(&r); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	if r.Problem != "" {
		return nil, errors.New(r.Problem)
	}
	if len(r.Found) == 0 {
		return nil, nil
	}
	var found map[string]any
	if err := utiljson.Unmarshal(r.Found, &found); err != nil { // whole numbers as Helm has them
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return found, nil
}

// renderApart asks a worker. Templates that bring it down, or do not end, cost
// nothing but the worker: it is killed when ctx ends.
func renderApart(ctx context.Context, c *Chart, opt RenderOptions) (Rendering, error) {
	r, err := askWorker(ctx, c, opt)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	var said workerProblem
	if err != nil && !errors.As(err, &said) { // which names the chart itself
		err = fmt.Errorf("rendering chart %s %s: %w", c.Name(), c.Version(), err)
	}
	return r, err
}

func askWorker(ctx context.Context, c *Chart, opt RenderOptions) (Rendering, error) {
	cmd := exec.CommandContext(ctx, opt.Worker[0], opt.Worker[1:]...)
	cmd.Args[0] = programName
	cmd.Env = []string{} // nothing of the operator's
	cmd.Dir = "/"
	last := &reply{max: maxLastWord}
	cmd.Stderr = last
	in, err := cmd.StdinPipe()
	if err != nil {
		return Rendering{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Rendering{}, err
	}
	if err := cmd.Start(); err != nil {
		return Rendering{}, fmt.Errorf("%w: %w", ErrWorker, err)
	}
	r, err := converse(ctx, in, out, c, opt)
	_ = in.Close()
	var said workerProblem
	if err != nil && !errors.As(err, &said) {
		_ = cmd.Process.Kill() // or it would wait for somebody to read
	}
	ended := cmd.Wait()
	if errors.Is(err, ErrWorker) && ended != nil {
		return Rendering{}, fmt.Errorf("%w: %w%s", ErrWorker, ended, last.said())
	}
	return r, err
}

// converse sends the request, answers the worker's questions and returns what the
// rendering came to.
func converse(ctx context.Context, in io.Writer, out io.Reader, c *Chart, opt RenderOptions) (Rendering, error) {
	answers := &budgetedLookup{answer: opt.Lookup}
	opt.Worker = nil
	to, from := json.NewEncoder(in), json.NewDecoder(io.LimitReader(out, maxAnswered))
	if err := to.Encode(renderRequest{c.archive, opt, opt.Lookup != nil}); err != nil {
		if _, unencodable := errors.AsType[*json.UnsupportedValueError](err); unencodable {
			return Rendering{}, fmt.Errorf("encoding values: %w", err)
		}
		return Rendering{}, fmt.Errorf("%w: %w", ErrWorker, err)
	}
	for {
		var m workerMessage
		if err := from.Decode(&m); err != nil {
			return Rendering{}, fmt.Errorf("%w: %w", ErrWorker, err)
		}
		if m.Question == nil {
			return m.rendering()
		}
		if opt.Lookup == nil {
			return Rendering{}, fmt.Errorf("%w: it asks what it was told not to", ErrWorker)
		}
		if err := to.Encode(answers.reply(ctx, *m.Question)); err != nil {
			return Rendering{}, fmt.Errorf("%w: %w", ErrWorker, err)
		}
	}
}

// reply answers one question for the worker.
func (b *budgetedLookup) reply(ctx context.Context, q lookup.Question) lookupReply {
	data, err := b.encode(ctx, q)
	if err != nil {
		return lookupReply{Problem: err.Error()}
	}
	return lookupReply{Found: data}
}

func (m workerMessage) rendering() (Rendering, error) {
	if m.Problem != "" {
		return Rendering{}, workerProblem{m.Problem, m.TooLarge}
	}
	return Rendering{Documents: m.Documents, Notes: m.Notes}, nil
}

// workerProblem is a worker's word for why there are no documents.
type workerProblem struct {
	text     string
	tooLarge bool
}

func (e workerProblem) Error() string { return e.text }

func (e workerProblem) Unwrap() error {
	if e.tooLarge {
		return ErrTooLarge
	}
	return nil
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
