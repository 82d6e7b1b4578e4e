package bundle

import (
	"context"
	"os"
	"sync"
	"time"
)

const (
	commitBytes = 64 << 20               // written bytes that start a commit
	commitDelay = 250 * time.Millisecond // how long fewer bytes may wait for one
)

// committer makes progress durable in groups: it syncs the volumes, then writes
// down in the journal what was complete before that, then syncs the journal.
// Slots never wait for it.
type committer struct {
	writer *Writer
	wake   chan struct{} // something to do now
	quit   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	queue   []*note
	bytes   int64
	round   int64      // number of rounds begun
	settled *sync.Cond // rounds ended
	ended   int64
	err     error
}

// note says that a slot's first blocks are written; commit says all of it.
type note struct {
	slot   *slot
	values []sum // beyond those in the journal
	commit bool
	void   bool // the slot was reset since
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

// add queues a note; n is the number of bytes written for it.
func (c *committer) add(n *note, bytes int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, n)
	before := c.bytes
	c.bytes += bytes
	if before == 0 && len(c.queue) == 1 || c.bytes >= c.writer.noteEvery {
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

// cancel voids the notes of a slot that are not journaled and journals that the
// slot starts over.
func (c *committer) cancel(s *slot) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.queue {
		n.void = n.void || n.slot == s
	}
	return c.writer.journal.reset(s.index)
}

func (c *committer) run() {
	defer close(c.done)
	timer := time.NewTimer(commitDelay)
	for {
		select {
		case <-c.quit:
			c.commit()
			return
		case <-timer.C:
			c.commit()
		case <-c.wake:
			if c.due() {
				c.commit()
			}
		}
		timer.Reset(commitDelay)
	}
}

// due reports whether the queue should not wait any longer.
func (c *committer) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes >= c.writer.noteEvery
}

// commit runs one round. Only one is ever under way.
func (c *committer) commit() {
	c.mu.Lock()
	c.round++
	batch := c.queue
	c.bytes = 0
	err := c.err
	c.mu.Unlock()
	if err == nil && len(batch) > 0 {
		if err = c.writer.volumes.sync(); err == nil {
			err = c.record(batch)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.ended = c.round
	c.settled.Broadcast()
}

// record writes the batch down and takes it off the queue, both under the lock,
// so that a reset comes either before or after it.
func (c *committer) record(batch []*note) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range batch {
		if n.void {
			continue
		}
		if err := c.recordNote(n); err != nil {
			return err
		}
	}
	if err := c.writer.journal.sync(); err != nil {
		return err
	}
	c.queue = append([]*note(nil), c.queue[len(batch):]...)
	for _, n := range batch {
		n.settle()
	}
	return nil
}

func (c *committer) recordNote(n *note) error {
	if err := c.writer.journal.progress(n.slot.index, n.values); err != nil {
		return err
	}
	if !n.commit {
		return nil
	}
	return c.writer.journal.commit(n.slot.index, n.slot.digest)
}

func (n *note) settle() {
	if n.commit && !n.void {
		n.slot.mu.Lock()
		n.slot.durable = true
		n.slot.mu.Unlock()
	}
}

// flush waits for a round that begins after the call.
func (c *committer) flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.settled.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	want := c.round + 1
	c.bytes += c.writer.noteEvery
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
