package kube

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/caisson/caisson/internal/api/plan"
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
	var config struct {
		Auths map[string]dockerLogin `json:"auths"`
	}
	if err := json.Unmarshal(s.Data[corev1.DockerConfigJsonKey], &config); err != nil {
		return "", "", fmt.Errorf("%s in it is no JSON", corev1.DockerConfigJsonKey) // the error could quote it
	}
	for key, login := range config.Auths {
		if loginIsFor(key, host) {
			user, password = login.nameAndPassword()
			return user, password, nil
		}
	}
	return "", "", fmt.Errorf("%w: %s", plan.ErrNoLogin, host)
}

// dockerLogin is one entry of a Docker configuration.
type dockerLogin struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Auth     string `json:"auth"` // base64 of USER:PASSWORD
}

func (l dockerLogin) nameAndPassword() (string, string) {
	if l.Username != "" {
		return l.Username, l.Password
	}
	both, err := base64.StdEncoding.DecodeString(l.Auth)
	if err != nil {
		return "", ""
	}
	user, password, _ := strings.Cut(string(both), ":")
	return user, password
}

// loginIsFor says whether an entry, [SCHEME://]HOST[:PORT][/PATH] with patterns in its
// host, is for a registry.
func loginIsFor(entry, host string) bool {
	if _, rest, ok := strings.Cut(entry, "://"); ok {
		entry = rest
	}
	entry, _, _ = strings.Cut(entry, "/")
	if strings.Count(entry, ".") != strings.Count(host, ".") {
		return false
	}
	matched, err := path.Match(entry, host)
	return err == nil && matched
}
