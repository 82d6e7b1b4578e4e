package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/caisson/caisson/internal/api/object"
)

// certificateKind is cert-manager's. It leaves the Secret of a Certificate that is deleted,
// which bears certificateName.
var certificateKind = schema.GroupKind{Group: "cert-manager.io", Kind: "Certificate"}

const certificateName = "cert-manager.io/certificate-name"

// IssuedKeys are the Secret that cert-manager made for a Certificate.
type IssuedKeys struct {
	Secret      object.Ref `json:"secret"`
	Certificate object.Ref `json:"certificate"`
	Authority   bool       `json:"authority,omitempty"` // others may trust what these keys signed
}

// String reads "Secret web/keys, made for Certificate web/serving".
func (k IssuedKeys) String() string {
	text := fmt.Sprintf("%s, made for %s", k.Secret, k.Certificate)
	if k.Authority {
		text += ", a certificate authority"
	}
	return text
}

// FindIssuedKeys finds the Secrets that cert-manager made for the Certificates among
// objects: the one that each names, where it says so itself. Copies that bear the same
// annotation are somebody's own.
func (c *Client) FindIssuedKeys(ctx context.Context, objects []object.Ref) (out []IssuedKeys, _ error) {
	for _, o := range objects {
		if o.GroupVersionKind().GroupKind() != certificateKind {
			continue
		}
		certificate, err := c.Get(ctx, o)
		if Absent(err) {
			continue
		}
		if err != nil {
			return out, fmt.Errorf("reading %s: %w", o, err)
		}
		k, found, err := c.keysOf(ctx, o, certificate)
		if err != nil {
			return out, fmt.Errorf("reading the keys of %s: %w", o, err)
		}
		if found {
			out = append(out, k)
		}
	}
	return out, nil
}

func (c *Client) keysOf(ctx context.Context, o object.Ref, certificate *unstructured.Unstructured) (IssuedKeys, bool, error) {
	name, _, _ := unstructured.NestedString(certificate.Object, "spec", "secretName")
	if name == "" {
		return IssuedKeys{}, false, nil
	}
	secrets := c.metadata.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(o.Namespace)
	found, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if Absent(err) {
		return IssuedKeys{}, false, nil
	}
	if err != nil {
		return IssuedKeys{}, false, err
	}
	k := IssuedKeys{Certificate: o, Secret: object.Ref{
		APIVersion: "v1", Kind: "Secret", Namespace: o.Namespace, Name: name, UID: string(found.UID),
	}}
	k.Authority, _, _ = unstructured.NestedBool(certificate.Object, "spec", "isCA")
	return k, found.Annotations[certificateName] == o.Name, nil
}

// RemoveIssuedKeys deletes keys whose Certificate is gone, and says whether they were there.
// Nothing renews or reads them any more, and they would hold their namespace.
func (c *Client) RemoveIssuedKeys(ctx context.Context, k IssuedKeys) (removed bool, _ error) {
	if _, err := c.Get(ctx, k.Certificate); !Absent(err) {
		return false, err
	}
	same := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(k.Secret.UID)}
	err := c.Core.CoreV1().Secrets(k.Secret.Namespace).Delete(ctx, k.Secret.Name, same)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // another of that name is not meant
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("removing %s: %w", k, err)
	}
	return true, nil
}
