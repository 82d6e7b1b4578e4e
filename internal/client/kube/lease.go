package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcoordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/caisson/caisson/internal/api/journal"
)

// Errors of the lease.
var (
	ErrLocked    = errors.New("another run is changing this cluster")
	ErrLeaseLost = errors.New("the install lease was lost")
)

// LockedError says who holds the lease. It is an ErrLocked.
type LockedError struct {
	Holder  string
	Since   time.Time
	Renewed time.Time
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s: %s since %s", ErrLocked, e.Holder, e.Since.UTC().Format(time.RFC3339))
}

// Unwrap gives ErrLocked.
func (e *LockedError) Unwrap() error { return ErrLocked }

const (
	leaseName     = "install"
	leaseDuration = 30 * time.Second
	renewals      = 6 // in one duration
)

// Hold takes the lease that lets one run at a time change the cluster, and
// keeps renewing it until release is called. The returned context ends, with
// cause ErrLeaseLost, if the lease cannot be kept.
//
// A holder that is provably dead (same machine, no such process) is replaced at
// once. Another one is watched for one lease duration: if it renews, that is a
// *LockedError; if not, it is replaced. Clocks are not compared across machines.
func (c *Client) Hold(ctx context.Context) (held context.Context, release func(), _ error) {
	if _, _, err := c.EnsureNamespace(ctx, SystemNamespace, map[string]string{annotationMade: "true"}); err != nil {
		return nil, nil, fmt.Errorf("taking the install lease: %w", err)
	}
	l := c.newLease(holderName(c.identity))
	if err := l.takeLease(ctx); err != nil {
		return nil, nil, fmt.Errorf("taking the install lease: %w", err)
	}
	held, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() { defer close(done); l.keepRenewing(held, cancel) }()
	return held, func() {
		cancel(nil)
		<-done
		l.deleteLease()
	}, nil
}

type lease struct {
	api      typedcoordinationv1.LeaseInterface
	self     string
	duration time.Duration
	current  *coordinationv1.Lease
}

func (c *Client) newLease(self string) *lease {
	return &lease{api: c.Core.CoordinationV1().Leases(SystemNamespace), self: self, duration: c.lease}
}

// holderName is USER@HOST/BOOT/PID; BOOT tells whether PID can be looked up here.
func holderName(id journal.Operator) string {
	who := id.User
	if who == "" {
		who = id.AuthInfo
	}
	return fmt.Sprintf("%s@%s/%s/%d", strings.ReplaceAll(who, "/", "_"), id.Host, bootID(), os.Getpid())
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// holderIsDead says whether the holder ran on this machine and no longer does.
func holderIsDead(holder string) bool {
	parts := strings.Split(holder, "/")
	if len(parts) != 3 || parts[1] != bootID() || parts[1] == "unknown" {
		return false
	}
	pid, err := strconv.Atoi(parts[2])
	if err != nil || pid <= 0 {
		return false
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

func (l *lease) takeLease(ctx context.Context) error {
	found, err := l.api.Get(ctx, leaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		l.current, err = l.api.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: leaseName}, Spec: l.leaseSpec(0)}, metav1.CreateOptions{FieldManager: Manager})
		if apierrors.IsAlreadyExists(err) {
			return ErrLocked
		}
		return err
	}
	if err != nil {
		return err
	}
	if !isFree(found) {
		if err := l.waitForExpiry(ctx, found); err != nil {
			return err
		}
	}
	return l.seizeLease(ctx, found)
}

func isFree(l *coordinationv1.Lease) bool {
	return l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" || holderIsDead(*l.Spec.HolderIdentity)
}

// waitForExpiry watches a held lease for one duration.
func (l *lease) waitForExpiry(ctx context.Context, found *coordinationv1.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, l.duration)
	defer cancel()
	w, err := l.api.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + leaseName, ResourceVersion: found.ResourceVersion})
	if err != nil {
		return err
	}
	defer w.Stop()
	select {
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil
		}
		return ctx.Err()
	case e := <-w.ResultChan():
		if now, ok := e.Object.(*coordinationv1.Lease); ok && isFree(now) {
			*found = *now
			return nil
		}
		return lockedError(found)
	}
}

func lockedError(l *coordinationv1.Lease) error {
	e := &LockedError{}
	if l.Spec.HolderIdentity != nil {
		e.Holder, _, _ = strings.Cut(*l.Spec.HolderIdentity, "/")
	}
	if l.Spec.AcquireTime != nil {
		e.Since = l.Spec.AcquireTime.Time
	}
	if l.Spec.RenewTime != nil {
		e.Renewed = l.Spec.RenewTime.Time
	}
	return e
}

func (l *lease) seizeLease(ctx context.Context, found *coordinationv1.Lease) (err error) {
	transitions := int32(0)
	if found.Spec.LeaseTransitions != nil {
		transitions = *found.Spec.LeaseTransitions + 1
	}
	found.Spec = l.leaseSpec(transitions)
	l.current, err = l.api.Update(ctx, found, metav1.UpdateOptions{FieldManager: Manager})
	if apierrors.IsConflict(err) {
		return ErrLocked
	}
	return err
}

func (l *lease) leaseSpec(transitions int32) coordinationv1.LeaseSpec {
	now := metav1.NowMicro()
	seconds := int32(max(l.duration/time.Second, 1))
	return coordinationv1.LeaseSpec{HolderIdentity: &l.self, AcquireTime: &now, RenewTime: &now, LeaseDurationSeconds: &seconds, LeaseTransitions: &transitions}
}

// keepRenewing renews until ctx ends. It gives up when renewing failed for longer than
// the lease lasts, or when somebody else holds it.
func (l *lease) keepRenewing(ctx context.Context, lost context.CancelCauseFunc) {
	tick := time.NewTicker(l.duration / renewals)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := l.renewLease(ctx)
		switch {
		case err == nil:
			renewed = time.Now()
		case apierrors.IsConflict(err) || apierrors.IsNotFound(err) || time.Since(renewed) > l.duration:
			lost(fmt.Errorf("%w: %w", ErrLeaseLost, err))
			return
		}
	}
}

func (l *lease) renewLease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.duration/2)
	defer cancel()
	next := l.current.DeepCopy()
	now := metav1.NowMicro()
	next.Spec.RenewTime = &now
	made, err := l.api.Update(ctx, next, metav1.UpdateOptions{FieldManager: Manager})
	if err == nil {
		l.current = made
	}
	return err
}

// deleteLease deletes the lease, if it is still ours.
func (l *lease) deleteLease() {
	ctx, cancel := context.WithTimeout(context.Background(), l.duration/2)
	defer cancel()
	version := l.current.ResourceVersion
	_ = l.api.Delete(ctx, leaseName, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}})
}
