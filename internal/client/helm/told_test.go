package helm

import (
	"encoding/base64"
	"errors"
	"testing"

	"github.com/caisson/caisson/internal/rules/lookup"
)

// secretAnswer is what a question about a Secret finds.
func secretAnswer(values map[string]string) map[string]any {
	data := map[string]any{}
	for key, value := range values {
		data[key] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	return map[string]any{"apiVersion": "v1", "kind": "Secret", "data": data}
}

// TestWhatASecretTells: its values are looked for in texts and in the strings of values.
// What the release is called anyway is no secret, though a Secret holds it.
func TestWhatASecretTells(t *testing.T) {
	q := NewQuestions(nil, "", lookup.Scope{Chart: "postgresql", Release: "metrics-store", Namespace: "databases"})
	if q.TellsIn(map[string]any{"a": "hunter2hunter2"}) {
		t.Error("a value is told that nobody read")
	}
	q.remember("Secret", secretAnswer(map[string]string{
		"password": "hunter2hunter2", "username": "postgres", "release": "metrics-store", "short": "admin",
	}))
	type inner struct{ Names []string }
	for name, test := range map[string]struct {
		value any
		tells bool
	}{
		"a value":              {inner{[]string{"a", "x-hunter2hunter2"}}, true},
		"a key":                {map[string]any{"hunter2hunter2": 1}, true},
		"its encoded form":     {[]any{"aHVudGVyMmh1bnRlcjI="}, true},
		"the chart's name":     {inner{[]string{"postgresql", "docker.io/library/postgres:17"}}, false},
		"the release's name":   {inner{[]string{"metrics-store-0"}}, false},
		"a short value":        {inner{[]string{"admin"}}, false},
		"nothing":              {nil, false},
		"what JSON cannot say": {func() {}, true},
	} {
		if got := q.TellsIn(test.value); got != test.tells {
			t.Errorf("%s: tells is %v", name, got)
		}
	}
	if err := q.Hide(errors.New("ConfigMap hunter2hunter2 is there")); !errors.Is(err, ErrTold) {
		t.Errorf("error is %v", err)
	}
}
