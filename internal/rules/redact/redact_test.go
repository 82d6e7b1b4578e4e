package redact

import (
	"encoding/base64"
	"testing"
)

const (
	planted = "planted-value-0123"
	multi   = "-----BEGIN KEY-----\nMIIplantedlineofakey0123456789\n-----END KEY-----"
)

func TestRedactor(t *testing.T) {
	r := New()
	for _, v := range []string{planted, multi, `{"auth":"inner-value"}`, "true", "ab"} {
		r.Learn(v)
	}
	for text, want := range map[string]string{
		"x " + planted + " y":                              "x [redacted] y",
		"key MIIplantedlineofakey0123456789":               "key [redacted]",
		"auth inner-value":                                 "auth [redacted]",
		"it is true, absolutely":                           "it is true, absolutely",
		"Authorization: Bearer abc.def":                    "Authorization: Bearer [redacted]",
		"postgres://user:hunter2@db/x":                     "postgres://user:[redacted]@db/x",
		"password=hunter2 and more":                        "password=[redacted] and more",
		base64.StdEncoding.EncodeToString([]byte(planted)): "[redacted]",
	} {
		if got := r.Text(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}
