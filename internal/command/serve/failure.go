package serve

import (
	"encoding/json"
	"errors"
	"net/http"
)

// failure is an answer other than success. Its code is a word of the protocol
// that answers; its message may be shown to anyone.
type failure struct {
	status        int
	code, message string
}

func (f *failure) Error() string { return f.message }

// asFailure makes an answer of any error. Only failures speak for themselves;
// of everything else the client learns that it happened here.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{http.StatusInternalServerError, "UNKNOWN", "the bundle could not be read here; the server's log says why"}
}

// ociFailure writes f in the distribution specification's form.
func ociFailure(w http.ResponseWriter, f *failure) {
	writeJSON(w, f.status, map[string]any{"errors": []map[string]any{{"code": f.code, "message": f.message}}})
}

// hubFailure writes f in the model hub's form.
func hubFailure(w http.ResponseWriter, f *failure) {
	w.Header().Set("X-Error-Message", f.message)
	if f.status == http.StatusNotFound {
		w.Header().Set("X-Error-Code", f.code)
	}
	writeJSON(w, f.status, map[string]string{"error": f.message})
}

// textFailure writes f as a line.
func textFailure(w http.ResponseWriter, f *failure) { http.Error(w, f.message, f.status) }

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	writeBytes(w, status, mustJSON(v))
}

func writeBytes(w http.ResponseWriter, status int, b []byte) {
	setLength(w.Header(), int64(len(b)))
	_, _ = newBody(w, status, nil).Write(b) // the client may have gone
}

// mustJSON marshals plain values made here, which cannot fail.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return append(b, '\n')
}
