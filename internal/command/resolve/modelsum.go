package resolve

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/opencontainers/go-digest"

	"github.com/caisson/caisson/internal/client/hub"
)

// fileSum hashes a file as the hub does: SHA-256 of the content, and git's
// SHA-1 of a blob.
type fileSum struct {
	file hub.File
	n    int64
	sum  hash.Hash
	git  hash.Hash
}

func newFileSum(f hub.File) *fileSum {
	s := &fileSum{file: f, sum: sha256.New(), git: sha1.New()}
	s.reset()
	return s
}

func (s *fileSum) reset() {
	s.n = 0
	s.sum.Reset()
	s.git.Reset()
	fmt.Fprintf(s.git, "blob %d\x00", s.file.Size)
}

func (s *fileSum) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	s.git.Write(p)
	return s.sum.Write(p)
}

func (s *fileSum) sha256() digest.Digest { return digest.NewDigest(digest.SHA256, s.sum) }

func (s *fileSum) check() error {
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
