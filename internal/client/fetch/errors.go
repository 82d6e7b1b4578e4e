package fetch

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// Sentinels of what an upstream can do wrong. Use errors.Is; the types below
// say more.
var (
	ErrStatus  = errors.New("the upstream refused the request")
	ErrSize    = errors.New("the upstream's content has another length")
	ErrStalled = errors.New("the upstream sent nothing for too long")
	ErrShort   = errors.New("the upstream ended the content early")

	errProtocol = errors.New("the upstream answered outside the protocol")
)

// StatusError is an HTTP answer that is not the content. It is ErrStatus.
type StatusError struct {
	URL    string // redacted, after redirects
	Status int
	Detail string // the upstream's own words, cut and made printable
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s answered %d %s", e.URL, e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Is reports true for ErrStatus.
func (e *StatusError) Is(target error) bool { return target == ErrStatus }

// SizeError is content of another length than asked for. It is ErrSize. Got is
// negative when it is only known to be more.
type SizeError struct {
	URL       string // redacted
	Want, Got int64
}

func (e *SizeError) Error() string {
	if e.Got < 0 {
		return fmt.Sprintf("%s has more than %d bytes", e.URL, e.Want)
	}
	return fmt.Sprintf("%s has %d bytes, not %d", e.URL, e.Got, e.Want)
}

// Is reports true for ErrSize.
func (e *SizeError) Is(target error) bool { return target == ErrSize }

// localError is a failure of the destination, which no retry can mend.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// Redact removes user information, query and fragment from a URL: each may be
// a secret.
func Redact(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(malformed URL)"
	}
	u.User = nil
	u.Fragment = ""
	if u.RawQuery != "" {
		u.RawQuery = ""
		return u.String() + "?…"
	}
	return u.String()
}

// cleanError takes the URL that net/http puts into its errors out of err and
// names the item instead.
func cleanError(name string, err error) error {
	var wrapped *url.Error
	for errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if name == "" || strings.Contains(err.Error(), name) {
		return err
	}
	return fmt.Errorf("fetching %s: %w", name, err)
}

func checkStatus(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		return nil
	}
	return &StatusError{URL: Redact(resp.Request.URL.String()), Status: resp.StatusCode, Detail: errorDetail(resp)}
}

// errorDetail is the beginning of a textual error body.
func errorDetail(resp *http.Response) string {
	kind := resp.Header.Get("Content-Type")
	if !strings.HasPrefix(kind, "text/plain") && !strings.Contains(kind, "json") {
		return ""
	}
	head, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
	return makePrintable(string(head))
}

// makePrintable keeps hostile text on one line and away from terminal controls.
func makePrintable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	return strings.Join(strings.Fields(s), " ")
}
