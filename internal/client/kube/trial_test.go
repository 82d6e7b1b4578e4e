package kube

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/caisson/caisson/internal/api/object"
)

// allowing is the server of a webhook that allows everything. The other certificate is not
// its own.
type allowing struct {
	url, ca, other string
	denies         *atomic.Int64 // requests that are denied before
}

func newAllowing(t *testing.T) allowing {
	t.Helper()
	denies := &atomic.Int64{}
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, uid, _ := strings.Cut(string(body), `"uid":"`)
		uid, _, _ = strings.Cut(uid, `"`)
		w.Header().Set("Content-Type", "application/json")
		if denies.Add(-1) >= 0 {
			fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":false,"status":{"message":"what it names is not found"}}}`, uid)
			return
		}
		fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":true}}`, uid)
	})
	server := httptest.NewUnstartedServer(answer)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return allowing{server.URL, encodeCertificate(server.Certificate().Raw), encodeCertificate(newCertificate(t)), denies}
}

func encodeCertificate(raw []byte) string {
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

func newCertificate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// applyHook installs a webhook configuration of one webhook.
func applyHook(t *testing.T, c *Client, kind, namespace string, s allowing, trusted bool, rules string) []object.Ref {
	t.Helper()
	ca := s.other
	if trusted {
		ca = s.ca
	}
	u := parse(t, fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: %s
metadata: {name: trial.caisson.dev}
webhooks:
- name: trial.caisson.dev
  clientConfig: {url: %q, caBundle: %s}
  failurePolicy: Fail
  sideEffects: None
  timeoutSeconds: 5
  admissionReviewVersions: [v1]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}
  rules: [%s]
`, kind, s.url, ca, namespace, rules))
	done, err := c.Apply(t.Context(), u, ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return []object.Ref{done[0].Object}
}

// askHook installs a webhook configuration of one webhook and returns what asking says.
func askHook(t *testing.T, c *Client, kind, namespace string, s allowing, trusted bool, rules string) (silent []Unanswered, unasked []Unasked) {
	t.Helper()
	config := applyHook(t, c, kind, namespace, s, trusted, rules)
	defer func() { _ = c.Delete(context.Background(), config) }()
	silent, unasked, err := c.AskWebhooks(t.Context(), config, namespace)
	for range 50 { // the server reads the configuration a moment later
		if err != nil || len(silent)+len(unasked) > 0 || trusted {
			break
		}
		pause(t.Context(), webhookInterval/10)
		silent, unasked, err = c.AskWebhooks(t.Context(), config, namespace)
	}
	if err != nil {
		t.Fatal(err)
	}
	return silent, unasked
}

// A webhook that the server cannot trust does not answer, whatever it guards; one that
// nothing reaches is said to be so.
func TestWebhooksAreAskedByWhatGetsThrough(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	definition := strings.Replace(bigCRD("guardeds", "Guarded", 2000), "        type: object\n        properties:\n          status", "        type: object\n        required: [spec]\n        properties:\n          status", 1)
	crd, err := c.ApplyCRDs(t.Context(), parse(t, definition), ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(context.Background(), []object.Ref{crd[0].Object}) })
	server := newAllowing(t)
	rule := func(group, operation, resource string) string {
		return fmt.Sprintf(`{apiGroups: [%q], apiVersions: [v1], operations: [%q], resources: [%q]}`, group, operation, resource)
	}
	rules := map[string]string{
		"deployments": rule("apps", "CREATE", "deployments"), "pods": rule("", "CREATE", "pods"), "jobs": rule("batch", "CREATE", "jobs"),
		"cronjobs": rule("batch", "CREATE", "cronjobs"), "services": rule("", "CREATE", "services"), "everything": rule("*", "*", "*"),
		"sets": rule("apps", "CREATE", "statefulsets"), "daemons": rule("apps", "CREATE", "daemonsets"), "claims": rule("", "CREATE", "persistentvolumeclaims"),
		"roles": rule("rbac.authorization.k8s.io", "CREATE", "roles"), "budgets": rule("policy", "CREATE", "poddisruptionbudgets"),
	}
	ask := func(name, rules string) {
		t.Helper()
		for _, kind := range []string{"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"} {
			if silent, unasked := askHook(t, c, kind, ns, server, false, rules); len(silent) != 1 || !strings.Contains(silent[0].Why, "certificate") {
				t.Errorf("%s, %s that is not trusted: silent %v, not asked %v", name, kind, silent, unasked)
			}
			if silent, unasked := askHook(t, c, kind, ns, server, true, rules); len(silent)+len(unasked) > 0 {
				t.Errorf("%s, %s: silent %v, not asked %v", name, kind, silent, unasked)
			}
		}
	}
	for name, rules := range rules {
		ask(name, rules)
	}
	guarded := rule("test.caisson.dev", "CREATE", "guardeds")
	if silent, unasked := askHook(t, c, "ValidatingWebhookConfiguration", ns, server, false, guarded); len(silent) != 0 || len(unasked) != 1 || !strings.Contains(unasked[0].Why, "spec") {
		t.Errorf("without an object: silent %v, not asked %v", silent, unasked)
	}
	if _, err := c.Apply(t.Context(), parse(t, "apiVersion: test.caisson.dev/v1\nkind: Guarded\nmetadata: {name: one}\nspec: {}\n"), ApplyOptions{Namespace: ns}); err != nil {
		t.Fatal(err)
	}
	ask("custom resources", guarded)
	ask("custom resources that change", rule("test.caisson.dev", "UPDATE", "guardeds"))
	ask("a group", rule("test.caisson.dev", "CREATE", "*"))
	if silent, unasked := askHook(t, c, "ValidatingWebhookConfiguration", ns, server, false, rule("", "DELETE", "pods")); len(silent) != 0 || len(unasked) != 1 {
		t.Errorf("deleting: silent %v, not asked %v", silent, unasked)
	}
}

// Where it cannot be read what a webhook guards, that is said.
func TestAWebhookThatCannotBeAskedIsNoAnswer(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	nobody := *c
	config := rest.CopyConfig(c.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	nobody.Core = core
	server := newAllowing(t)
	rules := `{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}`
	silent, unasked := askHook(t, &nobody, "ValidatingWebhookConfiguration", ns, server, false, rules)
	if len(silent) != 0 || len(unasked) != 1 || !strings.Contains(unasked[0].Why, "namespaces") {
		t.Errorf("silent %v, not asked %v", silent, unasked)
	}
}

// A webhook that decides by its cache denies for a moment what names an object that was
// made just before.
func TestWhatIsDeniedForAMomentIsTriedAgain(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	hook := newAllowing(t)
	config := applyHook(t, c, "ValidatingWebhookConfiguration", ns, hook, true, `{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}`)
	t.Cleanup(func() { _ = c.Delete(context.Background(), config) })
	told := ""
	opt := ApplyOptions{Namespace: ns, Report: func(_ object.Ref, text string) { told += text }}
	configMap := func(name string) error {
		_, err := c.Apply(t.Context(), parse(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+name+"}\n"), opt)
		return err
	}
	hook.denies.Store(1 << 30)
	eventually(t, "the webhook to be asked", func() string {
		if err := configMap("early"); err != nil {
			return ""
		}
		return "it is not"
	})
	opt.Patience = time.Minute
	hook.denies.Store(2)
	if err := configMap("soon"); err != nil || !strings.Contains(told, "is denied by webhook trial.caisson.dev") {
		t.Errorf("told was %q, %v", told, err)
	}
	hook.denies.Store(1 << 30)
	if err := configMap("never"); err == nil || !strings.Contains(err.Error(), "what it names is not found") {
		t.Errorf("what is denied for good gives %v", err)
	}
	opt.Patience = 0
	before := hook.denies.Load()
	if err := configMap("at-once"); err == nil || before-hook.denies.Load() != 1 {
		t.Errorf("without patience it was asked %d times", before-hook.denies.Load())
	}
}
