package resolve

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/api/lock"
	"github.com/caisson/caisson/internal/client/hub"
)

// fileSum hashes a file as the hub does: SHA-256 of the content, and git's
// SHA-1 of a blob.
type fileSum struct {
	file hub.File
	n    int64
	sum  hash.Hash
	git  hash.Hash
	head *headSum // of the beginning that was judged; nil where there is none
}

func newFileSum(f hub.File) *fileSum {
	s := &fileSum{file: f, sum: sha256.New(), git: sha1.New()}
	s.reset()
	return s
}

func (s *fileSum) reset() {
	s.n = 0
	s.head.reset()
	s.sum.Reset()
	s.git.Reset()
	fmt.Fprintf(s.git, "blob %d\x00", s.file.Size)
}

func (s *fileSum) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	s.git.Write(p)
	s.head.add(p)
	return s.sum.Write(p)
}

func (s *fileSum) sha256() digest.Digest { return digest.NewDigest(digest.SHA256, s.sum) }

func (s *fileSum) check() error {
	if err := s.head.check(); err != nil {
		return fmt.Errorf("file %s: %w", s.file.Path, err)
	}
	if s.file.LFS() {
		if got := s.sha256(); got != s.file.SHA256 {
			return fmt.Errorf("file %s: %w: %s, the hub says %s", s.file.Path, ErrDigest, got, s.file.SHA256)
		}
		return nil
	}
	if got := hex.EncodeToString(s.git.Sum(nil)); got != s.file.GitSHA1 {
		return fmt.Errorf("file %s: %w: git blob %s, the hub says %s", s.file.Path, ErrDigest, got, s.file.GitSHA1)
	}
	return nil
}

// headSum hashes the beginning of a file, to hold it against the one that was read
// alone and judged. Nil is of no file.
type headSum struct {
	want *lock.ModelHead
	left int64
	sum  hash.Hash
}

func newHeadSum(want *lock.ModelHead) *headSum {
	if want == nil {
		return nil
	}
	return &headSum{want: want, left: want.Size, sum: sha256.New()}
}

func (s *headSum) reset() {
	if s == nil {
		return
	}
	s.left = s.want.Size
	s.sum.Reset()
}

func (s *headSum) add(p []byte) {
	if s == nil || s.left == 0 {
		return
	}
	p = p[:min(int64(len(p)), s.left)]
	s.left -= int64(len(p))
	s.sum.Write(p)
}

func (s *headSum) check() error {
	if s == nil {
		return nil
	}
	if got := digest.NewDigest(digest.SHA256, s.sum); got != s.want.SHA256 {
		return fmt.Errorf("%w: its beginning is %s, and was %s when it was asked for alone",
			ErrDigest, got, s.want.SHA256)
	}
	return nil
}
