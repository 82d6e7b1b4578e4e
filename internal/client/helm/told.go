package helm

import (
	"encoding/base64"
	"errors"
	"strings"
)

// ErrTold is wrapped when a template puts what it read of a Secret where people
// read it: into an error, a name, an image or an address.
var ErrTold = errors.New("a template tells what it looked up in a Secret")

// leastTold is how long a value of a Secret must be to be looked for, in bytes:
// shorter ones stand in innocent texts.
const leastTold = 6

// remember keeps the values of a Secret's answer, so that they are told nobody.
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
				if err == nil && len(value) >= leastTold {
					q.told = append(q.told, value)
				}
			}
		}
	}
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

// Hide gives err, or ErrTold in its place where it would tell.
func (q *Questions) Hide(err error) error {
	if err != nil && q.Tells(err.Error()) {
		return ErrTold
	}
	return err
}
