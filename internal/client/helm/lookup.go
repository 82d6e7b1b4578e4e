package helm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/caisson/caisson/internal/api/plan"
)

// Lookup answers what templates ask with `lookup`: the object, a list with its
// items, or nothing. It must not change anything and may be called for the same
// question again.
type Lookup func(context.Context, plan.Question) (map[string]any, error)

// Bounds of the answers to one rendering.
const (
	maxQuestions  = 1000
	maxQuestion   = 1024     // bytes of one
	maxAnswer     = 8 << 20  // bytes of one, as JSON
	maxAllAnswers = 64 << 20 // bytes of all
)

// errQuestions says that a chart asks for more than one rendering may.
var errQuestions = fmt.Errorf("%w: the templates look up too much", ErrTooLarge)

// budgetedLookup encodes answers within the bounds of one rendering.
type budgetedLookup struct {
	answer    Lookup
	questions int
	bytes     int
}

func (b *budgetedLookup) encode(ctx context.Context, q plan.Question) (json.RawMessage, error) {
	if size := len(q.String()); size > maxQuestion {
		return nil, fmt.Errorf("%w: a question has %d bytes", errQuestions, size)
	}
	if b.questions++; b.questions > maxQuestions {
		return nil, fmt.Errorf("%w: more than %d questions", errQuestions, maxQuestions)
	}
	found, err := b.answer(ctx, q)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	data, err := json.Marshal(found)
	if err != nil {
		return nil, fmt.Errorf("encoding the answer: %w", err)
	}
	if b.bytes += len(data); len(data) > maxAnswer || b.bytes > maxAllAnswers {
		return nil, fmt.Errorf("%w: the answer about %s has %d bytes", errQuestions, q, len(data))
	}
	return data, nil
}

// lookupProvider gives Helm's engine clients that pass each question on. Whether
// a kind has namespaces is known to whoever answers.
type lookupProvider struct {
	ctx    context.Context
	answer Lookup
}

// GetClientFor implements Helm's engine.ClientProvider.
func (p lookupProvider) GetClientFor(apiVersion, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	return lookupClient{provider: p, question: plan.Question{APIVersion: apiVersion, Kind: kind}}, true, nil
}

// lookupClient is one kind, perhaps in one namespace. Only what `lookup` calls is
// there.
type lookupClient struct {
	dynamic.NamespaceableResourceInterface
	provider lookupProvider
	question plan.Question
}

func (c lookupClient) Namespace(namespace string) dynamic.ResourceInterface {
	c.question.Namespace = namespace
	return c
}

func (c lookupClient) Get(_ context.Context, name string, _ metav1.GetOptions, _ ...string) (*unstructured.Unstructured, error) {
	c.question.Name = name
	found, err := c.ask()
	if err != nil {
		return nil, err
	}
	return &unstructured.Unstructured{Object: found}, nil
}

func (c lookupClient) List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	found, err := c.ask()
	if err != nil {
		return nil, err
	}
	return (&unstructured.Unstructured{Object: found}).ToList()
}

// ask answers nothing as Helm's engine wants to hear it.
func (c lookupClient) ask() (map[string]any, error) {
	found, err := c.provider.answer(c.provider.ctx, c.question)
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", c.question, err)
	}
	if len(found) == 0 {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: c.question.Kind}, c.question.Name)
	}
	return found, nil
}

// errNoAnswer: the program that asked for a rendering does not answer.
var errNoAnswer = errors.New("nobody answers")
