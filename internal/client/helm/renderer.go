package helm

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/caisson/caisson/internal/rules/document"
)

// Workers render charts, as many side by side as there are workers, each in a process
// of its own that hostile templates may bring down.
//
// A process may render several charts, one after another: starting it takes longer
// than most charts do. A template is run by Go's own interpreter of templates and has
// no way to what a chart before left in the process. Where a process has rendered
// before and ends without an answer, a fresh one is asked the same, so that what one
// chart used up harms no other. A process that was told something of the cluster
// renders no other chart.
type Workers struct {
	command []string
	free    chan struct{} // has room for as many as may render

	mu   sync.Mutex
	idle []*process
}

// NewWorkers makes as many workers as are given. command calls Work in a process that
// bounds itself; without one, charts are rendered in this process, as tests do. They
// are started when they are needed. The caller closes them.
func NewWorkers(command []string, most int) *Workers {
	return &Workers{command: command, free: make(chan struct{}, max(most, 1))}
}

// Close ends the workers that nobody has.
func (w *Workers) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.idle {
		_ = p.end()
	}
	w.idle = nil
}

// Open makes a Renderer for a chart. The caller closes it.
func (w *Workers) Open(c *Chart) *Renderer {
	return &Renderer{workers: w, chart: c, known: map[documentKey]*keptDocument{}}
}

// Renderer renders one chart, as often as is needed, one rendering after another. It
// has a worker from its first rendering on until it is closed.
type Renderer struct {
	workers    *Workers
	chart      *Chart
	working    bool     // it has a worker
	process    *process // of the worker; nil before the first rendering, and after one without an answer
	renderings int
	known      map[documentKey]*keptDocument
	bytes      int // of the known documents
}

// Chart is what is rendered.
func (r *Renderer) Chart() *Chart { return r.chart }

// takeWorker waits for a worker.
func (r *Renderer) takeWorker(ctx context.Context) error {
	if r.working {
		return nil
	}
	select {
	case r.workers.free <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	r.working = true
	r.workers.mu.Lock()
	defer r.workers.mu.Unlock()
	if n := len(r.workers.idle); n > 0 {
		r.process, r.workers.idle = r.workers.idle[n-1], r.workers.idle[:n-1]
	}
	return nil
}

// Close gives the worker back. Another rendering waits for one again, and is to be
// followed by Close again.
func (r *Renderer) Close() {
	if !r.working {
		return
	}
	p := r.process
	if r.process = nil; p != nil && p.told {
		_ = p.end()
		p = nil
	}
	if p != nil {
		p.chart, p.sent = nil, nil
		r.workers.mu.Lock()
		r.workers.idle = append(r.workers.idle, p)
		r.workers.mu.Unlock()
	}
	r.working = false
	<-r.workers.free
}

// Render renders as the function of that name does. Documents that were rendered
// before share their text.
func (r *Renderer) Render(ctx context.Context, opt RenderOptions) (Rendering, error) {
	if err := r.takeWorker(ctx); err != nil {
		return Rendering{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, renderTimeout)
	defer cancel()
	if len(r.workers.command) == 0 {
		return r.renderHere(ctx, opt)
	}
	made, err := r.askProcess(ctx, opt)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	var said workerProblem
	if err != nil && !errors.As(err, &said) { // which names the chart itself
		err = fmt.Errorf("rendering chart %s %s: %w", r.chart.Name(), r.chart.Version(), err)
	}
	return made, err
}

func (r *Renderer) renderHere(ctx context.Context, opt RenderOptions) (Rendering, error) {
	made, err := Render(ctx, r.chart, opt)
	if err != nil {
		return made, err
	}
	got := r.beginRendering()
	for _, d := range made.Documents {
		if _, err := got.addDocument(d); err != nil {
			return Rendering{}, err
		}
	}
	return got.end(made.Notes), nil
}

// askProcess asks the process, and a fresh one where it has rendered before and ends
// without an answer. Templates that bring a process down, or do not end, cost nothing
// but the process.
func (r *Renderer) askProcess(ctx context.Context, opt RenderOptions) (Rendering, error) {
	used := r.process != nil && r.process.rendered
	made, err := r.askOnce(ctx, opt)
	if used && errors.Is(err, ErrWorker) && ctx.Err() == nil {
		made, err = r.askOnce(ctx, opt)
	}
	return made, err
}

func (r *Renderer) askOnce(ctx context.Context, opt RenderOptions) (_ Rendering, err error) {
	if r.process == nil {
		if r.process, err = startProcess(r.workers.command); err != nil {
			return Rendering{}, err
		}
	}
	made, err := r.process.render(ctx, r, opt)
	if _, said := errors.AsType[workerProblem](err); err == nil || said {
		return made, err
	}
	ended := r.process.end()
	r.process = nil
	if errors.Is(err, ErrWorker) && ended != nil {
		err = fmt.Errorf("%w: %w", ErrWorker, ended)
	}
	return Rendering{}, err
}

// keptDocument is a document that a chart rendered to.
type keptDocument struct {
	document.Document
	counted   document.Expansion // it alone
	rendering int                // that had it first, from 1
}

// collected are the documents of one rendering, counted, as they come.
type collected struct {
	of        *Renderer
	rendering Rendering
	expanded  document.Expansion
}

// beginRendering begins another rendering.
func (r *Renderer) beginRendering() *collected {
	r.renderings++
	return &collected{of: r}
}

// addDocument adds a document. What is kept of it stands for it from then on.
func (c *collected) addDocument(d document.Document) (*keptDocument, error) {
	kept := c.of.known[keyOf(d)]
	if kept == nil {
		kept = &keptDocument{Document: d, rendering: c.of.renderings}
		if err := kept.counted.Add(d.Source); err != nil {
			return nil, tooLargeDocument(d, err)
		}
		if isKept(c.of.bytes, d) {
			c.of.known[keyOf(d)] = kept
			c.of.bytes += len(d.Source)
		}
	}
	return kept, c.addKept(kept, d.Line)
}

// addKept adds a document that may be known already.
func (c *collected) addKept(kept *keptDocument, line int) error {
	d := kept.Document
	d.Line = line
	if err := c.expanded.AddCounted(kept.counted); err != nil {
		return tooLargeDocument(d, err)
	}
	c.rendering.Documents = append(c.rendering.Documents, d)
	if kept.rendering == c.of.renderings {
		c.rendering.Fresh = append(c.rendering.Fresh, d)
	}
	return nil
}

func (c *collected) end(notes string) Rendering {
	c.rendering.Notes = notes
	return c.rendering
}
