package helm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/subprocess"
)

// ErrWorker: the process that renders charts ended without an answer, as it does
// when a chart's templates use up its memory or its stack.
var ErrWorker = errors.New("rendering ended without an answer")

// process is a worker as the program sees it that asks.
type process struct {
	started  *subprocess.Process
	to       *json.Encoder
	from     *messages
	chart    *Renderer       // whose chart it has
	sent     []*keptDocument // what that chart's documents with a number are
	bytes    int             // of them
	rendered bool            // it has rendered before
	told     bool            // it was told something that is in the cluster
}

func startProcess(command []string) (*process, error) {
	started, err := subprocess.Start(command)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWorker, err)
	}
	return &process{started: started, to: newEncoder(started.In), from: newMessages(started.Out)}, nil
}

// render asks for one rendering. Without an answer the process is of no more use. It
// is killed when ctx ends.
func (p *process) render(ctx context.Context, r *Renderer, opt RenderOptions) (Rendering, error) {
	stop := context.AfterFunc(ctx, p.started.Kill)
	p.started.Forget()
	made, err := p.converse(ctx, r, opt)
	p.rendered = true
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return made, err
}

// end ends the process and says, of one that ended by itself, why.
func (p *process) end() error { return p.started.End() }

// converse sends the request, answers the worker's questions and returns what the
// rendering came to.
func (p *process) converse(ctx context.Context, r *Renderer, opt RenderOptions) (Rendering, error) {
	if err := p.sendRequest(r, opt); err != nil {
		return Rendering{}, err
	}
	answers, got := &budgetedLookup{answer: opt.Lookup}, r.beginRendering()
	p.from.begin()
	for {
		m, err := p.from.next()
		switch {
		case err != nil:
			return Rendering{}, fmt.Errorf("%w: %w", ErrWorker, err)
		case m.Document != nil || m.Again != nil:
			if err := p.takeDocument(got, m); err != nil {
				return Rendering{}, err
			}
			continue
		case m.Question == nil && m.Problem != "":
			return Rendering{}, workerProblem{m.Problem, m.TooLarge}
		case m.Question == nil:
			return got.end(m.Notes), nil
		case opt.Lookup == nil:
			return Rendering{}, fmt.Errorf("%w: it asks what it was told not to", ErrWorker)
		}
		reply := answers.reply(ctx, *m.Question)
		p.told = p.told || len(reply.Found) > 0
		if err := p.to.Encode(reply); err != nil {
			return Rendering{}, fmt.Errorf("%w: %w", ErrWorker, err)
		}
	}
}

// sendRequest sends what to render, with the chart where the process has another one.
func (p *process) sendRequest(r *Renderer, opt RenderOptions) error {
	q := renderRequest{Options: opt, Lookups: opt.Lookup != nil}
	if p.chart != r {
		q.Archive = r.chart.archive
		p.chart, p.sent, p.bytes = r, nil, 0
	}
	err := p.to.Encode(q)
	if _, unencodable := errors.AsType[*json.UnsupportedValueError](err); unencodable {
		return fmt.Errorf("encoding values: %w", err)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrWorker, err)
	}
	return nil
}

// takeDocument takes over a document, which may be one that came before.
func (p *process) takeDocument(to *collected, m workerMessage) error {
	if m.Document == nil {
		if m.Again.Number < 0 || m.Again.Number >= len(p.sent) {
			return fmt.Errorf("%w: it names a document that it never had", ErrWorker)
		}
		return to.addKept(p.sent[m.Again.Number], m.Again.Line)
	}
	kept, err := to.addDocument(*m.Document)
	if err != nil {
		return err
	}
	if isKept(p.bytes, *m.Document) {
		p.sent = append(p.sent, kept)
		p.bytes += len(m.Document.Source)
	}
	return nil
}

// messages are those of a worker. Each is bounded, and so are all of one rendering.
type messages struct {
	all     io.LimitedReader
	one     io.LimitedReader
	decoder *json.Decoder
}

func newMessages(out io.Reader) *messages {
	m := &messages{}
	m.all.R, m.one.R = out, &m.all
	m.decoder = json.NewDecoder(&m.one)
	m.decoder.DisallowUnknownFields()
	return m
}

// begin begins the messages of another rendering.
func (m *messages) begin() { m.all.N = maxAnswered }

func (m *messages) next() (next workerMessage, err error) {
	m.one.N = maxMessage
	err = m.decoder.Decode(&next)
	return next, err
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
