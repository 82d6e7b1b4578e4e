package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	maxBackoff    = 30 * time.Second
	maxRetryAfter = 5 * time.Minute
)

// Tries are the attempts at one thing: how many may fail, and how long to wait
// between them. It is for one goroutine.
type Tries struct {
	waits   backoff.ExponentialBackOff
	allowed int
	failed  int           // since the last progress
	atLeast time.Duration // what the last answer asked to wait
}

// NewTries allows as many attempts without progress. The wait after the first
// that fails is first; it doubles up to half a minute, and varies by a quarter
// so that workers which failed together do not return together.
func NewTries(allowed int, first time.Duration) *Tries {
	return &Tries{allowed: allowed, waits: backoff.ExponentialBackOff{
		InitialInterval: first, Multiplier: 2, RandomizationFactor: 0.25, MaxInterval: maxBackoff,
	}}
}

// AtLeast bounds the next wait from below, as a Retry-After header asks; 0 takes
// the bound away.
func (t *Tries) AtLeast(d time.Duration) { t.atLeast = d }

// Reset forgets the attempts that failed so far.
func (t *Tries) Reset() {
	t.failed = 0
	t.waits.Reset()
}

// NextBackOff is the wait before the next attempt, or backoff.Stop. With Reset it
// implements backoff.BackOff.
func (t *Tries) NextBackOff() time.Duration {
	if t.failed++; t.failed >= t.allowed {
		return backoff.Stop
	}
	return max(t.waits.NextBackOff(), t.atLeast)
}

// Do calls attempt until it succeeds, fails with an error that
// backoff.Permanent marks, or has failed too often without progress. again hears
// of each failure that another attempt follows, before the wait. The error is
// the last attempt's, or the context's cause when it ended the wait.
func (t *Tries) Do(ctx context.Context, attempt func() error, again func(failed int, wait time.Duration, why error)) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, attempt() },
		backoff.WithBackOff(t), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(why error, wait time.Duration) { again(t.failed, wait, why) }))
	return err
}

// RetryAfter reads the header of RFC 9110, section 10.2.3: seconds or a date. It
// is five minutes at most, and 0 without the header.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(now), maxRetryAfter))
}

func transientStatus(code int) bool {
	switch code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return code >= 500
}

// isTransient says whether an error may go away by itself. Answers that are
// wrong, names that do not exist and certificates that do not verify stay.
func isTransient(err error) bool {
	if status := new(StatusError); errors.As(err, &status) {
		return transientStatus(status.Status)
	}
	if dns := new(net.DNSError); errors.As(err, &dns) {
		return !dns.IsNotFound
	}
	return !isPermanent(err)
}

func isPermanent(err error) bool {
	var (
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		local     *localError
	)
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrStalled) && !isNetTimeout(err) ||
		errors.Is(err, ErrSize) || errors.Is(err, errProtocol) || errors.Is(err, http.ErrSchemeMismatch) ||
		errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &hostname) ||
		errors.As(err, &invalid) || errors.As(err, &record) || errors.As(err, &local)
}

// isNetTimeout tells a timeout of the connection from one of the caller.
func isNetTimeout(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Timeout()
}
