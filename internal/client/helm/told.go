package helm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

// ErrTold is wrapped when a template puts what it read of a Secret where people
// read it: into an error, a name, an image or an address.
var ErrTold = errors.New("a template tells what it looked up in a Secret")

// leastTold is how long a value of a Secret must be to be looked for, in bytes:
// shorter ones stand in innocent texts.
const leastTold = 6

// remember keeps the values of a Secret's answer, so that they are told nobody. What
// the release is called anyway is no secret: many a user is named after the chart.
func (q *Questions) remember(kind string, found map[string]any) {
	if kind != "Secret" {
		return
	}
	objects := []any{found}
	if items, ok := found["items"].([]any); ok {
		objects = items
	}
	for _, o := range objects {
		content, _ := o.(map[string]any)
		data, _ := content["data"].(map[string]any)
		for _, v := range data {
			encoded, _ := v.(string)
			decoded, err := base64.StdEncoding.DecodeString(encoded)
			for _, value := range []string{encoded, strings.TrimSpace(string(decoded))} {
				if err == nil && len(value) >= leastTold && !q.isCalled(value) {
					q.told = append(q.told, value)
				}
			}
		}
	}
}

// isCalled says whether a value is a part of what the release is called.
func (q *Questions) isCalled(value string) bool {
	names := []string{q.scope.Chart, q.scope.Release, q.scope.Namespace}
	return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, value) })
}

// Tells says whether a text holds a value that was read of a Secret. What a
// template made of such a value (a hash, another encoding) is not known.
func (q *Questions) Tells(text string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, value := range q.told {
		if strings.Contains(text, value) {
			return true
		}
	}
	return false
}

// TellsIn says as Tells of each string in a value, as its JSON form has them. Digests
// tell nothing.
func (q *Questions) TellsIn(value any) bool {
	if !q.mayTell() {
		return false
	}
	data, err := json.Marshal(value)
	if err != nil {
		return true
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	for {
		token, err := decoder.Token()
		if err != nil {
			return !errors.Is(err, io.EOF)
		}
		text, ok := token.(string)
		if ok && !strings.HasPrefix(text, "sha256:") && q.Tells(text) {
			return true
		}
	}
}

// mayTell says whether a value of a Secret was read.
func (q *Questions) mayTell() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.told) > 0
}

// Hide gives err, or ErrTold in its place where it would tell.
func (q *Questions) Hide(err error) error {
	if err != nil && q.Tells(err.Error()) {
		return ErrTold
	}
	return err
}
