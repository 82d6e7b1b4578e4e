package helm

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/caisson/caisson/internal/client/kube"
)

// Stored are the objects of the newest revision of a release as its record has
// them, hooks left out: without the marks that Helm puts on them. None where the
// release was uninstalled and its record kept; ErrNoRelease where there is none.
func (e *Engine) Stored(_ context.Context, name string) ([]*unstructured.Unstructured, error) {
	rls, err := e.storage().Last(name)
	if err != nil {
		_, err := e.known(name, nil, err)
		return nil, err
	}
	if rls.Info != nil && rls.Info.Status == "uninstalled" {
		return nil, nil
	}
	objects, err := kube.Parse([]byte(rls.Manifest))
	if err != nil {
		return nil, fmt.Errorf("reading release %s: %w", name, err)
	}
	return objects, nil
}
