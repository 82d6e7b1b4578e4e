package kube

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/caisson/caisson/internal/api/object"
)

// counting counts lists of pods.
type counting struct {
	http.RoundTripper
	mu   sync.Mutex
	list []string
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/pods") && !r.URL.Query().Has("watch") {
		c.mu.Lock()
		c.list = append(c.list, r.URL.String())
		c.mu.Unlock()
	}
	return c.RoundTripper.RoundTrip(r)
}

// Targets that are asked about at once share what is listed, and of kinds that own
// nothing in a namespace nothing is.
func TestSearchesOfTheSameMomentShareTheirLists(t *testing.T) {
	full, ns := connect(t), namespace(t, connect(t))
	counter := &counting{}
	c := *full
	c.config = rest.CopyConfig(full.config)
	c.config.Wrap(func(inner http.RoundTripper) http.RoundTripper { counter.RoundTripper = inner; return counter })
	if err := c.makeClients(); err != nil {
		t.Fatal(err)
	}
	done, err := c.Apply(t.Context(), parse(t, `apiVersion: apps/v1
kind: Deployment
metadata: {name: stuck}
spec:
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: b}}, spec: {nodeSelector: {no: where}, containers: [{name: c, image: "x:1"}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: plain}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: sharedlist.caisson.dev}
`), ApplyOptions{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(context.Background(), []object.Ref{done[2].Object}) })
	for _, o := range []object.Ref{done[1].Object, done[2].Object, {APIVersion: "v1", Kind: "Namespace", Name: ns}} {
		if why := c.Why(t.Context(), o); why != "" || len(counter.list) > 0 {
			t.Errorf("%s: %q, listed %v", o, why, counter.list)
		}
	}
	c.lists = newSharedLists()
	var all sync.WaitGroup
	for range waiters {
		all.Go(func() { c.Why(t.Context(), done[0].Object) })
	}
	all.Wait()
	if n := len(counter.list); n == 0 || n > waiters/8 {
		t.Errorf("%d searches listed pods %d times", waiters, n)
	}
}
