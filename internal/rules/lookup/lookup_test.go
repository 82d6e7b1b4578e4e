package lookup

import (
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/api/plan"
	"github.com/caisson/caisson/internal/event"
)

func marked(annotations, labels map[string]any) map[string]any {
	return map[string]any{"metadata": map[string]any{"annotations": annotations, "labels": labels}}
}

func question(apiVersion, kind, namespace, name string) plan.Question {
	return plan.Question{APIVersion: apiVersion, Kind: kind, Namespace: namespace, Name: name}
}

func TestWhatIsOutside(t *testing.T) {
	s := Scope{Chart: "web", Release: "web", Namespace: "team"}
	own := marked(map[string]any{"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "team"}, nil)
	hooked := marked(nil, map[string]any{"app.kubernetes.io/instance": "web"})
	foreign := marked(map[string]any{"meta.helm.sh/release-name": "db", "meta.helm.sh/release-namespace": "team"}, map[string]any{"app.kubernetes.io/instance": "web"})
	unmarked := marked(nil, nil)
	for name, test := range map[string]struct {
		q     plan.Question
		found map[string]any
		why   string
	}{
		"a Secret to come":            {question("v1", "Secret", "team", "s"), nil, ""},
		"the release's Secret":        {question("v1", "Secret", "team", "s"), own, ""},
		"a hook's Secret":             {question("v1", "Secret", "team", "s"), hooked, ""},
		"another release's Secret":    {question("v1", "Secret", "team", "s"), foreign, "not the release's own"},
		"nobody's Secret":             {question("v1", "Secret", "team", "s"), unmarked, "not the release's own"},
		"Secrets, all its own":        {question("v1", "Secret", "team", ""), map[string]any{"items": []any{own, hooked}}, ""},
		"Secrets, one foreign":        {question("v1", "Secret", "team", ""), map[string]any{"items": []any{own, foreign}}, "not the release's own"},
		"a Service beside it":         {question("v1", "Service", "team", "x"), unmarked, ""},
		"another namespace":           {question("v1", "ConfigMap", "kube-system", "x"), nil, "another namespace"},
		"all namespaces":              {question("v1", "ConfigMap", "", ""), nil, "all that there are"},
		"its own namespace":           {question("v1", "Namespace", "", "team"), nil, ""},
		"another Namespace":           {question("v1", "Namespace", "", "kube-system"), nil, "the whole cluster"},
		"all Namespaces":              {question("v1", "Namespace", "", ""), nil, "all that there are"},
		"another group's Namespace":   {question("x.example/v1", "Namespace", "", "team"), nil, "the whole cluster"},
		"another group's own Secrets": {question("x.example/v1", "Secret", "team", "s"), unmarked, ""},
	} {
		got := s.Outside(test.q, test.found)
		if (got == "") != (test.why == "") || !strings.Contains(got, test.why) {
			t.Errorf("%s: %q, want %q", name, got, test.why)
		}
	}
}

func TestWhatTheStackAllows(t *testing.T) {
	q := question("v1", "Namespace", "", "kube-system")
	s := Scope{Chart: "web", Rules: []lock.Allow{{Code: event.CodeLookup, Match: "v1/Namespace kube-*", Reason: "it is told apart by its UID"}}}
	if !s.Allowed(s.Finding(q, "why")) || s.Allowed(s.Finding(question("v1", "Secret", "kube-system", "x"), "why")) {
		t.Error("a rule allows what it does not match, or not what it does")
	}
}

// TestAnswersAreWhatStays: writing an object without a change leaves its digest.
func TestAnswersAreWhatStays(t *testing.T) {
	answer := func(version string) map[string]any {
		return map[string]any{"data": map[string]any{"a": "b"}, "status": version, "metadata": map[string]any{
			"name": "x", "uid": version, "resourceVersion": version, "managedFields": []any{version}, "generation": version, "creationTimestamp": version}}
	}
	digests := map[string]bool{}
	for _, found := range []map[string]any{answer("1"), answer("2"), {"items": []any{answer("1")}}, {"items": []any{answer("2")}}, nil, {}} {
		Prune(found)
		d, err := Digest(found)
		if err != nil {
			t.Fatal(err)
		}
		digests[d.String()] = true
	}
	if len(digests) != 3 {
		t.Errorf("%d answers are told apart, want 3: an object, a list, nothing", len(digests))
	}
}
