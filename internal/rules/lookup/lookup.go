// Package lookup holds the rules of Helm's `lookup`: which questions of a
// template are about the release itself, which are a finding, and what of an
// answer counts.
//
// It asks nothing: package helm carries the questions, package kube the answers.
package lookup

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
	"github.com/caisson/caisson/internal/rules/lint"
)

// Scope is whose templates ask.
type Scope struct {
	Chart     string
	Release   string
	Namespace string       // of the component
	Afresh    bool         // what there is of the release is removed before it is installed
	Rules     []lock.Allow // what the stack allows
}

// Outside says why a question is not the release's own matter, or "". found is
// what the cluster has, nil for nothing.
func (s Scope) Outside(q plan.Question, found map[string]any) string {
	switch {
	case s.IsNamespace(q):
		return ""
	case q.Namespace == "" && q.Name == "":
		return "it asks for all that there are"
	case q.Namespace == "":
		return "it belongs to the whole cluster"
	case q.Namespace != s.Namespace:
		return "it is in another namespace than the component's"
	case q.APIVersion == "v1" && q.Kind == "Secret" && !s.owns(found):
		return "it is a Secret that is not the release's own"
	}
	return ""
}

// IsNamespace says whether a question is about the component's own namespace.
func (s Scope) IsNamespace(q plan.Question) bool {
	return q.APIVersion == "v1" && q.Kind == "Namespace" && q.Namespace == "" && q.Name == s.Namespace
}

// Owns says whether a question is about the component's namespace, or about what
// is the release's own in it or not there yet: installing the release changes the
// answer.
func (s Scope) Owns(q plan.Question, found map[string]any) bool {
	return s.IsNamespace(q) || (q.Namespace == s.Namespace && s.owns(found))
}

// owns says whether everything that was found is marked as the release's.
func (s Scope) owns(found map[string]any) bool {
	if len(found) == 0 {
		return true
	}
	if items, list := found["items"].([]any); list {
		return !slices.ContainsFunc(items, func(item any) bool {
			o, _ := item.(map[string]any)
			return !s.marked(o)
		})
	}
	return s.marked(found)
}

// marked says whether an object bears the marks that Helm puts on a release's
// objects, or the label that charts put on what their hooks make.
func (s Scope) marked(found map[string]any) bool {
	metadata, _ := found["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if name, ok := annotations[object.AnnotationRelease]; ok {
		return name == s.Release && annotations[object.AnnotationReleaseNamespace] == s.Namespace
	}
	labels, _ := metadata["labels"].(map[string]any)
	return labels["app.kubernetes.io/instance"] == s.Release
}

// Gone says whether an object will be removed before the release is installed, so
// that its templates must not find it.
func (s Scope) Gone(found map[string]any) bool {
	metadata, _ := found["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	return s.Afresh && annotations["helm.sh/resource-policy"] != "keep" &&
		annotations[object.AnnotationRelease] == s.Release && annotations[object.AnnotationReleaseNamespace] == s.Namespace
}

// Finding is what a question outside comes to.
func (s Scope) Finding(q plan.Question, why string) lint.Finding {
	return lint.Finding{
		Code: event.CodeLookup, Template: s.Chart, Text: q.String(),
		What: fmt.Sprintf("a template looks up %s in the cluster; %s", q, why),
		Why:  "what is installed then depends on what is not the component's own, and what is read can be copied anywhere",
		Fix:  "turn it off in the chart's values",
	}
}

// Allowed says whether the stack allows a finding.
func (s Scope) Allowed(f lint.Finding) bool {
	open, _, _ := lint.Settle([]lint.Finding{f}, s.Rules)
	return len(open) == 0
}

// volatile are the fields of metadata that change while an object stays what it
// is. They and the status are neither shown to templates nor counted.
var volatile = []string{"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"}

// Prune takes out of an object, or of a list's items, what templates are not
// shown: what its digest does not cover cannot decide what is installed.
func Prune(found map[string]any) {
	delete(found, "status")
	if metadata, ok := found["metadata"].(map[string]any); ok {
		for _, key := range volatile {
			delete(metadata, key)
		}
		delete(metadata, "continue")
	}
	items, _ := found["items"].([]any)
	for _, item := range items {
		if o, ok := item.(map[string]any); ok {
			Prune(o)
		}
	}
}

// Digest is the digest of an answer in canonical JSON: sorted keys, no spaces.
// Nothing is "null".
func Digest(found map[string]any) (digest.Digest, error) {
	if len(found) == 0 {
		return digest.FromString("null"), nil
	}
	data, err := json.Marshal(found)
	if err != nil {
		return "", fmt.Errorf("encoding an answer: %w", err)
	}
	return digest.FromBytes(data), nil
}
