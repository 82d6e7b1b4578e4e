package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/caisson/caisson/internal/rules/mirror"
)

// PullLogin reads the login for a registry, HOST[:PORT], out of a pull secret, as a
// kubelet finds it there. Errors wrap ErrNotPullSecret, plan.ErrNoLogin or the server's
// answer.
func (c *Client) PullLogin(ctx context.Context, namespace, name, host string) (user, password string, err error) {
	s, err := c.Core.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", "", fmt.Errorf("it does not exist: %w", err)
	case err != nil:
		return "", "", fmt.Errorf("it cannot be read: %w", err)
	case s.Type != corev1.SecretTypeDockerConfigJson:
		return "", "", ErrNotPullSecret
	}
	login, err := mirror.ParseLogin(s.Data[corev1.DockerConfigJsonKey], host)
	return login.Name(), login.Password(), err
}
