package kube

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/object"
)

// converter is a conversion webhook that changes nothing but the version, once it answers.
type converter struct {
	answers atomic.Bool
	asked   atomic.Int64
	url, ca string
}

func newConverter(t *testing.T) *converter {
	t.Helper()
	c := &converter{}
	server := httptest.NewTLSServer(c)
	t.Cleanup(server.Close)
	c.url = server.URL
	c.ca = base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return c
}

func (c *converter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.asked.Add(1)
	if !c.answers.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var review struct {
		Request struct {
			UID     string           `json:"uid"`
			Version string           `json:"desiredAPIVersion"`
			Objects []map[string]any `json:"objects"`
		} `json:"request"`
	}
	if json.NewDecoder(r.Body).Decode(&review) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for _, o := range review.Request.Objects {
		o["apiVersion"] = review.Request.Version
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
		"response": map[string]any{"uid": review.Request.UID, "convertedObjects": review.Request.Objects, "result": map[string]any{"status": "Success"}},
	})
}

func (c *converter) definition() string {
	version := "schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}"
	return fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: turns.test.caisson.dev}
spec:
  group: test.caisson.dev
  scope: Namespaced
  names: {plural: turns, singular: turn, kind: Turn}
  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: %q, caBundle: %s}}}
  versions:
  - {name: v1, served: true, storage: true, %s}
  - {name: v2, served: true, storage: false, %s}
`, c.url, c.ca, version, version)
}

// A conversion webhook that is silent for a while is told and outwaited.
func TestASilentConversionIsAStateAndIsOutwaited(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	hook := newConverter(t)
	hook.answers.Store(true)
	crd, err := c.ApplyCRDs(t.Context(), parse(t, hook.definition()), ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(context.Background(), []object.Ref{crd[0].Object}) })
	made, err := c.Apply(t.Context(), parse(t, "apiVersion: test.caisson.dev/v1\nkind: Turn\nmetadata: {name: a}\n"), ApplyOptions{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	hook.answers.Store(false)
	newer := made[0].Object
	newer.APIVersion = "test.caisson.dev/v2"
	s, err := c.Look(t.Context(), object.Target{Object: newer})
	if err != nil || s.Ready || s.Missing || s.UID != newer.UID || !strings.Contains(s.Message, "conversion webhook for test.caisson.dev/v") {
		t.Errorf("%+v, %v", s, err)
	}
	told := ""
	opt := ApplyOptions{Namespace: ns, Patience: time.Minute, Report: func(_ object.Ref, text string) {
		told += text
		hook.answers.Store(true)
	}}
	if _, err := c.Apply(t.Context(), parse(t, "apiVersion: test.caisson.dev/v2\nkind: Turn\nmetadata: {name: a}\nspec: {b: c}\n"), opt); err != nil {
		t.Error(err)
	}
	if !strings.Contains(told, "does not answer") {
		t.Errorf("told was %q", told)
	}
}
