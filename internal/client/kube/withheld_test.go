package kube

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestServersWordsTellNoSecret: a server quotes the value that it does not take.
func TestServersWordsTellNoSecret(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	const head = "apiVersion: v1\nkind: Secret\nmetadata: {name: pw, finalizers: []}\n"
	for text, want := range map[string]string{
		"stringData: {password: 8675309123}":       "stringData.password is not text",
		"stringData: {password: [hunter2hunter2]}": "stringData.password is not text",
		"stringData: hunter2hunter2":               "stringData is not a mapping",
		"data: {password: 'hunter2hunter2'}":       "data.password is not base64",
		"type: [hunter2hunter2]":                   "the server refuses it",
		"stringData: {hunter2/hunter2: a}":         "the server refuses it: data (", // as which it is applied
	} {
		_, err := c.Apply(t.Context(), parse(t, head+text), ApplyOptions{Namespace: ns})
		if err == nil || !strings.Contains(err.Error(), "Secret pw") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if strings.Contains(err.Error(), "8675309123") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: a value is told: %v", text, err)
		}
	}
}

func TestWordsAboutASecretsPlaceStay(t *testing.T) {
	secret := parse(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: pw}\nstringData: {a: hunter2}\n")[0]
	status := func(reason metav1.StatusReason, message string, causes ...metav1.StatusCause) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Reason: reason, Message: message, Details: &metav1.StatusDetails{Causes: causes}}}
	}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"no right":       {status(metav1.StatusReasonForbidden, `secrets "pw" is forbidden: User "u" cannot patch`), `secrets "pw" is forbidden: User "u" cannot patch`},
		"another owner":  {status(metav1.StatusReasonConflict, `conflict with "them": .data.a`, metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict}), `conflict with "them": .data.a`},
		"a webhook away": {status(metav1.StatusReasonInternalError, `failed calling webhook "w": refused`), `failed calling webhook "w": refused`},
		"a webhook":      {status(metav1.StatusReasonForbidden, `admission webhook "w" denied the request: hunter2 is weak`), `admission webhook "w" refuses it (`},
		"a field":        {status(metav1.StatusReasonInvalid, `Secret "pw" is invalid: stringData[a]: Invalid value: "hunter2"`), "the server refuses it: stringData.a ("},
		"no field":       {status(metav1.StatusReasonBadRequest, `hunter2`), "the server refuses it ("},
	} {
		got := withholdValues(secret, test.err)
		if !strings.HasPrefix(got.Error(), test.want) || strings.Contains(got.Error(), "hunter2") {
			t.Errorf("%s: %v", name, got)
		}
		if apierrors.ReasonForError(got) != apierrors.ReasonForError(test.err) {
			t.Errorf("%s: the reason is %q", name, apierrors.ReasonForError(got))
		}
	}
}
