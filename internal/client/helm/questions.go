package helm

import (
	"context"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/client/kube"
	"github.com/caisson/caisson/internal/rules/lint"
	"github.com/caisson/caisson/internal/rules/lookup"
)

// Questions answers what the templates of one release look up, by the rules of
// package lookup, and remembers it: the same question has the same answer. It may
// be used by several renderings at once.
type Questions struct {
	cluster *kube.Client
	stack   string
	scope   lookup.Scope

	mu    sync.Mutex
	asked map[plan.Question]Asked
	told  []string // values of Secrets among the answers
}

// Asked is one question and its answer.
type Asked struct {
	Question plan.Question
	Digest   digest.Digest // of the answer
	Own      bool          // about the release's own objects or its namespace, there or not
	Finding  *lint.Finding // not about them; answered only where the stack allows it

	found map[string]any
}

// NewQuestions answers for a release of a stack from a cluster. Without one there
// is nothing to be found.
func NewQuestions(cluster *kube.Client, stack string, scope lookup.Scope) *Questions {
	return &Questions{cluster: cluster, stack: stack, scope: scope, asked: map[plan.Question]Asked{}}
}

// Asked lists what was asked, sorted.
func (q *Questions) Asked() []Asked {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []Asked
	for _, a := range q.asked {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b Asked) int { return a.Question.Compare(b.Question) })
	return out
}

// Answer is a Lookup.
func (q *Questions) Answer(ctx context.Context, question plan.Question) (map[string]any, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	question, err := q.place(question)
	if err != nil {
		return nil, err
	}
	known, ok := q.asked[question]
	if !ok {
		if known, err = q.ask(ctx, question); err != nil {
			return nil, err
		}
		q.asked[question] = known
		q.remember(question.Kind, known.found)
	}
	return known.found, nil
}

// place writes a question as rules know it, and takes the namespace off kinds that
// have none, as Helm does.
func (q *Questions) place(question plan.Question) (plan.Question, error) {
	question, err := question.Canonical()
	if err != nil || q.cluster == nil {
		return question, err
	}
	scope, err := q.cluster.ScopeOf(question.APIVersion, question.Kind)
	if scope == kube.ClusterWide {
		question.Namespace = ""
	}
	return question, err
}

// ask decides whether a question may be answered and finds the answer. Of what is
// outside nothing is read unless the stack allows it; a Secret of the component's
// namespace must be read to know whose it is.
func (q *Questions) ask(ctx context.Context, question plan.Question) (Asked, error) {
	a := Asked{Question: question}
	why := q.scope.Outside(question, nil)
	if why == "" {
		found, err := q.find(ctx, question)
		if err != nil {
			return a, err
		}
		a.found, why = found, q.scope.Outside(question, found)
		a.Own = why == "" && q.scope.Owns(question, found)
	}
	if why != "" {
		finding := q.scope.Finding(question, why)
		a.Finding = &finding
		allowed := q.scope.Allowed(finding)
		if !allowed {
			a.found = nil
		} else if a.found == nil {
			found, err := q.find(ctx, question)
			if err != nil {
				return a, err
			}
			a.found = found
		}
	}
	var err error
	a.Digest, err = lookup.Digest(a.found)
	return a, err
}

// find reads what is there, less what templates are not shown. The component's
// namespace is there before the component is.
func (q *Questions) find(ctx context.Context, question plan.Question) (map[string]any, error) {
	if q.cluster == nil {
		return nil, nil
	}
	found, err := q.cluster.Find(ctx, question.APIVersion, question.Kind, question.Namespace, question.Name)
	if err == nil && found == nil && q.scope.IsNamespace(question) {
		found, err = kube.FutureNamespace(question.Name, map[string]string{kube.AnnotationOwner: q.stack})
	}
	if err != nil {
		return nil, err
	}
	if q.scope.Gone(found) {
		return nil, nil
	}
	if items, ok := found["items"].([]any); ok {
		found["items"] = slices.DeleteFunc(items, func(item any) bool {
			o, _ := item.(map[string]any)
			return q.scope.Gone(o)
		})
	}
	lookup.Prune(found)
	return found, nil
}
