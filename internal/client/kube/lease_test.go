package kube

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/caisson/caisson/internal/api/object"
)

func TestHoldExcludesOthers(t *testing.T) {
	c := connect(t)
	c.lease = 3 * time.Second // the other sees a renewal soon
	ctx, release, err := c.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = connect(t).Hold(t.Context())
	var locked *LockedError
	if !errors.Is(err, ErrLocked) || !errors.As(err, &locked) || locked.Holder == "" || time.Since(locked.Since) > time.Hour {
		t.Fatalf("a second holder got %v", err)
	}
	if ctx.Err() != nil {
		t.Errorf("the holder's context ended: %v", context.Cause(ctx))
	}
	release()
	if ctx.Err() == nil {
		t.Error("the context outlives the lease")
	}
	_, again, err := connect(t).Hold(t.Context())
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	again()
}

func TestHoldReplacesTheDead(t *testing.T) {
	c := connect(t)
	_, release, err := c.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	release()
	// A process that has just ended stands for a run that was killed.
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	l := c.newLease(fmt.Sprintf("x@y/%s/%d", bootID(), gone.Process.Pid))
	if err := l.takeLease(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, release, err = c.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if took := time.Since(began); took > leaseDuration/2 {
		t.Errorf("a dead holder was replaced after %s only", took)
	}
}

func TestHoldOutwaitsTheSilent(t *testing.T) {
	c := connect(t)
	c.lease = time.Second
	l := c.newLease("x@y/another-machine/1")
	if _, _, err := c.EnsureNamespace(t.Context(), SystemNamespace, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.takeLease(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, release, err := c.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	release()
}

func TestLosingTheLeaseEndsTheContext(t *testing.T) {
	c := connect(t)
	c.lease = time.Second
	ctx, release, err := c.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := c.Core.CoordinationV1().Leases(SystemNamespace).Delete(t.Context(), leaseName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), ErrLeaseLost) {
		t.Errorf("the context ended because of %v", context.Cause(ctx))
	}
}

// TestSystemNamespaceGoesWithTheLastRecord holds that only what a run made goes,
// and only when nothing is left in it.
func TestSystemNamespaceGoesWithTheLastRecord(t *testing.T) {
	c := connect(t)
	system := object.Ref{APIVersion: "v1", Kind: "Namespace", Name: SystemNamespace}
	wipe := func() {
		t.Helper()
		if err := c.Delete(t.Context(), []object.Ref{system}); err != nil {
			t.Fatal(err)
		}
	}
	removes := func(want bool) {
		t.Helper()
		if removed, err := c.RemoveSystemNamespace(t.Context()); err != nil || removed != want {
			t.Errorf("removed %v, %v", removed, err)
		}
	}
	wipe()
	removes(false)
	_, release, err := c.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	removes(false) // another run is at work
	release()
	other := parse(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: other, namespace: caisson-system}\n")
	if _, err := c.Apply(t.Context(), other, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	removes(false) // it has another stack's records
	if err := c.Delete(t.Context(), []object.Ref{object.RefOf(other[0])}); err != nil {
		t.Fatal(err)
	}
	removes(true)
	if _, err := c.Get(t.Context(), system); !Absent(err) {
		t.Errorf("it is there: %v", err)
	}
	if _, made, err := c.EnsureNamespace(t.Context(), SystemNamespace, nil); err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	removes(false) // the administrator's own
	wipe()
}
