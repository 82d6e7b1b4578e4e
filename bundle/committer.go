package bundle

import (
	"context"
	"os"
	"sync"
	"time"
)

const (
	noteBytes   = 16 << 20    // bytes of one slot between two entries in the journal
	commitBytes = 64 << 20    // written bytes that start a commit
	commitDelay = time.Second // how long fewer bytes may wait for one
)

// committer makes progress durable in groups: it syncs the volumes, then the
// journal. Slots never wait for it. The journal's records are written at once,
// before what they say is durable: a process that is killed loses none, and
// after a power cut the re-hashing at the next Create drops those that came too
// early.
type committer struct {
	writer *Writer
	wake   chan struct{} // something to do now
	quit   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	queue   []*slot // complete and journaled
	bytes   int64   // written since the last round
	round   int64   // number of rounds begun
	settled *sync.Cond
	ended   int64 // rounds ended
	err     error
}

func startCommitter(w *Writer) *committer {
	c := &committer{
		writer: w,
		wake:   make(chan struct{}, 1),
		quit:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	c.settled = sync.NewCond(&c.mu)
	go c.run()
	return c
}

// countWritten counts bytes to be made durable; done is their slot if it is complete.
func (c *committer) countWritten(bytes int64, done *slot) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.bytes
	c.bytes += bytes
	if done != nil {
		c.queue = append(c.queue, done)
	}
	if before < c.writer.syncEvery && c.bytes >= c.writer.syncEvery {
		c.signal()
	}
	return c.err
}

func (c *committer) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *committer) run() {
	defer close(c.done)
	timer := time.NewTimer(commitDelay)
	for {
		select {
		case <-c.quit:
			c.runRound()
			return
		case <-timer.C:
			c.runRound()
		case <-c.wake:
			if c.roundIsDue() {
				c.runRound()
			}
		}
		timer.Reset(commitDelay)
	}
}

// roundIsDue reports whether the queue should not wait any longer.
func (c *committer) roundIsDue() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes >= c.writer.syncEvery
}

// runRound runs one round. Only one is ever under way.
func (c *committer) runRound() {
	c.mu.Lock()
	c.round++
	batch, bytes, err := c.queue, c.bytes, c.err
	c.queue, c.bytes = nil, 0
	c.mu.Unlock()
	if err == nil && (bytes > 0 || len(batch) > 0) {
		err = c.syncVolumes(batch)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.ended = c.round
	c.settled.Broadcast()
}

func (c *committer) syncVolumes(batch []*slot) error {
	if err := c.writer.volumes.sync(); err != nil {
		return err
	}
	if err := c.writer.journal.sync(); err != nil {
		return err
	}
	for _, s := range batch {
		s.mu.Lock()
		s.durable = true
		s.mu.Unlock()
	}
	return nil
}

// awaitRound waits for a round that begins after the call.
func (c *committer) awaitRound(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.settled.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	want := c.round + 1
	c.bytes += c.writer.syncEvery
	c.signal()
	for c.ended < want && ctx.Err() == nil && c.err == nil {
		c.settled.Wait()
	}
	if c.err != nil {
		return c.err
	}
	return ctx.Err()
}

// stop runs a last round and ends.
func (c *committer) stop() error {
	close(c.quit)
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.err
	if c.err == nil {
		c.err = os.ErrClosed
	}
	return err
}
