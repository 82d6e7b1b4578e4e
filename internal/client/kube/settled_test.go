package kube

import (
	"context"
	"testing"
	"time"

	"github.com/caisson/caisson/internal/api/object"
)

// A Job that was done may be gone when custom resources are looked at a second time.
func TestOnlyCustomResourcesMustStayReady(t *testing.T) {
	c, ns := connect(t), namespace(t, connect(t))
	crd, err := c.ApplyCRDs(t.Context(), parse(t, bigCRD("steadies", "Steady", 2000)), ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(context.Background(), []object.Ref{crd[0].Object}) })
	done, err := c.Apply(t.Context(), parse(t, `apiVersion: v1
kind: ConfigMap
metadata: {name: brief}
---
apiVersion: test.caisson.dev/v1
kind: Steady
metadata: {name: one}
`), ApplyOptions{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	brief := done[0].Object
	targets := []object.Target{{Object: brief}, {Object: done[1].Object}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = c.WaitSettled(ctx, targets, func(o object.Target, s State) {
		if o.Object == brief && s.Ready {
			_ = c.Delete(ctx, []object.Ref{brief})
		}
	})
	if err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(t.Context(), settleTime/2)
	defer cancel()
	if err := c.WaitSettled(short, targets[1:], nil); err != nil {
		t.Errorf("all was ready when the time was up: %v", err)
	}
}
