package bundle

// maxRooms is how many readers of one bundle may hold a whole block at once:
// 64 MiB, whatever number of slow clients there is.
const maxRooms = 16

// rooms counts the blocks that readers hold. A nil rooms has no end.
type rooms chan struct{}

// takeRoom reports whether there was room for one more.
func (r rooms) takeRoom() bool {
	if r == nil {
		return true
	}
	select {
	case r <- struct{}{}:
		return true
	default:
		return false
	}
}

func (r rooms) giveBack() {
	if r != nil {
		<-r
	}
}

const sieveChunk = 64 << 10

// sieve hands out proven bytes of a blob without holding a block: a first pass
// proves the block and keeps the chaining value after each chunk; then each
// chunk is read again and must lead from one such value to the next, so that not
// a byte leaves that the first pass did not see.
type sieve struct {
	blob  *Blob
	block int64 // proven; -1: none
	by    choice
	marks []sum // chaining values after each chunk but the last
	chain *chain
	data  []byte
}

func newSieve(b *Blob) *sieve {
	return &sieve{blob: b, block: -1, chain: newChain(), data: make([]byte, sieveChunk)}
}

// readChunk returns proven bytes from a blob offset up to the end of its chunk. They
// are valid until the next call.
func (s *sieve) readChunk(at int64) ([]byte, error) {
	if i := at / BlockSize; s.block != i {
		if err := s.proveBlock(i); err != nil {
			return nil, err
		}
	}
	start, n := s.blob.blockSpan(s.block)
	j := (at - start) / sieveChunk
	p, err := s.fillChunk(s.block, j)
	if err == nil {
		err = s.requireUnchanged(j, p)
	}
	if err != nil {
		clear(s.data)
		return nil, s.blob.describeFailure(start+j*sieveChunk, min(sieveChunk, n-j*sieveChunk), err)
	}
	return p[at-start-j*sieveChunk:], nil
}

// requireUnchanged requires that chunk j is what the first pass saw.
func (s *sieve) requireUnchanged(j int64, p []byte) error {
	if err := s.startChunk(j); err != nil {
		return err
	}
	_, _ = s.chain.Write(p)
	if j < int64(len(s.marks)) {
		v, err := s.chain.chainingValue()
		if err == nil && v != s.marks[j] {
			err = ErrTampered
		}
		return err
	}
	good, err := s.blob.blockHolds(s.chain, s.block)
	if err == nil && !good {
		err = ErrTampered
	}
	return err
}

func (s *sieve) startChunk(j int64) error {
	if j == 0 {
		return s.blob.beginBlock(s.chain, s.block)
	}
	return s.chain.startAt(s.marks[j-1], s.block*BlockSize+j*sieveChunk)
}

// fillChunk fills data with chunk j of a block.
func (s *sieve) fillChunk(block, j int64) ([]byte, error) {
	start, n := s.blob.blockSpan(block)
	p := s.data[:min(sieveChunk, n-j*sieveChunk)]
	return p, s.blob.stream.readAt(p, s.blob.offset+start+j*sieveChunk, s.by)
}

// proveBlock makes the first pass over a block, if need be over another copy.
func (s *sieve) proveBlock(i int64) error {
	start, n := s.blob.blockSpan(i)
	s.by = nil
	first := s.passOver(i)
	if first == nil {
		return nil
	}
	for _, c := range s.blob.stream.otherChoices(s.blob.offset+start, n) {
		if s.by = c; s.passOver(i) == nil {
			return nil
		}
	}
	return s.blob.describeFailure(start, n, first)
}

func (s *sieve) passOver(i int64) error {
	s.block, s.marks = -1, s.marks[:0]
	if err := s.blob.beginBlock(s.chain, i); err != nil {
		return err
	}
	_, n := s.blob.blockSpan(i)
	for j := int64(0); j*sieveChunk < n; j++ {
		p, err := s.fillChunk(i, j)
		if err != nil {
			return err
		}
		_, _ = s.chain.Write(p)
		if (j+1)*sieveChunk >= n {
			break
		}
		v, err := s.chain.chainingValue()
		if err != nil {
			return err
		}
		s.marks = append(s.marks, v)
	}
	good, err := s.blob.blockHolds(s.chain, i)
	if err == nil && !good {
		err = ErrTampered
	}
	if err == nil {
		s.block = i
	}
	return err
}
