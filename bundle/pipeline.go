package bundle

import "sync"

// pipeline takes the pieces of one slot through hashing and writing, each on its
// own goroutine, in order. After a first error pieces only pass through.
type pipeline struct {
	slot    *SlotWriter
	hashing chan *piece
	writing chan *piece
	free    chan *piece
	made    int
	done    chan struct{}

	mu  sync.Mutex
	err error
}

func startPipeline(sw *SlotWriter) *pipeline {
	l := &pipeline{
		slot:    sw,
		hashing: make(chan *piece, slotPieces),
		writing: make(chan *piece, slotPieces),
		free:    make(chan *piece, slotPieces),
		done:    make(chan struct{}),
	}
	go l.hashPieces()
	go l.writePieces()
	return l
}

// takeEmptyPiece returns an empty piece; it waits while all are on their way.
func (l *pipeline) takeEmptyPiece() (*piece, error) {
	if err := l.firstError(); err != nil {
		return nil, err
	}
	if l.made < slotPieces && len(l.free) == 0 {
		l.made++
		return pieces.Get().(*piece), nil
	}
	select {
	case p := <-l.free:
		return p, l.firstError()
	case <-l.slot.ctx.Done():
		return nil, l.slot.ctx.Err()
	}
}

// sendPiece sends a piece off; it never waits, for the channel takes all there are.
func (l *pipeline) sendPiece(p *piece) error {
	l.hashing <- p
	return l.firstError()
}

// awaitPieces waits for the pieces on their way and returns the first error.
func (l *pipeline) awaitPieces() error {
	close(l.hashing)
	<-l.done
	for range len(l.free) {
		pieces.Put(<-l.free)
	}
	return l.firstError()
}

func (l *pipeline) hashPieces() {
	defer close(l.writing)
	for p := range l.hashing {
		if l.firstError() == nil {
			l.fail(l.slot.hash.write(p.filledBytes()))
			p.values = l.slot.hash.values
		}
		l.writing <- p
	}
}

func (l *pipeline) writePieces() {
	defer close(l.done)
	for p := range l.writing {
		if l.firstError() == nil {
			l.fail(l.slot.writePiece(p))
		}
		l.free <- p
	}
}

func (l *pipeline) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

func (l *pipeline) firstError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
