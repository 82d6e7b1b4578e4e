package fetch

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// ReadPart reads length bytes of the content from offset on, by a range request;
// of an upstream that knows no ranges it reads the content up to there and ends
// the connection. It retries like Stream. A part that reaches beyond r.Size is
// ErrSize, as is a content of another length than r.Size.
func (c *Client) ReadPart(ctx context.Context, r Request, offset, length int64) ([]byte, error) {
	if offset < 0 || length < 0 || r.Size >= 0 && (offset > r.Size || length > r.Size-offset) {
		return nil, &SizeError{URL: Redact(r.URL), Want: offset + length, Got: r.Size}
	}
	if length == 0 {
		return nil, nil
	}
	p := &part{client: c, req: r, offset: offset, data: make([]byte, length)}
	tries := NewTries(c.opt.Attempts, c.opt.Backoff)
	err := tries.Do(ctx, func() error {
		err := p.tryOnce(ctx)
		tries.AtLeast(p.after)
		if err != nil && (ctx.Err() != nil || !isTransient(err)) {
			return backoff.Permanent(err)
		}
		return err
	}, func(failed int, wait time.Duration, why error) {
		c.emitRetry(r.itemName(), failed, wait, why)
	})
	switch {
	case err == nil:
		return p.data, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, cleanError(r.itemName(), err)
}

// part is a piece of a content that is asked for.
type part struct {
	client *Client
	req    Request
	offset int64
	data   []byte
	after  time.Duration // what the last answer asked to wait
}

func (p *part) tryOnce(ctx context.Context) error {
	p.after = 0
	ctx, watch := newWatch(context.WithValue(ctx, singleTry{}, true), p.client.opt.Stall)
	defer watch.stop()
	req, err := p.client.newRequest(ctx, p.req, http.MethodGet)
	if err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", p.offset, p.offset+int64(len(p.data))-1))
	resp, err := p.client.httpClient(p.req).Do(req)
	if err != nil {
		return watch.explainStall(err)
	}
	defer resp.Body.Close()
	p.after = RetryAfter(resp.Header, time.Now())
	skip, err := p.acceptAnswer(resp)
	if err != nil {
		return err
	}
	watch.start()
	return watch.explainStall(p.readBody(watched{resp.Body, watch}, skip))
}

// acceptAnswer compares the answer's head with what was asked for and says how
// many bytes of its body come before the part.
func (p *part) acceptAnswer(resp *http.Response) (skip int64, err error) {
	total := resp.ContentLength
	switch resp.StatusCode {
	case http.StatusOK:
		skip = p.offset
	case http.StatusPartialContent:
		var first int64
		first, total, err = parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil || first != p.offset {
			got := makePrintable(resp.Header.Get("Content-Range"))
			return 0, fmt.Errorf("%w: asked for bytes from %d, got Content-Range %q", errProtocol, p.offset, got)
		}
	default:
		return 0, checkStatus(resp)
	}
	if total >= 0 && p.req.Size >= 0 && total != p.req.Size {
		return 0, &SizeError{URL: Redact(p.req.URL), Want: p.req.Size, Got: total}
	}
	return skip, nil
}

func (p *part) readBody(body io.Reader, skip int64) error {
	if _, err := io.CopyN(io.Discard, body, skip); err != nil {
		return fmt.Errorf("%w: %w", ErrShort, err)
	}
	if n, err := io.ReadFull(body, p.data); err != nil {
		return fmt.Errorf("%w: %d of %d bytes: %w", ErrShort, n, len(p.data), err)
	}
	return nil
}
