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

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/rules/document"
)

// ErrWorker: the process that renders charts ended without an answer, as it does
// when a chart's templates use up its memory or its stack.
var ErrWorker = errors.New("rendering ended without an answer")

// Bounds of what passes between a worker and the program that asks it.
const (
	maxAsked    = 2*MaxArchiveSize + 2*maxValues // base64 and text
	maxAnswered = 2*document.MaxBytes + 2*maxNotes + maxQuestions*4096
	maxMessage  = 32 << 20 // one document, question or outcome
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

// workerMessage is what a worker says: a question of a template, a document that
// was rendered, or, last, what else the rendering came to.
type workerMessage struct {
	Question *plan.Question     `json:"question,omitempty"`
	Document *document.Document `json:"document,omitempty"` // each on its own: it is read whole
	Notes    string             `json:"notes,omitempty"`
	Problem  string             `json:"problem,omitempty"`  // why there are no documents
	TooLarge bool               `json:"tooLarge,omitempty"` // the problem is ErrTooLarge
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
	pipe := workerPipe{decoder, newEncoder(out)}
	if q.Options.Lookup = nil; q.Lookups {
		q.Options.Lookup = pipe.ask
	}
	r, err := q.render(ctx)
	if err != nil {
		return pipe.out.Encode(workerMessage{Problem: err.Error(), TooLarge: errors.Is(err, ErrTooLarge)})
	}
	for i := range r.Documents {
		if err := pipe.out.Encode(workerMessage{Document: &r.Documents[i]}); err != nil {
			return err
		}
	}
	return pipe.out.Encode(workerMessage{Notes: r.Notes})
}

// newEncoder writes messages as they are: what is meant for HTML would take six
// bytes for one.
func newEncoder(out io.Writer) *json.Encoder {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e
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
func (p workerPipe) ask(_ context.Context, q plan.Question) (map[string]any, error) {
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
	to := newEncoder(in)
	if err := to.Encode(renderRequest{c.archive, opt, opt.Lookup != nil}); err != nil {
		if _, unencodable := errors.AsType[*json.UnsupportedValueError](err); unencodable {
			return Rendering{}, fmt.Errorf("encoding values: %w", err)
		}
		return Rendering{}, fmt.Errorf("%w: %w", ErrWorker, err)
	}
	from, got := newMessages(out), made{}
	for {
		m, err := from.next()
		switch {
		case err != nil:
			return Rendering{}, fmt.Errorf("%w: %w", ErrWorker, err)
		case m.Document != nil:
			if err := got.add(*m.Document); err != nil {
				return Rendering{}, err
			}
			continue
		case m.Question == nil:
			return got.end(m)
		case opt.Lookup == nil:
			return Rendering{}, fmt.Errorf("%w: it asks what it was told not to", ErrWorker)
		}
		if err := to.Encode(answers.reply(ctx, *m.Question)); err != nil {
			return Rendering{}, fmt.Errorf("%w: %w", ErrWorker, err)
		}
	}
}

// messages are those of a worker. Each is bounded, and so are all.
type messages struct {
	limit   io.LimitedReader
	decoder *json.Decoder
}

func newMessages(out io.Reader) *messages {
	m := &messages{limit: io.LimitedReader{R: io.LimitReader(out, maxAnswered)}}
	m.decoder = json.NewDecoder(&m.limit)
	m.decoder.DisallowUnknownFields()
	return m
}

func (m *messages) next() (next workerMessage, err error) {
	m.limit.N = maxMessage
	err = m.decoder.Decode(&next)
	return next, err
}

// made is what a worker has handed over.
type made struct {
	documents []document.Document
	expanded  document.Expansion
}

func (m *made) add(d document.Document) error {
	if err := checkDocument(&m.expanded, d); err != nil {
		return err
	}
	m.documents = append(m.documents, d)
	return nil
}

func (m *made) end(last workerMessage) (Rendering, error) {
	if last.Problem != "" {
		return Rendering{}, workerProblem{last.Problem, last.TooLarge}
	}
	return Rendering{Documents: m.documents, Notes: last.Notes}, nil
}

// reply answers one question for the worker.
func (b *budgetedLookup) reply(ctx context.Context, q plan.Question) lookupReply {
	data, err := b.encode(ctx, q)
	if err != nil {
		return lookupReply{Problem: err.Error()}
	}
	return lookupReply{Found: data}
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
