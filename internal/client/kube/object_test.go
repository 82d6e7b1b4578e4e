package kube

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/caisson/caisson/internal/api/object"
	"github.com/caisson/caisson/internal/rules/document"
)

func TestParse(t *testing.T) {
	objects, err := Parse([]byte("# comment\n---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n---\n{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"c\"}, \"n\": 12345678901}\n"))
	if err != nil || len(objects) != 3 {
		t.Fatalf("%d objects, %v", len(objects), err)
	}
	if n, ok := objects[2].Object["n"].(int64); !ok || n != 12345678901 {
		t.Errorf("a whole number became %T", objects[2].Object["n"])
	}
	for name, bad := range map[string]string{
		"no kind":    "apiVersion: v1\nmetadata: {name: a}\n",
		"no name":    "apiVersion: v1\nkind: ConfigMap\n",
		"long name":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + strings.Repeat("a", maxIdentity) + "}\n",
		"no mapping": "- a\n- b\n",
		"too large":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: " + strings.Repeat("x", maxDocument) + "}\n",
	} {
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestNoObjectHasItems: an object with items is a list to every client of
// Kubernetes, whatever its kind. Written anew it would be taken apart, and what
// stands in it applied although nobody saw it.
func TestNoObjectHasItems(t *testing.T) {
	const inner = "[{apiVersion: v1, kind: ConfigMap, metadata: {name: smuggled}}]"
	for name, text := range map[string]string{
		"in a list":         "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: ConfigMap, metadata: {name: innocent}, items: " + inner + "}]\n",
		"a list in a list":  "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List, metadata: {name: innocent}, items: " + inner + "}]\n",
		"no list by kind":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: innocent}\nitems: " + inner + "\n",
		"nothing in it":     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: innocent}\nitems: []\n",
		"null":              "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: innocent}\nitems: null\n",
		"a mapping":         "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: innocent}\nitems: {a: b}\n",
		"a list of no list": "apiVersion: v1\nkind: List\nmetadata: {name: innocent}\nitems: {a: b}\n",
	} {
		objects, err := Parse([]byte(text))
		if !errors.Is(err, ErrItems) || !strings.Contains(err.Error(), "innocent") {
			t.Errorf("%s: %d objects, %v", name, len(objects), err)
		}
	}
	const data = "apiVersion: v1\nkind: ConfigMapList\nitems: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {items: x}}]\n"
	if objects, err := Parse([]byte(data)); err != nil || len(objects) != 1 {
		t.Errorf("%d objects, %v", len(objects), err)
	}
}

// TestParseFollowsFewAliases: what a megabyte of text stands for may be gigabytes.
func TestParseFollowsFewAliases(t *testing.T) {
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	text := head + "a: &a " + strings.Repeat("x", 1<<20) + "\nb: [" + strings.Repeat("*a,", 400) + "]\n"
	list := head + "a: &a [" + strings.Repeat("x,", 4000) + "]\nb: [" + strings.Repeat("*a,", 200) + "]\n"
	for name, stream := range map[string]string{"a text": text, "a list": list} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse([]byte(stream))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, document.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 100 {
			t.Errorf("%s: reading %d KiB allocated %d MiB", name, len(stream)>>10, used)
		}
	}
	if _, err := Parse([]byte(head + "data: {a: &a x, b: *a}\n")); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"))
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: X, metadata: {name: b}}]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := Parse(data)
		if err != nil {
			return
		}
		text, err := Marshal(objects)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(text)
		if err != nil || len(again) != len(objects) {
			t.Fatalf("written objects read back as %d of %d, %v", len(again), len(objects), err)
		}
		for _, u := range objects {
			readinessOf(u, object.Target{})
			readinessOf(u, object.Target{Condition: "Ready"})
			readinessOf(u, object.Target{Completion: true})
		}
	})
}

func TestJudgeGenerations(t *testing.T) {
	base := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, generation: 3}\nspec: {replicas: 1}\nstatus: {observedGeneration: 2, conditions: [{type: Available, status: \"True\"}]}\n"
	u := parse(t, base)[0]
	if s := readinessOf(u, object.Target{Condition: "Available"}); s.Ready {
		t.Error("a condition of an older generation counts")
	}
	u = parse(t, strings.Replace(base, "observedGeneration: 2", "observedGeneration: 3", 1))[0]
	if s := readinessOf(u, object.Target{Condition: "Available"}); !s.Ready {
		t.Errorf("%+v", s)
	}
	if s := readinessOf(u, object.Target{Condition: "Progressing"}); s.Ready || !strings.Contains(s.Message, "not reported") {
		t.Errorf("%+v", s)
	}
}
