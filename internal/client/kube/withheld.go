package kube

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/caisson/caisson/internal/listing"
	"github.com/caisson/caisson/internal/rules/document"
)

// applyVia applies u. What the server says of a Secret may quote its values: its
// words are then replaced by the fields that are meant. The reason stays.
func applyVia(
	ctx context.Context, to dynamic.ResourceInterface, u *unstructured.Unstructured, opt metav1.ApplyOptions,
) (*unstructured.Unstructured, error) {
	opt.FieldManager = Manager
	after, err := to.Apply(ctx, u.GetName(), u, opt)
	if err != nil && u.GetKind() == "Secret" {
		err = withholdValues(u, err)
	}
	return after, err
}

// withholdValues keeps a server's words about a Secret where they are none about
// its content.
func withholdValues(u *unstructured.Unstructured, err error) error {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) || sparesContent(answer.Status()) {
		return err
	}
	said := answer.Status()
	status := metav1.Status{
		Status: said.Status, Code: said.Code, Reason: said.Reason,
		Message: withheldMessage(u, said),
	}
	if d := said.Details; d != nil {
		status.Details = &metav1.StatusDetails{
			Name: d.Name, Kind: d.Kind, RetryAfterSeconds: d.RetryAfterSeconds,
		}
	}
	return &apierrors.StatusError{ErrStatus: status}
}

// sparesContent says whether a refusal is about who asks, when, and what is there
// already, and not about what the object holds.
func sparesContent(said metav1.Status) bool {
	switch said.Reason {
	case metav1.StatusReasonUnauthorized, metav1.StatusReasonNotFound, metav1.StatusReasonAlreadyExists,
		metav1.StatusReasonServerTimeout, metav1.StatusReasonTimeout, metav1.StatusReasonTooManyRequests,
		metav1.StatusReasonServiceUnavailable:
		return true
	case metav1.StatusReasonConflict:
		return said.Details != nil && slices.ContainsFunc(said.Details.Causes, func(c metav1.StatusCause) bool {
			return c.Type == metav1.CauseTypeFieldManagerConflict
		})
	case metav1.StatusReasonForbidden:
		return !strings.Contains(said.Message, "denied") // by a webhook or a policy, in its own words
	case metav1.StatusReasonInternalError:
		return strings.Contains(said.Message, "failed calling webhook")
	}
	return false
}

// withheldMessage says what is wrong with a Secret, as far as that can be told
// without the server's words.
func withheldMessage(u *unstructured.Unstructured, said metav1.Status) string {
	var wrong []string
	for _, f := range document.SecretFaults(u.Object) {
		wrong = append(wrong, f.String())
	}
	if len(wrong) == 0 {
		wrong = fieldsNamed(u, said)
	}
	what := "the server refuses it"
	if by, _, ok := strings.Cut(said.Message, " denied"); ok && strings.HasPrefix(by, "admission webhook ") {
		what = by + " refuses it"
	}
	if len(wrong) > 0 {
		what += ": " + listing.Some(wrong, maxWithheld)
	}
	return what + " (the answer is not shown, since it may quote what the Secret holds)"
}

// maxWithheld bounds how many fields a message names.
const maxWithheld = 5

// fieldsNamed are the fields of a Secret that a server's answer names. It may call
// those of stringData data, which they become.
func fieldsNamed(u *unstructured.Unstructured, said metav1.Status) []string {
	var out []string
	for _, field := range []string{"data", "stringData"} {
		content, _ := u.Object[field].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(content)) {
			if strings.Contains(said.Message, field+"."+key+":") || strings.Contains(said.Message, "["+key+"]") {
				out = append(out, document.SecretField(field, key))
			}
		}
	}
	return out
}
