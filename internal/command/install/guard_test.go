package install

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// guard is an admission webhook that allows everything, or is silent.
type guard struct {
	answers    atomic.Bool
	lapses     atomic.Int32 // so many requests are not answered, although it answers
	namespaces []string     // what it guards is in these
	url, ca    string

	mu     sync.Mutex
	silent []string // requests that it did not answer
}

func newGuard(t *testing.T, namespaces ...string) *guard {
	t.Helper()
	g := &guard{namespaces: namespaces}
	server := httptest.NewTLSServer(g)
	t.Cleanup(server.Close)
	g.url = server.URL
	g.ca = base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return g
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if !g.answers.Load() || g.lapses.Add(-1) >= 0 {
		g.mu.Lock()
		g.silent = append(g.silent, string(body))
		g.mu.Unlock()
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, uid, _ := strings.Cut(string(body), `"uid":"`)
	uid, _, _ = strings.Cut(uid, `"`)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":true}}`, uid)
}

// refused says whether something of that name was asked about and not answered.
func (g *guard) refused(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, body := range g.silent {
		if strings.Contains(body, fmt.Sprintf("%q", name)) {
			return true
		}
	}
	return false
}

// unanswered counts the requests that were not answered.
func (g *guard) unanswered() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.silent)
}

// config is the webhook's configuration, for core resources or those of apps.
func (g *guard) config(name, resources string) string {
	return fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: %s}
webhooks:
- name: guard.%s.caisson.dev
  clientConfig: {url: %q, caBundle: %s}
  failurePolicy: Fail
  sideEffects: None
  admissionReviewVersions: [v1]
  namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [%s]}]}
  objectSelector: {matchExpressions: [{key: app.kubernetes.io/managed-by, operator: NotIn, values: [nobody]}]}
  rules: [{apiGroups: ["", apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [%s]}]
`, name, name, g.url, g.ca, strings.Join(g.namespaces, ", "), resources)
}
