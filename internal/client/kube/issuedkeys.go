package kube

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/caisson/caisson/internal/api/object"
)

// certificateKind is cert-manager's. It leaves the Secret of a Certificate that is deleted,
// which bears certificateName.
var certificateKind = schema.GroupKind{Group: "cert-manager.io", Kind: "Certificate"}

const certificateName = "cert-manager.io/certificate-name"

// RemoveIssuedKeys deletes the Secrets that cert-manager made for those Certificates among
// the objects that are gone. Nothing renews or reads them any more, and they would hold
// their namespace.
func (c *Client) RemoveIssuedKeys(ctx context.Context, removed []object.Ref) error {
	var errs []error
	for _, o := range removed {
		if o.GroupVersionKind().GroupKind() != certificateKind {
			continue
		}
		if _, err := c.Get(ctx, o); !Absent(err) && !errors.Is(err, ErrNoKind) {
			continue
		}
		if err := c.removeKeysOf(ctx, o); err != nil {
			errs = append(errs, fmt.Errorf("removing the keys of %s: %w", o, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Client) removeKeysOf(ctx context.Context, certificate object.Ref) error {
	secrets := c.metadata.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(certificate.Namespace)
	list, err := secrets.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		found := &list.Items[i]
		if found.Annotations[certificateName] != certificate.Name {
			continue
		}
		same := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(found.UID))}
		if err := secrets.Delete(ctx, found.Name, same); err != nil && !Absent(err) {
			return err
		}
	}
	return nil
}
