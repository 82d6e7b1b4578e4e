package helm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/rules/document"
)

// Bounds of what passes between a worker and the program that asks it, for one
// rendering.
const (
	maxAsked    = 2*MaxArchiveSize + 2*maxValues // base64 and text
	maxAnswered = 2*document.MaxBytes + 2*maxNotes + maxQuestions*4096
	maxMessage  = 32 << 20 // one document, question or outcome
)

// renderRequest is what a worker is asked.
type renderRequest struct {
	Archive []byte        `json:"archive,omitempty"` // none: the chart of the request before
	Options RenderOptions `json:"options"`
	Lookups bool          `json:"lookups"` // questions are answered
}

// workerMessage is what a worker says: a question of a template, a document that
// was rendered, or, last, what else the rendering came to.
type workerMessage struct {
	Question *plan.Question     `json:"question,omitempty"`
	Document *document.Document `json:"document,omitempty"` // each on its own: it is read whole
	Again    *documentAgain     `json:"again,omitempty"`    // a document that this chart rendered to before
	Notes    string             `json:"notes,omitempty"`
	Problem  string             `json:"problem,omitempty"`  // why there are no documents
	TooLarge bool               `json:"tooLarge,omitempty"` // the problem is ErrTooLarge
}

// documentAgain names a document that was handed over before.
type documentAgain struct {
	Number int `json:"number"` // among those of the chart, from 0
	Line   int `json:"line"`   // where it stands this time
}

// lookupReply is what a worker hears of its question.
type lookupReply struct {
	Found   json.RawMessage `json:"found,omitempty"`
	Problem string          `json:"problem,omitempty"`
}

// Work is the worker's side: it reads requests from in until there are no more,
// renders, and writes the answers to out. Before an answer it may write questions,
// each of which is answered on in. Only a request that is none is an error, and that
// there is none at all. The caller bounds the process beforehand; out must not keep
// what is written to it.
func Work(ctx context.Context, in io.Reader, out io.Writer) error {
	w := worker{in: newRequests(in), out: newEncoder(out)}
	for n := 0; ; n++ {
		var q renderRequest
		err := w.in.read(&q)
		if n > 0 && errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading what to render: %w", err)
		}
		if err := w.answerRequest(ctx, q); err != nil {
			return err
		}
	}
}

// worker renders for another program, one chart at a time. Nothing of a chart stays
// when the next one comes.
type worker struct {
	in    *requests
	out   *json.Encoder
	chart *Chart
	sent  map[documentKey]int // number of each document of the chart that was handed over
	bytes int                 // of them
}

// requests are what a worker is asked and told. What belongs to one rendering is
// bounded.
type requests struct {
	limit   io.LimitedReader
	decoder *json.Decoder
}

func newRequests(in io.Reader) *requests {
	r := &requests{limit: io.LimitedReader{R: in}}
	r.decoder = json.NewDecoder(&r.limit)
	return r
}

// read reads a request.
func (r *requests) read(q *renderRequest) error {
	r.limit.N = maxAsked + 2*maxAllAnswers
	return r.decoder.Decode(q)
}

// answerRequest renders and hands over what that came to.
func (w *worker) answerRequest(ctx context.Context, q renderRequest) error {
	r, err := w.render(ctx, q)
	if err != nil {
		return w.out.Encode(workerMessage{Problem: err.Error(), TooLarge: errors.Is(err, ErrTooLarge)})
	}
	for _, d := range r.Documents {
		if err := w.handOver(d); err != nil {
			return err
		}
	}
	return w.out.Encode(workerMessage{Notes: r.Notes})
}

func (w *worker) render(ctx context.Context, q renderRequest) (Rendering, error) {
	if q.Archive != nil {
		w.chart, w.sent, w.bytes = nil, map[documentKey]int{}, 0
		c, err := openForRenderings(q.Archive)
		if err != nil {
			return Rendering{}, err
		}
		w.chart = c
	}
	if w.chart == nil {
		return Rendering{}, errNoChart
	}
	setClock(q.Options.Later)
	if q.Options.Lookup = nil; q.Lookups {
		q.Options.Lookup = w.ask
	}
	return Render(ctx, w.chart, q.Options)
}

// errNoChart: a request came without a chart, and there was none before.
var errNoChart = errors.New("no chart to render")

// handOver writes a document, or its number where the chart rendered to it before:
// most documents are the same for every Kubernetes version, and for an install and
// an upgrade.
func (w *worker) handOver(d document.Document) error {
	key := keyOf(d)
	if n, ok := w.sent[key]; ok {
		return w.out.Encode(workerMessage{Again: &documentAgain{n, d.Line}})
	}
	if isKept(w.bytes, d) {
		w.sent[key] = len(w.sent)
		w.bytes += len(d.Source)
	}
	return w.out.Encode(workerMessage{Document: &d})
}

// documentKey tells the documents of one chart apart by what they say.
type documentKey struct {
	template, source string
	crd              bool
}

func keyOf(d document.Document) documentKey { return documentKey{d.Template, d.Source, d.CRD} }

// isKept says whether a document is numbered where those before have so many bytes.
// Both ends of the way go by it.
func isKept(bytes int, d document.Document) bool { return bytes+len(d.Source) <= document.MaxBytes }

// newEncoder writes messages as they are: what is meant for HTML would take six
// bytes for one.
func newEncoder(out io.Writer) *json.Encoder {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e
}

// ask is a Lookup.
func (w *worker) ask(_ context.Context, q plan.Question) (map[string]any, error) {
	if err := w.out.Encode(workerMessage{Question: &q}); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	var r lookupReply
	if err := w.in.decoder.Decode(&r); err != nil {
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
