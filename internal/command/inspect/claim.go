package inspect

import (
	"fmt"
	"io"
	"os"

	"github.com/caisson/caisson/bundle"
	"github.com/caisson/caisson/internal/client/sign"
)

const maxSignature = 1 << 20

// claim reads the statement inside a signature file without checking anything.
func claim(path string) Signer {
	s := Signer{File: path}
	statement, keyID, err := peek(path)
	if err != nil {
		s.Problem = err.Error()
		return s
	}
	p := statement.Predicate
	s.KeyID, s.Sequence, s.Created, s.Expires = keyID, p.Sequence, p.Created, p.Expires
	return s
}

func peek(path string) (bundle.Statement, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return bundle.Statement{}, "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSignature+1))
	if err != nil {
		return bundle.Statement{}, "", err
	}
	if len(data) > maxSignature {
		return bundle.Statement{}, "", fmt.Errorf("reading %s: larger than %d bytes", path, maxSignature)
	}
	payload, keyID, err := sign.Peek(data)
	if err != nil {
		return bundle.Statement{}, "", err
	}
	statement, err := bundle.ParseStatement(payload)
	return statement, keyID, err
}
